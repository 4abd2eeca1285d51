"""Spools of every version of the format open for ever, and nothing in them is lost."""

from __future__ import annotations

import hashlib
import json
import shutil
from typing import TYPE_CHECKING, NamedTuple

import pytest

from alignai.cli.app import main
from alignai.spool import Spool
from alignai.spool.salvage.rebuild import salvage
from alignai.spool.storage.format import VERSION
from tests.support import old_spools as keeping
from tests.support.old_spools import (
    ALL,
    DROPPED,
    FOLDER,
    IN_FLIGHT,
    MUCH,
    PENDING,
    PROJECT,
    PRUNED,
    REJECTED,
    SENT,
    SETTLED,
    event,
    kept,
)
from tests.support.spool_file import ask

if TYPE_CHECKING:
    from pathlib import Path

VERSIONS = range(1, VERSION + 1)
UNSENT = [event(number) for number in range(SETTLED + 1, ALL + 1)]


class Open(NamedTuple):
    """A batch in flight, as it comes back for its next upload."""

    first: int
    last: int
    request_id: str
    attempts: int
    faults: int


# Neither the files nor the events read from them ever change.
SHA256 = {1: "029425e5f59ef38b9a54bc491d6a7f758d8053d736cba8e1346e3f9452034dcd"}
OPEN = {
    1: [
        Open(18, 20, "6d0ea0ac9b4c4b6d95604edb6e59fd89", attempts=2, faults=1),
        Open(21, 24, "9a67b7a7afaa46b6b465b8992d1d20aa", attempts=1, faults=0),
    ]
}


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def old(version: int, path: Path) -> Path:
    """A copy of a kept spool."""
    shutil.copy(kept(version), path)
    return path


def drained(spool: Spool) -> tuple[list[Open], list[bytes]]:
    """The first two batches, and all that was unsent, in order."""
    batches: list[Open] = []
    payloads: list[bytes] = []
    while batch := spool.next_batch(50, MUCH):
        batches.append(Open(batch.first, batch.last, batch.request_id, batch.attempts, batch.faults))
        payloads += batch.payloads
        spool.mark_sent(batch)
    return batches[:2], payloads


# -- the old spools ----------------------------------------------------------------------------------------------------


def test_there_is_a_spool_of_every_version_of_the_format() -> None:
    """A change of the version needs a new one: python -m tests.support.old_spools."""
    assert sorted(FOLDER.glob("spool-v*")) == [kept(version) for version in VERSIONS]


def test_an_old_spool_is_as_it_was_made(version: int) -> None:
    assert hashlib.sha256(kept(version).read_bytes()).hexdigest() == SHA256[version]


def test_an_old_spool_is_never_made_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    there = tmp_path / f"spool-v{VERSION}.db"
    there.write_bytes(b"kept")
    monkeypatch.setattr(keeping, "FOLDER", tmp_path)
    with pytest.raises(SystemExit, match="exists already"):
        keeping.main()

    assert there.read_bytes() == b"kept"


# -- a copy ------------------------------------------------------------------------------------------------------------


def test_an_old_spool_opens_with_everything_in_it(old: Path, version: int) -> None:
    spool = Spool(old, project_id=PROJECT)
    stats = spool.stats()

    assert (stats.pending, stats.in_flight, stats.sent) == (PENDING, IN_FLIGHT, PRUNED + SENT)
    assert (stats.rejected, stats.dropped, stats.last_error) == (REJECTED, DROPPED, "no answer")
    assert spool.check() == []
    assert drained(spool) == (OPEN[version], UNSENT)
    assert spool.check() == []
    assert ask(old, "PRAGMA user_version") == [(VERSION,)]
    spool.close()


def test_an_old_spool_is_looked_at_without_being_changed(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = old.read_bytes()
    code = main(["inspect", str(old), "--json"])
    said = json.loads(capsys.readouterr().out)

    assert code == 0
    assert (said["pending"], said["in_flight"], said["sent"]) == (PENDING, IN_FLIGHT, PRUNED + SENT)
    assert (said["rejected"], said["dropped"]) == (REJECTED, DROPPED)
    assert old.read_bytes() == before


def test_an_old_spool_is_gone_on_with(old: Path) -> None:
    spool = Spool(old, project_id=PROJECT)

    assert spool.append(b"new") == ALL + 1
    assert drained(spool)[1] == [*UNSENT, b"new"]
    spool.maintain()
    assert spool.check() == []
    spool.close()


def test_an_old_spool_is_salvaged_with_everything_in_it(old: Path, version: int) -> None:
    before = old.read_bytes()
    new = old.with_name("new.db")
    salvaged = salvage(old, new)

    assert (salvaged.pending, salvaged.in_flight, salvaged.rejected) == (PENDING, IN_FLIGHT, REJECTED)
    assert (salvaged.project_id, salvaged.skipped, salvaged.complete) == (PROJECT, SENT, True)
    assert old.read_bytes() == before
    spool = Spool(new, project_id=PROJECT)
    batches, payloads = drained(spool)
    assert [batch[2:] for batch in batches] == [batch[2:] for batch in OPEN[version]]
    assert payloads == UNSENT
    assert ask(new, "SELECT payload, reason FROM rejected ORDER BY seq") == [
        (event(PRUNED + DROPPED + SENT + 1 + index), "the server's words") for index in range(REJECTED)
    ]
    assert spool.check() == []
    spool.close()
