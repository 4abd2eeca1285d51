"""A spool that is not in WAL mode, as a copy by `VACUUM INTO`, is put back into it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from alignai.spool import Spool, SpoolBusyError
from alignai.spool.storage.watch import Watch
from tests.support.processes import fork, process
from tests.support.spool_file import ask, payloads
from tests.support.waiting import wait_until_verification_is_due

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def filled(path: Path) -> Path:
    spool = Spool(path, project_id="project")
    for number in range(10):
        spool.append(b"event %d" % number)
    spool.close()
    return path


def switch(path: Path, mode: str) -> None:
    assert ask(path, f"PRAGMA journal_mode = {mode}") == [(mode.lower(),)]


def copy(path: Path) -> None:
    """Put a copy by `VACUUM INTO` in the place of the spool."""
    copied = path.with_name("copy.db")
    ask(path, "VACUUM INTO ?", str(copied))
    for each in path.parent.glob("spool.db*"):
        each.unlink()
    copied.rename(path)


CHANGES: dict[str, Callable[[Path], None]] = {
    "VACUUM INTO": copy,
    **{mode: lambda path, mode=mode: switch(path, mode) for mode in ("DELETE", "TRUNCATE", "PERSIST")},  # type: ignore[misc]
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_spool_that_is_not_in_wal_mode_takes_and_returns_events(
    filled: Path, open_spool: Callable[..., Spool], change: str
) -> None:
    CHANGES[change](filled)
    spool = open_spool()
    batch = spool.next_batch(100, 1 << 20)
    assert batch
    assert len(batch) == 10
    spool.mark_sent(batch)
    assert spool.append(b"new") == 11
    spool.maintain()

    assert list(spool.notices()) == spool.check() == []
    assert ask(filled, "PRAGMA journal_mode") == [("wal",)]
    assert payloads(filled)[-1] == b"new"


def test_a_spool_is_put_back_into_wal_mode_while_workers_come_and_go(
    filled: Path, open_spool: Callable[..., Spool]
) -> None:
    spool = open_spool()
    fork()  # around a fork, every connection is closed
    switch(filled, "DELETE")
    with process("spool().append(b'theirs')\nsay('done')\nhear()", filled) as other:
        assert other.hear() == "done"
        assert spool.append(b"ours") == 12
    assert list(spool.notices()) == []


def test_a_wal_that_is_lost_again_and_again_is_an_error(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    spool.append(b"event")
    monkeypatch.setattr(Watch, "lost", True)
    wait_until_verification_is_due()
    with pytest.raises(SpoolBusyError, match="again and again"):
        spool.append(b"more")
    monkeypatch.undo()
    assert spool.append(b"more") == 2
    assert len(list(spool.notices())) < 10
