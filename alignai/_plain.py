"""Conversion of the numbers of other libraries, such as numpy's, to plain ones."""

from __future__ import annotations

from decimal import Decimal
from numbers import Real
from operator import index


def whole_number(value: object) -> int:
    """
    Return *value* as a plain int: an int, or any value that Python accepts as an index, such as `numpy.int64`.

    Raises:
        TypeError: It is another value. A bool is not accepted, and neither is a mock, which has every method.

    """
    if type(value) is bool or callable(value):
        raise TypeError(f"{type(value).__name__} is no whole number")
    return int.__int__(index(value))  # type: ignore[arg-type] # it raises TypeError


def number(value: object) -> float:
    """
    Return *value* as a plain int or float: any real number, such as `numpy.float32`, `Fraction` or `Decimal`.

    Raises:
        TypeError: It is another value, as above.
        OverflowError, ValueError: It is too large for a float, or a signalling NaN.

    """
    kind = type(value)
    if kind is bool or not issubclass(kind, (Real, Decimal)):
        raise TypeError(f"{kind.__name__} is no number")
    return int.__int__(value) if isinstance(value, int) else float(value)  # type: ignore[arg-type] # a Real has it
