"""What makes a file a spool: its mark, its version and its project."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import SpoolCorruptError, SpoolMismatchError, SpoolVersionError
from ..ledger import sql

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

MIGRATIONS = (sql.VERSION_1,)
"""What leads from each version to the next, beginning with the empty file. Never edited, only added to."""

VERSION = len(MIGRATIONS)

_MAX_VERSIONS = 1000
"""No version of this package will ever have a format as high: the number is damaged."""


def verify(connection: sqlite3.Connection, path: Path | str) -> int:
    """
    Read which version of a spool is open; 0 for an empty file.

    Raises:
        SpoolVersionError: The file is of a newer version.
        SpoolMismatchError: The file is a database of something else.
        SpoolCorruptError: The file is a spool whose head contradicts the rest of it.
    """
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    mark = int(connection.execute("PRAGMA application_id").fetchone()[0])
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if not tables and not version and not mark:
        return 0
    if mark != sql.APPLICATION_ID and not tables >= sql.TABLES:
        raise SpoolMismatchError(f"spool {path}: this is another program's database. Name another path.")
    check_version(version, path)
    if mark != sql.APPLICATION_ID or not 0 < version <= VERSION or not tables >= sql.TABLES:
        raise SpoolCorruptError(f"spool {path}: its header or its schema is corrupt. Keep the file.")
    return version


def check_version(version: int, path: Path | str) -> None:
    """
    Refuse a spool of which this version of the package may understand too little.

    Raises:
        SpoolVersionError: The format is newer.
    """
    if VERSION < version < _MAX_VERSIONS:
        raise SpoolVersionError(
            f"spool {path}: it has format {version}, this package knows up to {VERSION}. Upgrade alignai. "
            "The file was left as it is."
        )


def verify_project(connection: sqlite3.Connection, path: Path, project_id: str) -> None:
    """
    Compare the project that the spool belongs to.

    Raises:
        SpoolMismatchError: It is another one.
    """
    (owner,) = connection.execute(sql.PROJECT).fetchone()
    if owner != project_id:
        raise SpoolMismatchError(
            f"spool {path}: it belongs to project {owner!r}, not to {project_id!r} "
            "- give each project a spool_path of its own"
        )
