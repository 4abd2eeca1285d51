"""Config: how the SDK behaves, as far as the user may set it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any, Final, Literal

from alignai import constants
from alignai._plain import number, whole_number
from alignai.exception import ConfigError, short_repr
from alignai.interruption import is_interruption

BeforeSpool = Callable[[dict[str, Any]], dict[str, Any] | None]

_MONTH: Final = 30 * 86_400  # seconds; some platforms cannot wait longer than 49 days
_CENTURY: Final = 100 * 366 * 86_400  # seconds; more would leave the calendar
_KIB: Final = 2**10
_MIB: Final = 2**20
_TIB: Final = 2**40

# What a setting may be: in words, and as a function from what was given to the plain value, which raises
# anything at all for what is not allowed.
_Rule = tuple[str, Callable[[Any], Any]]


def _number(least: float, most: float, convert: Callable[[object], float]) -> _Rule:
    def take(value: Any) -> float:
        number = convert(value)
        if not least <= number <= most:  # NaN lies between no two numbers
            raise ValueError
        return number

    return f"{'a whole number' if convert is whole_number else 'a number'} from {least} to {most}", take


def _choice(*choices: str) -> _Rule:
    def take(value: Any) -> str:
        # `type()`, since mocks answer to isinstance for what they are not. Plain, since SQL is made of some, and an
        # enum's member may write itself in another way.
        text = str.__str__(value) if issubclass(type(value), str) else ""
        if text not in choices:
            raise ValueError
        return text

    return f"one of: {', '.join(choices)}", take


def _or_none(allowed: str, take: Callable[[Any], Any]) -> _Rule:
    return f"{allowed} or None", lambda value: None if value is None else take(value)


def _if(accepts: Callable[[Any], bool]) -> Callable[[Any], Any]:
    def take(value: Any) -> Any:
        if not accepts(value):
            raise ValueError
        return value

    return take


def _is_path(value: Any) -> bool:
    path = os.fspath(value)
    return isinstance(path, str) and path != "" and "\0" not in path


_SWITCH: Final[_Rule] = ("True or False", _if(lambda value: type(value) is bool))
_RULES: Final[dict[str, _Rule]] = {
    "flush_interval_ms": _number(0.001, _MONTH * 1000, number),
    "flush_batch_size": _number(1, 100_000, whole_number),
    "flush_timeout_seconds": _number(0, _MONTH, number),
    "max_buffer_size": _number(0, _TIB, whole_number),
    "api_max_retries": _number(0, _TIB, whole_number),
    "spool_path": _or_none("a path", _if(_is_path)),
    "synchronous": _choice("normal", "full"),
    "max_spool_bytes": _number(_MIB, _TIB, whole_number),
    "on_full": _choice("raise", "block", "drop_oldest"),
    "max_event_bytes": _number(_KIB, 512 * _MIB, whole_number),
    "max_batch_bytes": _number(_KIB, 512 * _MIB, whole_number),
    "sent_retention_seconds": _number(0, _CENTURY, number),
    "request_timeout_seconds": _number(0.1, 600, number),
    "sender": _SWITCH,
    "on_spool_error": _choice("raise", "log"),
    "before_spool": _or_none("a function", _if(callable)),
    "disabled": _or_none(*_SWITCH),
}


@dataclass(frozen=True, slots=True)
class Config:
    """
    The settings of an `AlignAI`, checked when they are made.

    Args:
        flush_interval_ms: Milliseconds an event may wait before it is uploaded; above 0, up to 30 days.
        flush_batch_size: Events that are uploaded at once, without waiting for more; 1 to 100,000. They are also the
            most in one request, but for backlogs: there it grows while the server keeps up, to 16 times as many.
        flush_timeout_seconds: How long `flush`, `close` and the interpreter's exit may take; 0 up to 30 days.
        max_buffer_size: Without effect, as nothing is buffered in memory; accepted because the vendor's has it.
        api_max_retries: Without effect, as nothing is given up on; accepted because the vendor's has it.
        spool_path: The spool file; None for the environment's, or else the default in the user's state folder.
        synchronous: "normal": an acknowledged event survives the death of the process at any instant. "full": a power
            cut, too.
        max_spool_bytes: The most the spool may take on disk, all its files together; 1 MiB to 1 TiB.
        on_full: What a full spool does to an event method: "raise" an error, "block" until there is room, or
            "drop_oldest" of the events, which are counted.
        max_event_bytes: The largest event, as JSON; 1 KiB to 512 MiB.
        max_batch_bytes: The largest request before compression, where it holds more than one event; 1 KiB to 512 MiB.
        sent_retention_seconds: How long sent events are kept; 0 deletes them at once.
        request_timeout_seconds: How long one upload may take; 0.1 to 600.
        sender: Whether this process uploads; if not, something else must.
        on_spool_error: Whether an event method that cannot record, since the spool or `before_spool` fails, will
            "raise", or "log", count the loss and return None.
        before_spool: Called with each event as a dict before it touches the disk; what it returns is recorded instead,
            and None drops the event, which `stats().filtered` counts. The place to mask personal data. A message is
            `{"id": …, "type": "message_create", "createTime": …, "projectId": …, "properties": {"messageProperties":
            {"sessionId": …, "messageIndexHint": 1, "messageRole": "ROLE_USER", "messageContent": …},
            "customProperties": {"plan": {"stringValue": "free"}}}}`; README has them all.
        disabled: True: every method checks its arguments and does no more. None asks `ALIGNAI_DISABLED`.

    Raises:
        ConfigError: A value is not allowed; all that are not are listed, each with what is.

    """

    flush_interval_ms: float = constants.FLUSH_INTERVAL_MS
    flush_batch_size: int = constants.FLUSH_BATCH_SIZE
    flush_timeout_seconds: float = constants.FLUSH_TIMEOUT_SECONDS
    max_buffer_size: int = constants.MAX_BUFFER_SIZE
    api_max_retries: int = constants.API_MAX_RETIRES
    _: KW_ONLY
    spool_path: str | os.PathLike[str] | None = None
    synchronous: Literal["normal", "full"] = "normal"
    max_spool_bytes: int = constants.MAX_SPOOL_BYTES
    on_full: Literal["raise", "block", "drop_oldest"] = "raise"
    max_event_bytes: int = constants.MAX_EVENT_BYTES
    max_batch_bytes: int = constants.MAX_BATCH_BYTES
    sent_retention_seconds: float = constants.SENT_RETENTION_SECONDS
    request_timeout_seconds: float = constants.REQUEST_TIMEOUT_SECONDS
    sender: bool = True
    on_spool_error: Literal["raise", "log"] = "raise"
    before_spool: BeforeSpool | None = None
    disabled: bool | None = None

    def __post_init__(self) -> None:
        wrong = []
        for name, (allowed, take) in _RULES.items():
            given = getattr(self, name)
            try:
                object.__setattr__(self, name, take(given))  # frozen for everyone else
            except Exception as error:  # what was given may be of the caller's own types
                if is_interruption(error):
                    raise
                wrong.append(f"{name} must be {allowed}, not {short_repr(given)}")
        if wrong:
            raise ConfigError("; ".join(wrong))
