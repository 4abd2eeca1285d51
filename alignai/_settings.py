"""The settings of an `AlignAI`, from its arguments, the environment and the defaults."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from alignai import constants
from alignai._events.schemas import check_project_id
from alignai._spool_path import spool_path
from alignai.config import Config
from alignai.exception import AlignAIError, ConfigError, short_repr

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_KEY: Final = re.compile(r"[!-~]+\Z")
_HOST: Final = re.compile(
    r"https?://(?:[a-z0-9_](?:[a-z0-9._-]*[a-z0-9_.])?|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?/?\Z", re.IGNORECASE
)
_MAX_PORT: Final = 65_535

NOWHERE: Final = Path(os.devnull)
"""The spool's path if the SDK is disabled."""

_SWITCHES: Final = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off", ""), False),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of an `AlignAI`, made by `resolve`. The repr does not show the key."""

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
    Return the settings. Arguments win over the environment, and the environment wins over the defaults.

    Args:
        project_id: 1 to 64 characters of valid Unicode, None or "" to take it from the environment.
        api_key: Printable ASCII without a space, None or "" to take it from the environment.
        api_host: http(s)://host[:port], None or "" to take it from the environment, or else Align's server.
        config: None for the defaults.
        environ: The environment. An empty variable counts as missing.

    Raises:
        ConfigError: A setting is missing or cannot be used. The error lists all of them. If the SDK is disabled, a
            project id and a key are not required, and no path is looked up. Without a sender no key is required.

    """
    if config is not None and not isinstance(config, Config):
        raise ConfigError(f"config must be an alignai.config.Config, not {type(config).__name__}")
    config = config or Config()
    disabled = _switched_off(environ) if config.disabled is None else config.disabled
    needed = {"project_id": not disabled, "api_key": config.sender and not disabled, "api_host": True}
    texts = {}
    wrong = []
    for name, given in (("project_id", project_id), ("api_key", api_key), ("api_host", api_host)):
        try:
            texts[name] = _text(name, given, environ, needed=needed[name])
        except AlignAIError as error:
            wrong.append(str(error))
    if wrong:
        raise ConfigError("; ".join(wrong))
    path = NOWHERE if disabled else Path(spool_path(config.spool_path, texts["project_id"], environ))
    return Settings(**texts, spool_path=path, config=config, disabled=disabled)


def _text(name: str, given: object, environ: Mapping[str, str], *, needed: bool) -> str:
    variable, default, check = _SOURCES[name]
    if given is None:
        given = ""
    if not issubclass(type(given), str):  # `type()`, since mocks answer to isinstance for what they are not
        raise ConfigError(f"{name} must be a str, not {type(given).__name__}")
    text = str.__str__(given) or environ.get(variable) or default
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
        raise ConfigError(f"{constants.ENV_DISABLED} must be one of {allowed}, or empty, not {short_repr(text)}")
    return switch


_SOURCES: Final[dict[str, tuple[str, str, Callable[[str], str]]]] = {
    "project_id": (constants.ENV_PROJECT_ID, "", check_project_id),
    "api_key": (constants.ENV_API_KEY, "", _api_key),
    "api_host": (constants.ENV_HOST, constants.SERVER_BASE_URL, _api_host),
}
