"""The WAL of another spool beside a file says nothing about the events of the file."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from alignai.spool.salvage.rebuild import salvage
from tests.support.processes import process
from tests.support.spool_file import payloads, wal

if TYPE_CHECKING:
    from pathlib import Path

BEGIN = """
s = spool()
def record(name, count):
    for number in range(count): s.append(b'%s %d' % (name, number))
def send(most):
    batch = s.next_batch(most, 1 << 20)
    s.mark_sent(batch)
"""
PENDING = BEGIN + "record(b'pending', 60)\ncheckpoint()\nsay('done')\nhear()"
# The WAL says only that batches are pruned. All other changes to them are in the file.
PRUNED = (
    BEGIN
    + """
record(b'theirs', 60)
send(50)
s.close()
s = spool(retention=0)
s.maintain()
say('done')
hear()
"""
)


def killed(script: str, path: Path) -> None:
    """A spool as a process leaves it that is killed."""
    with process(script, path) as writer:
        assert writer.hear() == "done"
        writer.kill()


def unsent(path: Path) -> list[bytes]:
    return [each for each in payloads(path) if each]


@pytest.fixture
def new(tmp_path: Path) -> Path:
    return tmp_path / "new.db"


def test_another_spools_wal_does_not_mark_events_as_sent(path: Path, new: Path, tmp_path: Path) -> None:
    killed(PENDING, path)
    killed(PRUNED, tmp_path / "other.db")
    shutil.copy(wal(tmp_path / "other.db"), wal(path))
    salvage(path, new, "project")

    assert {b"pending %d" % number for number in range(60)} <= set(unsent(new))


def test_a_spools_own_wal_is_trusted_if_it_only_prunes_batches(path: Path, new: Path) -> None:
    killed(PRUNED, path)
    salvaged = salvage(path, new)

    assert unsent(new) == [b"theirs %d" % number for number in range(50, 60)]
    assert salvaged.complete
