"""`salvage` recovers every readable event and changes nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from alignai.cli.app import main
from alignai.spool import Spool, SpoolCorruptError, SpoolError, SpoolVersionError
from alignai.spool.salvage.rebuild import salvage
from tests.support.processes import process
from tests.support.spool_file import ask, payloads, wal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PAGE = 4096
MUCH = 1 << 20
EVENTS = [b"%06d" % number + b"." * 300 for number in range(400)]
LARGE = b"large" * 5000
GARBAGE = b"\xa5" * PAGE


def overwrite(path: Path, page: int, content: bytes = GARBAGE) -> None:
    with path.open("r+b") as file:
        file.seek(page * PAGE)
        file.write(content)


def root_of(path: Path, table: str) -> int:
    ((root,),) = ask(path, "SELECT rootpage FROM sqlite_schema WHERE name = ?", table)
    return int(root) - 1


@pytest.fixture
def damaged(path: Path) -> Path:
    """A spool that no process has open, not damaged yet: sent, rejected and open batches, and many that wait."""
    spool = Spool(path, project_id="project")
    for event in EVENTS:
        spool.append(event)
    batch = spool.next_batch(50, MUCH)
    assert batch
    spool.mark_sent(batch)
    batch = spool.next_batch(50, MUCH)
    assert batch
    spool.mark_rejected(batch, "its words", "refused")
    assert spool.next_batch(50, MUCH)
    spool.append(LARGE)
    spool.close()
    ask(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    return path


@pytest.fixture
def new(tmp_path: Path) -> Path:
    return tmp_path / "new" / "spool.db"


def unsent(path: Path) -> list[bytes]:
    return [each for each in payloads(path) if each]


def test_everything_is_brought_out_of_a_spool_that_is_not_damaged(damaged: Path, new: Path) -> None:
    open_batch = ask(damaged, "SELECT request_id, attempts FROM batches WHERE state = 'open'")
    before = damaged.read_bytes()
    salvaged = salvage(damaged, new)

    assert (salvaged.skipped, salvaged.rejected, salvaged.in_flight, salvaged.pending) == (50, 50, 50, 251)
    assert salvaged.complete
    assert damaged.read_bytes() == before
    assert unsent(new) == [*EVENTS[100:], LARGE]
    assert ask(new, "SELECT payload, reason FROM rejected") == [(event, "its words") for event in EVENTS[50:100]]
    assert ask(new, "SELECT request_id, attempts FROM batches WHERE state = 'open'") == open_batch
    spool = Spool(new, project_id="project")
    assert spool.check() == []
    batch = spool.next_batch(20, MUCH)
    assert batch
    assert batch.payloads == tuple(EVENTS[100:150])
    spool.close()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "the first page, with the schema": lambda path: overwrite(path, 0),
    "the map of the pages": lambda path: overwrite(path, 1),
    "the page above all events": lambda path: overwrite(path, root_of(path, "events")),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_every_event_is_brought_out_where_only_what_leads_to_them_is_gone(
    damaged: Path, new: Path, damage: Callable[[Path], object]
) -> None:
    damage(damaged)
    salvaged = salvage(damaged, new)

    assert unsent(new) == [*EVENTS[100:], LARGE]
    assert (salvaged.skipped, salvaged.unreadable, salvaged.rejected, salvaged.in_flight) == (50, 0, 50, 50)


def test_events_on_a_damaged_page_are_counted_and_others_recovered(damaged: Path, new: Path) -> None:
    content = damaged.read_bytes()
    page = content.index(EVENTS[300]) // PAGE
    on_it = [event for event in EVENTS if event in content[page * PAGE : (page + 1) * PAGE]]
    overwrite(damaged, page)
    salvaged = salvage(damaged, new)

    assert unsent(new) == [event for event in [*EVENTS[100:], LARGE] if event not in on_it]
    assert salvaged.unreadable == len(on_it) > 5
    assert not salvaged.complete


def test_an_event_with_a_flipped_byte_is_not_taken(damaged: Path, new: Path) -> None:
    damaged.write_bytes(damaged.read_bytes().replace(EVENTS[300], EVENTS[300][:-1] + b"!"))
    salvaged = salvage(damaged, new)

    assert EVENTS[300] not in unsent(new)
    assert len(unsent(new)) == 300
    assert salvaged.unreadable == 1


def test_all_events_are_recovered_if_the_ledger_cannot_be_read(damaged: Path, new: Path) -> None:
    """Better twice, recognisable by their ids, than never."""
    overwrite(damaged, root_of(damaged, "batches"))
    salvaged = salvage(damaged, new)

    assert unsent(new) == [*EVENTS[:50], *EVENTS[100:], LARGE]
    assert (salvaged.skipped, salvaged.in_flight, salvaged.rejected) == (0, 0, 50)


def test_gaps_of_rejected_events_do_not_discredit_adjacent_rows(path: Path, new: Path) -> None:
    """Otherwise the events that were sent between them would be sent again."""
    spool = Spool(path, project_id="project")
    for event in EVENTS[:60]:
        spool.append(event)
    while batch := spool.next_batch(1, MUCH):
        if batch.first > 40:
            break
        if batch.first % 2:
            spool.mark_rejected(batch, "its words", "refused")
        else:
            spool.mark_sent(batch)
    spool.close()
    salvaged = salvage(path, new)

    assert (salvaged.skipped, salvaged.rejected, salvaged.unreadable) == (20, 20, 0)
    assert unsent(new) == EVENTS[40:60]


def test_events_behind_a_damaged_part_of_the_wal_are_recovered(path: Path, new: Path) -> None:
    with process("s = spool()\nfor i in range(200): s.append(b'event %d' % i)\nsay('open')\nhear()", path) as writer:
        writer.hear()
        writer.kill()
    overwrite(wal(path), 12, b"\xa5" * 10)
    before = wal(path).read_bytes()
    salvaged = salvage(path, new)

    assert unsent(new) == [b"event %d" % number for number in range(200)]
    assert salvaged.project_id == "project"
    assert wal(path).read_bytes() == before


@pytest.mark.parametrize("beside", ["", "-wal", "-shm", "-journal"])
def test_nothing_is_overwritten(damaged: Path, new: Path, beside: str) -> None:
    new.parent.mkdir()
    there = new.with_name(new.name + beside)
    there.write_text("precious")
    with pytest.raises(SpoolError, match="overwrites nothing"):
        salvage(damaged, new)

    assert there.read_text() == "precious"
    assert list(new.parent.iterdir()) == [there]


def test_a_spool_that_comes_into_being_meanwhile_is_not_overwritten(
    damaged: Path, new: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from alignai.spool.salvage import rebuild as module

    prepare = module.prepare

    def and_someone_else_is_first(path: Path, project_id: str) -> None:
        prepare(path, project_id)
        new.write_text("precious")

    monkeypatch.setattr(module, "prepare", and_someone_else_is_first)
    with pytest.raises(SpoolError, match="overwrites nothing"):
        salvage(damaged, new)

    assert new.read_text() == "precious"
    assert list(new.parent.iterdir()) == [new]


def test_a_spool_that_is_being_written_to_is_refused(damaged: Path, new: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from alignai.spool.salvage import rebuild as module

    prepare = module.prepare

    def while_a_worker_appends(path: Path, project_id: str) -> None:
        prepare(path, project_id)
        spool = Spool(damaged, project_id="project")
        spool.append(b"late")
        spool.close()

    monkeypatch.setattr(module, "prepare", while_a_worker_appends)
    with pytest.raises(SpoolError, match="something is writing to it"):
        salvage(damaged, new)

    assert list(new.parent.iterdir()) == []


def test_a_new_spool_is_private(damaged: Path, new: Path) -> None:
    salvage(damaged, new)

    assert new.stat().st_mode & 0o777 == 0o600
    assert list(new.parent.iterdir()) == [new]


def test_a_file_of_something_else_is_an_error(tmp_path: Path, new: Path) -> None:
    (tmp_path / "text").write_text("This is no database.\n" * 1000)
    with pytest.raises(SpoolCorruptError, match="nothing of a spool"):
        salvage(tmp_path / "text", new)
    for name in ("", "missing"):
        with pytest.raises(SpoolError, match="there is no such file"):
            salvage(tmp_path / name, new)

    assert not new.exists()


def test_a_spool_of_a_newer_version_is_refused(damaged: Path, new: Path) -> None:
    ask(damaged, "PRAGMA user_version = 7")
    with pytest.raises(SpoolVersionError, match="Upgrade alignai"):
        salvage(damaged, new)

    assert not new.exists()


# -- the command -------------------------------------------------------------------------------------------------------


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main(["salvage", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


def test_the_command_says_what_it_has_done(damaged: Path, new: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, damaged, new, "--json")
    figures: dict[str, Any] = json.loads(out)

    assert (code, err) == (0, "")
    assert figures == {
        "damaged": str(damaged),
        "new": str(new),
        "project_id": "project",
        "pending": 251,
        "in_flight": 50,
        "rejected": 50,
        "skipped": 50,
        "unreadable": 0,
        "unreadable_pages": 0,
    }


def test_the_command_speaks_to_people_too(damaged: Path, new: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, damaged, new)

    assert code == 0
    assert "251" in out
    assert "50 that had been sent or dropped" in out


def test_the_command_says_by_its_exit_code_that_something_is_missing(
    damaged: Path, new: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overwrite(damaged, damaged.read_bytes().index(EVENTS[300]) // PAGE)

    assert run(capsys, damaged, new)[0] == 1


def test_the_command_refuses_with_a_reason(damaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, damaged, damaged)

    assert (code, out) == (2, "")
    assert "overwrites nothing" in err


def test_the_project_can_be_given_where_the_file_no_longer_says_it(
    damaged: Path, new: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overwrite(damaged, root_of(damaged, "spool"))
    code, _, err = run(capsys, damaged, new)
    assert code == 2
    assert "--project-id" in err

    assert run(capsys, damaged, new, "--project-id", "mine")[0] == 1  # a page was lost, and its contents are unknown
    assert ask(new, "SELECT project_id FROM spool") == [("mine",)]
