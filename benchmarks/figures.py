"""Figures over rounds: the median, the spread, and ratios within rounds."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Result = dict[str, Any]


@dataclass(frozen=True)
class Spread:
    """A figure over rounds."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread | None:
        """Return the spread of *values*, None if there are none."""
        known = list(values)
        return cls(statistics.median(known), min(known), max(known)) if known else None


class Figures:
    """
    The results of one experiment.

    Args:
        results: One for each cell: its contestant, its parameters, and its rounds. A round that failed is None.
    """

    def __init__(self, results: list[Result]) -> None:
        self.results = results

    def find(self, contestant: str, **parameters: object) -> Result | None:
        """Return the first cell with these parameters. A parameter that is None must be absent."""
        return next(self.all(contestant, **parameters), None)

    def all(self, contestant: str, **parameters: object) -> Iterator[Result]:
        """Return every cell with these parameters."""
        wanted = {"contestant": contestant, **parameters}
        return (each for each in self.results if all(each.get(name) == value for name, value in wanted.items()))

    def values(self, name: str) -> list[Any]:
        """Return every value of the parameter *name* once, in the order of the plan."""
        return list(dict.fromkeys(result[name] for result in self.results if name in result))

    def spread(self, figure: str, contestant: str, **parameters: object) -> Spread | None:
        """Return the spread of a figure of a cell."""
        cell = self.find(contestant, **parameters)
        return Spread.of(each[figure] for each in cell["rounds"] if each) if cell else None


def ratio(of: Result | None, to: Result | None, figure: str) -> Spread | None:
    """Return *figure* of one cell as a multiple of another's, by round, since a disturbance hits a whole round."""
    return _by_round(of, to, figure, lambda one, other: one / other if other else 0.0)


def difference(of: Result | None, to: Result | None, figure: str) -> Spread | None:
    """Return *figure* of one cell less another's, by round."""
    return _by_round(of, to, figure, lambda one, other: one - other)


def _by_round(
    of: Result | None, to: Result | None, figure: str, compare: Callable[[float, float], float]
) -> Spread | None:
    if of is None or to is None:
        return None
    pairs = zip(of["rounds"], to["rounds"], strict=True)
    return Spread.of(compare(one[figure], other[figure]) for one, other in pairs if one and other)
