"""Attacks on this machine's disk, by names, or by the server."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignai import AlignAI, Config
from alignai._spool_path import default_spool_path
from alignai._transport.response import Response
from alignai.spool import SpoolError
from tests.support.clients import client, finished, inspect, record
from tests.support.servers.raw import RawServer, answer, http
from tests.support.uploads import KEY, unreachable, wait_until

if TYPE_CHECKING:
    from tests.support.servers.connect import ConnectServer

Start = Callable[..., RawServer]
STRANGER = 65_534
ANSI = "\x1b[2J\x1b]0;owned\x07\r\nERROR root: all is lost\x00\u202e\u2028"

as_root = pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() != 0, reason="only root can make another user's files"
)


# -- files -------------------------------------------------------------------------------------------------------------

WORKER = """
import os, sys
os.umask(int(sys.argv[1]))
from alignai import AlignAI
sdk = AlignAI()
sdk.create_message("s1", 1, "user", "hello")
print(sdk.flush(20).remaining, flush=True)
os.kill(os.getpid(), 9)
"""


def modes(folder: Path) -> dict[str, str]:
    return {each.name: oct(stat.S_IMODE(each.lstat().st_mode)) for each in sorted(folder.iterdir())}


@pytest.mark.parametrize("mask", [0, 0o002, 0o022, 0o077, 0o177, 0o777], ids=oct)
def test_a_workers_files_are_private(connect_server: ConnectServer, tmp_path: Path, mask: int) -> None:
    """The files that a killed worker leaves, which are all that there ever are, and the folders that it made."""
    spool_path = tmp_path / "made" / "by it" / "spool.db"
    with pytest.raises(AssertionError):  # it kills itself
        finished(WORKER, connect_server.url, spool_path, str(mask))
    assert len(connect_server.ids()) == 1
    names = ["spool.db", "spool.db-shm", "spool.db-wal", "spool.db.lease", "spool.db.lock", "spool.db.reserve"]
    assert modes(spool_path.parent) == dict.fromkeys(names, "0o600")
    assert [modes(tmp_path), modes(tmp_path / "made")] == [{"made": "0o700"}, {"by it": "0o700"}]


def test_an_empty_file_that_becomes_a_spool_becomes_private(spool_path: Path) -> None:
    spool_path.touch(0o666)
    spool_path.chmod(0o666)
    sdk = client(unreachable(), spool_path, sender=False)
    record(sdk, 1)
    assert set(modes(spool_path.parent).values()) == {"0o600"}
    sdk.close()


def everyones(tmp_path: Path) -> Path:
    folder = tmp_path / "tmp"
    folder.mkdir()
    folder.chmod(0o1777)
    return folder


@as_root
@pytest.mark.parametrize("target", ["victim", "missing"])
def test_another_users_link_in_a_shared_folder_is_not_followed(tmp_path: Path, target: str) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious " * 1000)
    link = everyones(tmp_path) / "spool.db"
    link.symlink_to(tmp_path / target)
    os.lchown(link, STRANGER, STRANGER)
    with pytest.raises(SpoolError, match=r"spool\.db belongs to another user - set spool_path"):
        client(unreachable(), link)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["tmp", "victim"]
    assert victim.read_text() == "precious " * 1000


@as_root
@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", ".lease", ".lock", ".reserve"])
def test_another_users_file_in_a_shared_folder_is_not_used(tmp_path: Path, suffix: str) -> None:
    """The other user could read everything that is written to it."""
    folder = everyones(tmp_path)
    planted = folder / f"spool.db{suffix}"
    planted.touch(0o666)
    os.chown(planted, STRANGER, STRANGER)
    with pytest.raises(SpoolError, match=rf"{planted.name} belongs to another user"):
        client(unreachable(), folder / "spool.db")
    assert list(folder.iterdir()) == [planted]


@as_root
def test_a_users_own_link_is_followed_in_any_folder(tmp_path: Path) -> None:
    link = everyones(tmp_path) / "spool.db"
    link.symlink_to(tmp_path / "real.db")
    with client(unreachable(), link, sender=False) as sdk:
        record(sdk, 1)
    assert (tmp_path / "real.db").exists()


@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal", ".lease", ".lock", ".reserve"])
@pytest.mark.parametrize("target", ["victim", "missing"])
def test_a_link_beside_the_spool_is_not_followed(tmp_path: Path, suffix: str, target: str) -> None:
    """The result is an error or a working spool. The target of the link is not changed in either case."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / f"spool.db{suffix}").symlink_to(tmp_path / target)
    try:
        with client(unreachable(), folder / "spool.db", flush_timeout_seconds=0.2) as sdk:
            record(sdk, 1)
    except SpoolError as error:
        assert "it cannot be opened" in str(error)  # noqa: PT017 - it need not be raised
    assert (victim.read_text(), (tmp_path / "missing").exists()) == ("precious", False)


