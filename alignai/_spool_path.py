"""Find the spool: the path that was given, the one in the environment, or the project's file in the state folder."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

from alignai import constants
from alignai._interruption import is_interruption
from alignai.exception import ConfigError, short_repr

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# The command line imports this file, so that `inspect` waits for every import in it. A path is a `str` here for the
# same reason.

_UNSAFE: Final = "[^A-Za-z0-9_-]"
_NAME_LENGTH: Final = 64
_HASH_LENGTH: Final = 16
_HOME_FOLDERS: Final = {".local", "Library"}
"""What the default path has below a home folder. At the root, it belongs to a user who has no home folder."""
_NAME_ANOTHER: Final = f"Pass Config(spool_path=...), or set {constants.ENV_SPOOL_PATH} to an absolute path"


def spool_path(given: str | os.PathLike[str] | None, project_id: str, environ: Mapping[str, str]) -> str:
    """
    Return the absolute path of the spool: *given*, the one in the environment, or the default for the project.

    Raises:
        ConfigError: The path cannot be made absolute, or there is no home folder for the default.

    """
    path = given or environ.get(constants.ENV_SPOOL_PATH)
    return absolute(os.fspath(path)) if path else str(default_spool_path(project_id))


def spool_path_from_environment(environ: Mapping[str, str]) -> str:
    """
    Return the absolute path of the spool that the environment names, by its path or by its project.

    Raises:
        ConfigError: It names neither, or the path cannot be used.

    """
    project_id = environ.get(constants.ENV_PROJECT_ID)
    if not project_id and not environ.get(constants.ENV_SPOOL_PATH):
        raise ConfigError(f"no spool is named. Give its path, or set {constants.ENV_SPOOL_PATH}")
    return spool_path(None, project_id or "", environ)


def absolute(path: str) -> str:
    """
    Return *path* as an absolute path, with the home folder in place of `~`.

    Raises:
        ConfigError: There is no such home folder, or the working directory has been deleted.

    """
    expanded = os.path.expanduser(path)  # noqa: PTH111 - pathlib takes too long to import
    if expanded.startswith("~"):
        raise _not_absolute(path, "Could not determine home directory")
    if os.path.isabs(expanded):  # noqa: PTH117 - as above
        return expanded
    try:
        return os.path.join(os.getcwd(), expanded)  # noqa: PTH109, PTH118 - as above
    except OSError as error:
        if is_interruption(error):
            raise
        raise _not_absolute(path, str(error)) from error


def _not_absolute(path: str, reason: str) -> ConfigError:
    return ConfigError(f"spool_path {short_repr(path)} cannot be made absolute: {reason}. {_NAME_ANOTHER}")


def default_spool_path(project_id: str) -> Path:
    """
    Return the path of the project's spool if no other is named: a file in the user's state folder.

    Characters that could lead out of that folder are replaced, and a hash of the id is added: no two projects share a
    file.
    """
    from pathlib import Path  # noqa: PLC0415 - not needed if the path is named

    safe = re.sub(_UNSAFE, "_", project_id)[:_NAME_LENGTH]
    if not safe or safe != project_id:
        safe = f"{safe}.{_hash(project_id)}"  # with a dot, which no unchanged id contains
    return Path(_state_folder(), f"{safe}.db")


def _hash(text: str) -> str:
    import hashlib  # noqa: PLC0415 - few ids need it

    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_LENGTH]


def _state_folder() -> str:
    """
    Return the user's folder for the data that programs keep between runs.

    Raises:
        ConfigError: The folder would be in a home folder, and there is none.

    """
    import platformdirs  # noqa: PLC0415 - not needed if the path is named

    try:
        folder = platformdirs.user_state_path("alignai")
        if folder.parts[0] != "~" and folder.parts[1] not in _HOME_FOLDERS:
            return absolute(str(folder))
    except RuntimeError as error:  # raised by newer versions of platformdirs, older ones leave the ~ as it is
        if is_interruption(error):
            raise
    raise ConfigError(f"spool_path is missing, and there is no home folder for its default. {_NAME_ANOTHER}")
