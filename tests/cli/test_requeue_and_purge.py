"""`python -m alignai.spool requeue` and `purge`: their changes, questions and refusals."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from alignai.cli import main
from tests.spool.test_requeue import drained, figures, rejected
from tests.support.processes import ROOT, process
from tests.support.spool_file import ask

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from alignai.spool import Spool

COMMANDS = [["requeue"], ["purge", "--state", "pending", "--yes"]]
STATES = ["rejected", "pending", "sent"]


@pytest.fixture
def filled(spool: Spool) -> Spool:
    """One sent, two rejected, three pending."""
    spool.append(b"sent")
    drained(spool)
    rejected(spool, [b"SECRET", b"rejected"])
    for number in range(3):
        spool.append(b"pending %d" % number)
    return spool


def as_json(capsys: pytest.CaptureFixture[str], code: int, *arguments: object) -> dict[str, Any]:
    assert main([*map(str, arguments), "--json"]) == code
    shown: dict[str, Any] = json.loads(capsys.readouterr().out)
    return shown


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main([*map(str, arguments)]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    return shown.err


def test_requeue_says_what_it_has_done(filled: Spool, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert as_json(capsys, 0, "requeue", path) == {
        "path": str(path),
        "requeued": 2,
        "damaged": 0,
        "pending": 5,
        "rejected": 0,
        "dropped": 0,
    }
    assert drained(filled)[-2:] == [b"SECRET", b"rejected"]


def test_requeue_says_by_its_exit_code_that_some_could_not_be_requeued(
    filled: Spool, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(path, "UPDATE rejected SET payload = x'00' WHERE payload = ?", b"SECRET")
    shown = as_json(capsys, 1, "requeue", path)

    assert (shown["requeued"], shown["damaged"], shown["rejected"]) == (1, 1, 1)
    assert filled.check() == []


@pytest.mark.parametrize(
    ("state", "purged", "left"),
    [("rejected", 2, (3, 1, 0, 2)), ("pending", 3, (0, 1, 2, 3)), ("sent", 1, (3, 1, 2, 0))],
)
def test_purge_says_what_it_has_done(
    filled: Spool, path: Path, capsys: pytest.CaptureFixture[str], state: str, purged: int, left: tuple[int, ...]
) -> None:
    pending, _, kept, dropped = left

    assert as_json(capsys, 0, "purge", path, "--state", state, "--yes") == {
        "path": str(path),
        "state": state,
        "purged": purged,
        "pending": pending,
        "rejected": kept,
        "dropped": dropped,
    }
    assert figures(filled) == left
    assert filled.check() == []


@pytest.mark.parametrize("arguments", [["requeue"], *(["purge", "--yes", "--state", state] for state in STATES)])
def test_events_that_are_too_young_are_left_alone(
    filled: Spool, path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    before = figures(filled)
    as_json(capsys, 0, *arguments, path, "--older-than", "3600")

    assert figures(filled) == before


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize("arguments", COMMANDS)
def test_requeue_and_purge_print_figures_and_no_event_contents(
    filled: Spool, path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert main([*arguments, str(path)]) == 0
    shown = capsys.readouterr().out

    assert [word in shown for word in ("pending", "rejected", "SECRET", "its words")] == [True, True, False, False]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("stdin", [io.StringIO("y\n"), io.StringIO("")])
def test_purge_refuses_without_a_terminal_to_ask_at(
    filled: Spool,
    path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    stdin: io.StringIO,
    state: str,
) -> None:
    before = figures(filled)
    monkeypatch.setattr(sys, "stdin", stdin)

    assert "--yes" in refused(capsys, "purge", path, "--state", state)
    assert figures(filled) == before


@pytest.mark.parametrize("answer", ["", "\n", "n\n", "no\n", "nay, yes\n", "yeah\n"])
def test_purge_deletes_nothing_unless_the_answer_is_yes(
    filled: Spool, path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    before = figures(filled)
    monkeypatch.setattr(sys, "stdin", Terminal(answer))

    assert main(["purge", str(path), "--state", "rejected"]) == 1
    assert figures(filled) == before
    assert capsys.readouterr().err == f"Delete 2 rejected events of {path} for good? They were never sent. [y/N] "


@pytest.mark.parametrize("answer", ["y\n", "yes\n", " YES \n", "y"])
def test_purge_deletes_only_events_that_were_there_when_it_asked(
    filled: Spool, path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    class Slow(Terminal):
        def readline(self, size: int = -1) -> str:  # type: ignore[override]
            filled.append(b"meanwhile")
            return super().readline(size)

    monkeypatch.setattr(sys, "stdin", Slow(answer))
    shown = as_json(capsys, 0, "purge", path, "--state", "pending")

    assert (shown["purged"], shown["pending"]) == (3, 1)
    assert drained(filled) == [b"meanwhile"]


def test_purge_asks_nothing_if_there_is_nothing_to_delete(
    spool: Spool, path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal())

    assert as_json(capsys, 0, "purge", path, "--state", "rejected")["purged"] == 0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind")
def test_purge_asks_at_a_real_terminal(filled: Spool, path: Path) -> None:
    import pty

    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "alignai.spool", "purge", str(path), "--state", "rejected", "--json"]
    with subprocess.Popen(command, cwd=ROOT, stdin=theirs, stdout=subprocess.PIPE, text=True) as asking:
        os.write(ours, b"y\n")
        shown, _ = asking.communicate(timeout=60)
    os.close(theirs)
    os.close(ours)

    assert (asking.returncode, json.loads(shown)["purged"]) == (0, 2)
    assert figures(filled) == (3, 1, 0, 2)


@pytest.mark.parametrize("arguments", COMMANDS)
def test_a_spool_that_is_not_there_is_an_error_and_is_not_made(
    path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert "there is no such file" in refused(capsys, *arguments, path)
    assert "there is no such file" in refused(capsys, *arguments, path.parent)
    assert "ALIGNAI_SPOOL_PATH" in refused(capsys, *arguments)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("arguments", COMMANDS)
@pytest.mark.parametrize(("content", "says"), [(b"", "empty"), (b"no database " * 100, "not a database")])
def test_a_file_that_is_no_spool_is_an_error_and_left_as_it_is(
    path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], content: bytes, says: str
) -> None:
    path.write_bytes(content)

    assert says in refused(capsys, *arguments, path)
    assert [(each.name, each.read_bytes()) for each in path.parent.iterdir()] == [("spool.db", content)]


@pytest.mark.parametrize("arguments", COMMANDS)
def test_a_newer_spool_is_left_as_it_is(
    spool: Spool, path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    spool.close()
    ask(path, "PRAGMA user_version = 99")

    assert "Upgrade alignai" in refused(capsys, *arguments, path)


@pytest.mark.parametrize(
    "arguments",
    [
        ["purge"],
        ["purge", "--state", "open"],
        ["purge", "--state", "rejected", "--older-than", "-1"],
        ["requeue", "--older-than", "nan"],
        ["requeue", "--older-than", "inf"],
        ["requeue", "--older-than", "soon"],
        ["requeue", "--yes"],
    ],
)
def test_a_wrong_command_line_is_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)

    assert exit_.value.code == 2
    assert "usage: python -m alignai.spool" in capsys.readouterr().err


def test_the_project_is_the_files_own(open_spool: Any, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spool = rejected(open_spool(project_id="Ünusual/project"), [b"event"])
    spool.close()

    assert as_json(capsys, 0, "requeue", path)["requeued"] == 1


def test_the_environment_names_the_spool(
    filled: Spool, path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ALIGNAI_SPOOL_PATH", str(path))

    assert as_json(capsys, 0, "requeue")["path"] == str(path)


def test_a_spool_is_reached_through_a_link(
    filled: Spool, path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "link.db").symlink_to(path)

    assert as_json(capsys, 0, "requeue", tmp_path / "link.db")["requeued"] == 2
    assert filled.check() == []


@pytest.mark.parametrize(("table", "code"), [("rejected", 2), ("batches", 1)])
def test_a_corrupt_spool_is_quarantined_and_reported(
    filled: Spool, path: Path, capsys: pytest.CaptureFixture[str], table: str, code: int
) -> None:
    """If opening finds the damage, a new spool is created, as every worker does."""
    ((page,),) = ask(path, "SELECT rootpage FROM sqlite_schema WHERE name = ?", table)
    filled.close()
    ask(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xa5" * 4096)

    assert main(["requeue", str(path)]) == code
    assert "salvage" in capsys.readouterr().err
    assert list(path.parent.glob("spool.db.corrupt-*"))


WORKER = """
s = spool()
say('up')
slowest = number = 0
while not os.path.exists(sys.argv[2]):
    began = time.perf_counter()
    s.append(b'worker')
    slowest = max(slowest, time.perf_counter() - began)
    number += 1
    time.sleep(0.0001)
say(number, slowest)
s.close()
"""


@pytest.fixture
def worker(path: Path, tmp_path: Path) -> Iterator[Any]:
    with process(WORKER, path, tmp_path / "stop") as process_:
        assert process_.hear() == "up"
        yield process_


def test_requeue_and_purge_do_not_delete_a_workers_wal(
    filled: Spool, path: Path, tmp_path: Path, worker: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = as_json(capsys, 0, "requeue", path)
    purged = as_json(capsys, 0, "purge", path, "--state", "pending", "--yes")
    (tmp_path / "stop").touch()
    number, _ = worker.hear().split()
    worker.end()

    assert shown["requeued"] == 2
    assert figures(filled)[0] + purged["purged"] == 5 + int(number)
    assert list(filled.notices()) == []
    assert filled.check() == []
