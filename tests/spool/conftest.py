"""Fixtures of the spool's tests."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from alignai.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a spool may be."""
    return tmp_path / "spool.db"


@pytest.fixture
def open_spool(path: Path) -> Iterator[Callable[..., Spool]]:
    """Opens the spool at `path`; all are closed at the end of the test."""
    with ExitStack() as spools:

        def opened(**options: object) -> Spool:
            spool = Spool(path, **({"project_id": "project"} | options))  # type: ignore[arg-type]
            spools.callback(spool.close)
            return spool

        yield opened


@pytest.fixture
def spool(open_spool: Callable[..., Spool]) -> Spool:
    """A new spool."""
    return open_spool()


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    """Sets the process's umask; the old one is back at the end of the test."""
    before = os.umask(0o022)
    try:
        yield os.umask
    finally:
        os.umask(before)