def test_a_lease_that_cannot_be_taken_is_logged_and_loses_nothing(
    connect_server: ConnectServer, spool_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lease = spool_path.with_name("spool.db.lease")
    lease.symlink_to(spool_path.with_name("elsewhere"))
    with client(connect_server.url, spool_path) as sdk:
        (event_id,) = record(sdk, 1)
        wait_until(lambda: "spool.db.lease" in caplog.text)
        lease.unlink()
        assert sdk.flush(20)
    assert connect_server.ids() == [event_id]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names here")
def test_a_pipe_in_the_spools_place_is_an_error_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "spool.db")
    with pytest.raises(SpoolError, match=r"this is a pipe, a socket or a device\. Name a file"):
        client(unreachable(), tmp_path / "spool.db")


HOSTILE_PATHS = (
    b"sp ace?mode=memory&x=#frag%41.db",
    b"file:spool.db?mode=memory",
    b":memory:",
    b"quote'\";DROP TABLE events;--.db",
    b"not utf-8 \xff\xfe.db",
    b"lines\n\x1b[31m.db",
    b"-rf",
    "家\u202e.db".encode(),
)


@pytest.mark.skipif(sys.platform in {"win32", "darwin"}, reason="file names are not any bytes here")
@pytest.mark.parametrize("name", HOSTILE_PATHS, ids=repr)
def test_a_path_that_looks_like_a_uri_is_a_path(
    connect_server: ConnectServer, tmp_path: Path, name: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = os.fsdecode(name)
    with client(connect_server.url, Path(path)) as sdk:
        record(sdk, 1)
        assert sdk.flush(20)
    assert len(connect_server.ids()) == 1
    assert {os.fsencode(each.name) for each in tmp_path.iterdir()} >= {name, name + b".lease"}
    assert inspect(tmp_path / path)["sent"] == 1


# -- project ids -------------------------------------------------------------------------------------------------------


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=64))
def test_no_project_id_leads_out_of_its_folder(project_id: str) -> None:
    path, home = default_spool_path(project_id), default_spool_path("HOME").parent
    assert path.parent == home
    assert os.path.normpath(path) == str(path)
    assert path.name.isascii()
    assert path.name.isprintable()
    assert len(path.name) <= 100


@given(*[st.text(st.characters(codec="utf-8"), min_size=1, max_size=64)] * 2)
def test_no_two_project_ids_share_a_file(one: str, other: str) -> None:
    assert (default_spool_path(one) == default_spool_path(other)) == (one == other)


@pytest.mark.parametrize("project_id", ["../../etc/cron.d/x", "..", "a/../../b", "/etc/passwd", "C:\\x", "x\0y", ANSI])
def test_a_hostile_project_id_works_and_escapes_nowhere(
    connect_server: ConnectServer, tmp_path: Path, project_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("XDG_STATE_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / "state"))
    with AlignAI(project_id, KEY, connect_server.url, Config(flush_interval_ms=1, flush_timeout_seconds=20)) as sdk:
        sdk.close_session("s1")
        assert sdk.flush()
        assert Path(sdk.stats().path).parent == default_spool_path("HOME").parent
        assert repr(sdk).isprintable()
    assert [event["projectId"] for event in connect_server.events()] == [project_id]
    assert [each.name for each in tmp_path.iterdir()] == ["state"]


# -- messages of a server ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 302, 401, 404, 500, 503])
def test_a_servers_message_is_logged_on_one_short_clean_line(
    raw_server: Start, spool_path: Path, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    said = json.dumps({"message": f"{ANSI} Bearer {KEY} " + "x" * 9999}).encode()
    headers = {"location": f"http://x/\x1b[31m{KEY}", "x_\x1b[2J": KEY, "retry_after": "9" * 400}
    server = raw_server(answer(http(status, said, "text/plain" if status == 200 else "application/json", **headers)))
    with client(server.url, spool_path, flush_timeout_seconds=0.1) as sdk:
        record(sdk, 1)
        wait_until(lambda: sdk.stats().last_error is not None)
        shown = [str(sdk.stats().last_error), *(record.getMessage() for record in caplog.records)]
    assert [line for line in shown if not line.isprintable()] == []
    assert [line for line in shown if KEY in line] == []
    assert max(map(len, shown)) < 1000


@given(
    retry_after=st.one_of(st.text(), st.floats().map(str), st.integers().map(str), st.from_regex(r"[\w,: +-]{0,60}")),
    date=st.one_of(st.text(), st.from_regex(r"[\w,: +-]{0,60}")),
)
def test_retry_after_is_limited_to_ten_minutes(retry_after: str, date: str) -> None:
    answered = Response(503, "", {"retry-after": retry_after, "date": date}, b"")
    assert 0 <= answered.retry_after <= 600


def test_an_answer_as_large_as_can_be_costs_no_memory(raw_server: Start, spool_path: Path) -> None:
    """Within, not after: the answer must not have been read to be found too large."""
    sent: list[int] = []

    def flood(conn: Any, request: bytes, n: int) -> None:
        conn.sendall(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9999999999\r\n\r\n{"x":"')
        while sum(sent) < 1 << 30:
            sent.append(conn.send(b"x" * 65536))

    server = raw_server(flood)
    with client(server.url, spool_path, flush_timeout_seconds=0.1) as sdk:
        record(sdk, 1)
        wait_until(lambda: "too large" in str(sdk.stats().last_error))
    server.stop()
    assert sum(sent) < 64 << 20
