"""How the SDK behaves: what the user may set, and what follows from it and from the environment."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from platformdirs import user_state_path

from alignai import constants
from alignai.exception import AlignAIError, ConfigError, shown
from alignai.schemas import check_project_id

BeforeSpool = Callable[[dict[str, Any]], dict[str, Any] | None]

_MONTH: Final = 30 * 86_400  # seconds; some platforms cannot wait longer than 49 days
_CENTURY: Final = 100 * 366 * 86_400  # seconds; more would leave the calendar
_KIB: Final = 2**10
_MIB: Final = 2**20
_TIB: Final = 2**40

_KEY: Final = re.compile(r"[!-~]+\Z")
_HOST: Final = re.compile(
    r"https?://(?:[a-z0-9_](?:[a-z0-9._-]*[a-z0-9_.])?|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?/?\Z", re.IGNORECASE
)
_MAX_PORT: Final = 65_535
_SWITCHES: Final = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off", ""), False),
}
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_-]")
_NAME_LENGTH: Final = 64
_HASH_LENGTH: Final = 16


# What a setting may be: in words, and as a test.
_Rule = tuple[str, Callable[[Any], bool]]


def _number(least: float, most: float, *kinds: type) -> _Rule:
    # By exact type, since a bool is an int to isinstance. NaN lies between no two numbers.
    called = "a whole number" if kinds == (int,) else "a number"
    return f"{called} from {least} to {most}", lambda value: type(value) in kinds and least <= value <= most


def _choice(*choices: str) -> _Rule:
    # By exact type too: SQL is made of some, and an enum's member may write itself in another way.
    return f"one of: {', '.join(choices)}", lambda value: type(value) is str and value in choices


def _or_none(allowed: str, accepts: Callable[[Any], bool]) -> _Rule:
    return f"{allowed} or None", lambda value: value is None or accepts(value)


def _is_path(value: Any) -> bool:
    try:
        path = os.fspath(value)
    except Exception:  # noqa: BLE001 - a path-like object is the caller's code
        return False
    return isinstance(path, str) and path != "" and "\0" not in path


_SWITCH: Final[_Rule] = ("True or False", lambda value: type(value) is bool)
_RULES: Final[dict[str, _Rule]] = {
    "flush_interval_ms": _number(0.001, _MONTH * 1000, int, float),
    "flush_batch_size": _number(1, 100_000, int),
    "flush_timeout_seconds": _number(0, _MONTH, int, float),
    "max_buffer_size": _number(0, _TIB, int),
    "api_max_retries": _number(0, _TIB, int),
    "spool_path": _or_none("a path", _is_path),
    "synchronous": _choice("normal", "full"),
    "max_spool_bytes": _number(_MIB, _TIB, int),
    "on_full": _choice("raise", "block", "drop_oldest"),
    "max_event_bytes": _number(_KIB, 512 * _MIB, int),
    "max_batch_bytes": _number(_KIB, 512 * _MIB, int),
    "sent_retention_seconds": _number(0, _CENTURY, int, float),
    "request_timeout_seconds": _number(0.1, 600, int, float),
    "sender": _SWITCH,
    "on_spool_error": _choice("raise", "log"),
    "before_spool": _or_none("a function", callable),
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
        on_spool_error: Whether an event method that cannot record will "raise", or "log", count the loss and return
            None.
        before_spool: Called with each event as a dict before it touches the disk; what it returns is recorded instead,
            and None drops the event. The place to mask personal data.
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
        wrong = [
            f"{name} must be {allowed}, not {shown(value)}"
            for name, (allowed, accepts) in _RULES.items()
            if not accepts(value := getattr(self, name))
        ]
        if wrong:
            raise ConfigError("; ".join(wrong))


@dataclass(frozen=True, slots=True)
class Settings:
    """What an `AlignAI` runs with, made by `resolve`. Its repr does not show the key."""

    project_id: str
    api_key: str = field(repr=False)
    api_host: str
    spool_path: Path
    config: Config
    disabled: bool


def resolve(
    project_id: str | None,
    api_key: str | None,
    api_host: str | None,
    config: Config | None,
    environ: Mapping[str, str],
) -> Settings:
    """
    The settings that follow from arguments, environment and defaults; the first that is there wins.

    Args:
        project_id: 1 to 64 characters of valid Unicode; None for the environment's.
        api_key: Printable ASCII without a space; None for the environment's.
        api_host: http(s)://host[:port]; None for the environment's, or else the vendor's server.
        config: None for the defaults.
        environ: The environment; a variable that is empty counts as missing.

    Raises:
        ConfigError: Something is missing or cannot be used; all that is wrong is listed. A project id and a key are
            not missed where the SDK is disabled (both are "" then).

    """
    if config is not None and not isinstance(config, Config):
        raise ConfigError(f"config must be an alignai.config.Config, not {type(config).__name__}")
    config = config or Config()
    disabled = _switched_off(environ) if config.disabled is None else config.disabled
    texts = {}
    wrong = []
    for name, given in (("project_id", project_id), ("api_key", api_key), ("api_host", api_host)):
        try:
            texts[name] = _text(name, given, environ, needed=not disabled)
        except AlignAIError as error:
            wrong.append(str(error))
    if wrong:
        raise ConfigError("; ".join(wrong))
    path = config.spool_path or environ.get(constants.ENV_SPOOL_PATH) or default_spool_path(texts["project_id"])
    return Settings(**texts, spool_path=_absolute(Path(path)), config=config, disabled=disabled)


def default_spool_path(project_id: str) -> Path:
    """
    The spool of *project_id* where no other is named: a file of the user's state folder that bears the id's name.

    What could lead out of that folder is replaced, and a hash of the id added: no two ids share a file.
    """
    safe = _UNSAFE.sub("_", project_id)[:_NAME_LENGTH]
    if not safe or safe != project_id:
        digest = hashlib.sha256(project_id.encode("utf-8", "surrogatepass")).hexdigest()
        safe = f"{safe}.{digest[:_HASH_LENGTH]}"  # with a dot, which no id that is left as it is contains
    return user_state_path("alignai") / f"{safe}.db"


def spool_path_from_environment(environ: Mapping[str, str]) -> Path:
    """
    The spool that the environment names: by its path, or by its project.

    Raises:
        ConfigError: It names neither, or what it names cannot be used.

    """
    path = environ.get(constants.ENV_SPOOL_PATH)
    project_id = environ.get(constants.ENV_PROJECT_ID)
    if not path and not project_id:
        raise ConfigError(f"no spool is named: give its path, or set {constants.ENV_SPOOL_PATH}")
    return _absolute(Path(path) if path else default_spool_path(project_id or ""))


def _text(name: str, given: object, environ: Mapping[str, str], *, needed: bool) -> str:
    variable, default, check = _SOURCES[name]
    text = (environ.get(variable) or default) if given is None else given
    if not issubclass(type(text), str):  # `type()`, since mocks answer to isinstance for what they are not
        raise ConfigError(f"{name} must be a str, not {type(text).__name__}")
    text = str.__str__(text)
    if text:
        return check(text)
    if needed:
        raise ConfigError(f"{name} is missing: pass {name}=... to AlignAI, or set {variable} in the environment")
    return ""


def _api_key(text: str) -> str:
    # The error does not show the key, nor any part of it.
    if not _KEY.match(text):
        raise ConfigError(
            "api_key must be printable ASCII without a space, since it goes into an HTTP header"
            " (a line end read from a file along with it is the usual cause)"
        )
    return text


def _api_host(text: str) -> str:
    # The error does not show the address: it may hold a password, or be the key in the wrong place.
    match = _HOST.match(text)
    if not match or not 0 < int(match["port"] or 1) <= _MAX_PORT:
        raise ConfigError(
            "api_host must be http:// or https://, a host name or address, a port if need be, and nothing else,"
            f" such as {constants.SERVER_BASE_URL}"
        )
    return text.rstrip("/")


def _switched_off(environ: Mapping[str, str]) -> bool:
    text = environ.get(constants.ENV_DISABLED, "")
    if (switch := _SWITCHES.get(text.strip().lower())) is None:
        allowed = ", ".join(filter(None, _SWITCHES))
        raise ConfigError(f"{constants.ENV_DISABLED} must be one of {allowed}, or empty, not {shown(text)}")
    return switch


def _absolute(path: Path) -> Path:
    try:
        return path.expanduser().absolute()
    except (RuntimeError, OSError) as error:
        raise ConfigError(f"spool_path {shown(str(path))} cannot be made absolute: {error}") from error


_SOURCES: Final[dict[str, tuple[str, str, Callable[[str], str]]]] = {
    "project_id": (constants.ENV_PROJECT_ID, "", check_project_id),
    "api_key": (constants.ENV_API_KEY, "", _api_key),
    "api_host": (constants.ENV_HOST, constants.SERVER_BASE_URL, _api_host),
}
