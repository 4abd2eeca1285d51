"""`python -m alignai.spool inspect`: the view of the person on call."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from alignai.cli import main
from alignai.spool import Spool
from alignai.spool.storage.paths import reserve_of
from alignai.spool.storage.sqlite import has_wal_reset_bug
from tests.support.processes import ROOT, process
from tests.support.spool_file import ask, on_disk, wal

if TYPE_CHECKING:
    from pathlib import Path

KEYS = [
    "path",
    "bytes",
    "wal_bytes",
    "pending",
    "in_flight",
    "sent",
    "rejected",
    "dropped",
    "oldest_pending_seconds",
    "lease",
    "last_sent_at",
    "last_error",
    "sqlite_version",
    "sqlite_wal_reset_bug",
]
SECRET = b'{"content":"SECRET CONTENTS"}'


def inspect_json(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, object]:
    assert main(["inspect", "--json", *map(str, arguments)]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert isinstance(figures, dict)
    return figures


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(["inspect", *map(str, arguments)]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    return shown.err


def listing(path: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in path.parent.iterdir()}


def fill(spool: Spool) -> None:
    """Three sent, two rejected, four in flight, five pending."""
    for _ in range(14):
        spool.append(SECRET)
    for count, settle in (
        (3, spool.mark_sent),
        (2, lambda batch: spool.mark_rejected(batch, "SECRET WORDS", "refused")),
    ):
        batch = spool.next_batch(count, 1 << 20)
        assert batch
        settle(batch)
    assert spool.next_batch(4, 1 << 20)


def test_json_holds_what_scripts_rely_on(spool: Spool, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(spool)
    figures = inspect_json(capsys, path)

    assert list(figures) == KEYS
    counts = {name: figures[name] for name in ("pending", "in_flight", "sent", "rejected", "dropped")}
    assert counts == {"pending": 5, "in_flight": 4, "sent": 3, "rejected": 2, "dropped": 0}
    assert figures["path"] == str(path)
    in_all = on_disk(path) + reserve_of(path).stat().st_size
    assert (figures["bytes"], figures["wal_bytes"]) == (in_all, wal(path).stat().st_size)
    assert (figures["lease"], figures["last_error"]) == (None, "refused")
    assert figures["sqlite_version"] == sqlite3.sqlite_version
    assert figures["sqlite_wal_reset_bug"] is has_wal_reset_bug()


WORKER = """
s = spool()
lease = Lease(PATH)
lease.acquire()
import socket
s.note_lease(socket.gethostname())
s.append(b'event')
say(os.getpid())
while True: s.append(b'event')
"""


def test_a_spool_in_constant_use_is_shown_with_its_uploader(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with process(WORKER, path) as worker:
        pid = int(worker.hear())
        pending = []
        for _ in range(5):
            figures = inspect_json(capsys, path)
            pending.append(figures["pending"])
            lease = figures["lease"]
            assert isinstance(lease, dict)
            assert (lease["pid"], lease["alive"]) == (pid, True)
        worker.kill()
    dead = inspect_json(capsys, path)["lease"]

    assert sorted(pending) == pending  # type: ignore[type-var]
    assert isinstance(dead, dict)
    assert dead["alive"] is False


def test_a_spool_that_no_worker_has_open_is_shown(spool: Spool, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(spool)
    spool.close()
    figures = inspect_json(capsys, path)

    assert (figures["pending"], figures["lease"]) == (5, None)


@pytest.mark.parametrize("with_wal", [True, False])
def test_inspect_makes_and_changes_no_file(
    spool: Spool, path: Path, capsys: pytest.CaptureFixture[str], with_wal: bool
) -> None:
    fill(spool)
    spool.close()
    if not with_wal:
        wal(path).unlink()
        path.with_name("spool.db-shm").unlink()
    before = listing(path)
    inspect_json(capsys, path)
    after = listing(path)

    assert after.keys() == before.keys()
    assert (after["spool.db"], after.get("spool.db-wal")) == (before["spool.db"], before.get("spool.db-wal"))


def test_inspect_does_not_delete_a_workers_wal(spool: Spool, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = wal(path).stat().st_ino
    path.open("rb").close()  # the worker's locks are gone
    command = [sys.executable, "-m", "alignai.spool", "inspect", str(path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)

    assert wal(path).stat().st_ino == before
    assert spool.append(b"event") == 1
    assert list(spool.notices()) == []
    assert spool.check() == []


@pytest.mark.usefixtures("table")
def test_the_table_is_readable(spool: Spool, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(spool)
    assert main(["inspect", str(path)]) == 0
    lines = [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines()]
    shown = {
        " ".join(line[:2]) if line[1:] and line[0] in {"on", "in", "oldest", "last"} else line[0] for line in lines
    }

    assert shown == {
        "spool",
        "on disk",
        "pending",
        "in flight",
        "sent",
        "rejected",
        "dropped",
        "oldest unsent",
        "uploader",
        "last sent",
        "last error",
        "SQLite",
    }


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize("option", [[], ["--json"]])
def test_no_event_contents_and_no_server_message_are_shown(
    spool: Spool, path: Path, capsys: pytest.CaptureFixture[str], option: list[str]
) -> None:
    fill(spool)
    main(["inspect", *option, str(path)])

    assert "SECRET" not in capsys.readouterr().out


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize("option", [[], ["--json"]])
def test_a_servers_message_sends_no_control_characters_to_the_terminal(
    spool: Spool, path: Path, capsys: pytest.CaptureFixture[str], option: list[str]
) -> None:
    spool.append(b"event")
    batch = spool.next_batch(1, 1)
    assert batch
    spool.mark_failed(batch, "\x1b[2J\x07\r[red]gone[/red]\u202e\n\x9b31m\U0001f680 [/] end")
    main(["inspect", *option, str(path)])
    shown = capsys.readouterr().out

    assert [each for each in shown if not each.isprintable() and each != "\n"] == []
    assert "[red]gone[/red]" in shown
    assert "[/] end" in shown


def test_a_spool_that_is_not_there_is_an_error_and_is_not_made(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "there is no such file" in refused(capsys, path)
    assert "there is no such file" in refused(capsys, path.parent)
    assert list(path.parent.iterdir()) == []


def test_a_path_that_cannot_be_looked_at_is_an_error(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "spool" in refused(capsys, path.with_name("n" * 300))


def test_an_empty_file_is_an_error_and_stays_empty(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.touch()

    assert "the file is empty" in refused(capsys, path)
    assert listing(path) == {"spool.db": b""}


def test_a_file_that_is_no_database_is_an_error_and_left_as_it_is(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path.write_text("no database " * 100)
    before = listing(path)

    assert "not a database" in refused(capsys, path)
    assert listing(path) == before


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_another_programs_database_is_an_error_and_left_as_it_is(
    path: Path, capsys: pytest.CaptureFixture[str], mode: str
) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute(f"PRAGMA journal_mode = {mode}")
        other.execute("CREATE TABLE precious (value)")
    before = listing(path)

    assert "another program's database" in refused(capsys, path)
    assert listing(path) == before


def test_a_newer_spool_is_an_error_that_says_what_to_do(
    spool: Spool, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spool.close()
    ask(path, "PRAGMA user_version = 99")

    assert "Upgrade alignai" in refused(capsys, path)


def test_an_error_sends_no_control_characters_to_the_terminal(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = refused(capsys, path.with_name("a\x1b[2Jb"))

    assert "\x1b" not in shown


@pytest.mark.parametrize("arguments", [[], ["unknown"], ["inspect", "a", "b"], ["inspect", "--unknown"]])
def test_a_wrong_command_line_is_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)

    assert exit_.value.code == 2
    assert "usage: python -m alignai.spool" in capsys.readouterr().err


def test_a_spool_is_shown_through_a_link_with_its_wal(
    spool: Spool, path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(spool)
    (tmp_path / "link.db").symlink_to(path)

    assert inspect_json(capsys, tmp_path / "link.db") == inspect_json(capsys, path) | {
        "oldest_pending_seconds": pytest.approx(0, abs=60)
    }


def test_the_environment_names_the_spool(
    spool: Spool, path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ALIGNAI_SPOOL_PATH", str(path))

    assert inspect_json(capsys)["path"] == str(path)


def test_the_environment_names_the_project_and_so_the_default_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from alignai._spool_path import default_spool_path

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("ALIGNAI_PROJECT_ID", "project")
    path = default_spool_path("project")
    Spool(path, project_id="project").close()

    assert inspect_json(capsys)["path"] == str(path)


def test_without_a_path_the_error_lists_the_ways_to_name_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert "ALIGNAI_SPOOL_PATH" in refused(capsys)


def test_the_command_runs_as_a_module_with_its_exit_code(spool: Spool, path: Path) -> None:
    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "alignai.spool", *map(str, arguments)]
        environ = os.environ | {"PYTHONIOENCODING": "utf-8"}
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environ)

    fine, wrong = run("inspect", path), run("inspect", path.with_name("missing.db"))
    assert (fine.returncode, fine.stderr) == (0, "")
    assert "pending" in fine.stdout
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert run("inspect", "--help").returncode == 0
    assert spool.check() == []


def test_figures_have_units_and_separators() -> None:
    from alignai.cli.inspect import _age
    from alignai.cli.output import as_bytes, as_duration

    assert [as_duration(seconds) for seconds in (0.04, 119, 120, 7200, 200_000)] == [
        "0.0 s",
        "119.0 s",
        "2.0 min",
        "2.0 h",
        "2.3 d",
    ]
    assert [as_bytes(each) for each in (0, 1023, 1024, 5 << 20, 3 << 30)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "5.0 MiB",
        "3.0 GiB",
    ]
    assert _age(None) == "nothing is unsent"


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_inspect_ends_quietly_if_its_reader_has_gone(path: Path, spool: Spool, form: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "alignai.spool", "inspect", str(path), *form]
    with os.fdopen(writing, "w") as output:
        done = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_ctrl_c_ends_a_command_without_a_traceback(
    path: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("alignai.cli.inspect.inspect", interrupt)
    assert main(["inspect", str(path)]) == 130
    assert capsys.readouterr().err == ""
