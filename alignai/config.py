"""Config: the settings of the SDK, and their rules."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any, Final, Literal

from alignai import constants
from alignai._interruption import is_interruption
from alignai._plain import number, whole_number
from alignai.exception import ConfigError, short_repr

BeforeSpool = Callable[[dict[str, Any]], dict[str, Any] | None]

_MONTH: Final = 30 * 86_400  # seconds; some platforms cannot wait longer than 49 days
_CENTURY: Final = 100 * 366 * 86_400  # seconds; more would leave the calendar
_KIB: Final = 2**10
_MIB: Final = 2**20
_TIB: Final = 2**40

# The rule of a setting: the allowed values in words, and a function that converts a value to a plain one. It raises any
# exception if the value is not allowed.
_Rule = tuple[str, Callable[[Any], Any]]


def _number(least: float, most: float, convert: Callable[[object], float]) -> _Rule:
    def take(value: Any) -> float:
        number = convert(value)
        if not least <= number <= most:  # false for NaN, too
            raise ValueError
        return number

    return f"{'a whole number' if convert is whole_number else 'a number'} from {least} to {most}", take


def _choice(*choices: str) -> _Rule:
    def take(value: Any) -> str:
        # `type()`, since mocks pass isinstance checks for other types. Plain, since some become part of SQL, and the
        # member of an enum may format itself in another way.
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
    The settings of an `AlignAI`, checked at construction.

    Args:
        flush_interval_ms: Milliseconds that an event may wait before it is uploaded. Above 0, up to 30 days.
        flush_batch_size: So many events are uploaded at once, without waiting for more. 1 to 100,000. It is also the
            limit of one request, unless there is a backlog: then it grows up to 16 times while the server keeps up.
        flush_timeout_seconds: How long `flush`, `close` and the interpreter's exit may take. 0 up to 30 days.
        max_buffer_size: No effect, as no events are buffered in memory. Accepted for the official SDK's users.
        api_max_retries: No effect, as retries never end. Accepted for the official SDK's users.
        spool_path: The spool file. None for `ALIGNAI_SPOOL_PATH`, or else the default in the user's state folder.
        synchronous: "normal": an acknowledged event survives the death of the process at any instant. "full": a power
            cut, too.
        max_spool_bytes: The limit of the spool on disk, all its files together. 1 MiB to 1 TiB.
        on_full: How an event method handles a full spool: "raise" an error, "block" until there is room, or
            "drop_oldest" events, which are counted.
        max_event_bytes: The largest event, as JSON. 1 KiB to 512 MiB.
        max_batch_bytes: The largest request before compression, if it has more than one event. 1 KiB to 512 MiB.
        sent_retention_seconds: How long sent events are kept. 0 deletes them at once.
        request_timeout_seconds: How long one upload may take. 0.1 to 600.
        sender: Whether this process uploads. If it does not, another process must.
        on_spool_error: How an event method handles a failure of the spool or of `before_spool`: "raise" it, or "log"
            it, count the loss and return None.
        before_spool: Called with each event as a dict before it touches the disk. Its result is recorded instead. If it
            returns None, the event is dropped, and `stats().filtered` counts it. Mask personal data here. A message is
            `{"id": …, "type": "message_create", "createTime": …, "projectId": …, "properties": {"messageProperties":
            {"sessionId": …, "messageIndexHint": 1, "messageRole": "ROLE_USER", "messageContent": …},
            "customProperties": {"plan": {"stringValue": "free"}}}}`. README has all of them.
        disabled: True: every method only checks its arguments. None for `ALIGNAI_DISABLED`.

    Raises:
        ConfigError: A value is not allowed. All such settings are listed, each with its allowed values.

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
        errors = []
        for name, (allowed, take) in _RULES.items():
            value = getattr(self, name)
            try:
                object.__setattr__(self, name, take(value))  # the class is frozen
            except Exception as error:  # the value may be of a type of the caller
                if is_interruption(error):
                    raise
                errors.append(f"{name} must be {allowed}, not {short_repr(value)}")
        if errors:
            raise ConfigError("; ".join(errors))
