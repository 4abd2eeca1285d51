"""Names and addresses that do not answer, and connections that are dropped without a word."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignai._transport.api_client import Action, APIClient
from alignai._transport.cancel_scope import CancelScope
from alignai._transport.connector import Connector, _interleaved
from alignai.deadline import Deadline
from tests.support.clients import client, record
from tests.support.servers.blackhole import swallow, unanswered_port
from tests.support.servers.raw import OK, RawServer, answer, silence
from tests.support.uploads import ONE, cancelled, unreachable, upload, upload_to
from tests.support.waiting import wait_until
from tests.transport.test_fallbacks import accept, addresses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Start = Callable[..., RawServer]
    Make = Callable[[str], APIClient]


@pytest.fixture
def resolve_to(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Has every name stand for these ports of the loopback address."""

    def resolve(*ports: int) -> None:
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses(*ports))

    return resolve


@pytest.fixture
def silent_port() -> Iterator[int]:
    with unanswered_port() as port:
        yield port


# -- several addresses -------------------------------------------------------------------------------------------------


def test_a_silent_address_costs_a_moment_once(
    raw_server: Start,
    make_client: Make,
    resolve_to: Callable[..., None],
    silent_port: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = raw_server(accept)
    resolve_to(silent_port, server.port)
    client = make_client("http://two-addresses.invalid")
    assert upload(client, ONE).action is Action.SENT
    client.close()
    monkeypatch.setattr("alignai._transport.connector.STAGGER_SECONDS", 3600.0)
    assert upload(client, ONE).action is Action.SENT
    assert server.connections == 2


def test_a_short_lived_process_delivers_past_a_silent_address(
    raw_server: Start, resolve_to: Callable[..., None], silent_port: int, spool_path: Path
) -> None:
    server = raw_server(accept)
    resolve_to(silent_port, silent_port, server.port)
    with client("http://three-addresses.invalid", spool_path) as sdk:
        record(sdk, 3)
        assert sdk.flush(5)


def test_an_address_that_refuses_is_passed_at_once(
    raw_server: Start, make_client: Make, resolve_to: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alignai._transport.connector.STAGGER_SECONDS", 3600.0)
    refusing = [int(unreachable().rpartition(":")[2]) for _ in range(2)]
    resolve_to(*refusing, raw_server(accept).port)
    assert upload(make_client("http://three-addresses.invalid")).action is Action.SENT


def test_an_address_that_becomes_silent_is_left_for_another(
    raw_server: Start, make_client: Make, resolve_to: Callable[..., None]
) -> None:
    servers = [raw_server(accept), raw_server(accept)]
    resolve_to(*(server.port for server in servers))
    client = make_client("http://two-addresses.invalid")
    upload(client)
    client.close()
    swallow(servers[0].listener)
    assert upload(client).action is Action.SENT
    assert len(servers[1].requests) == 1


def test_if_no_address_connects_the_last_reason_is_reported(resolve_to: Callable[..., None]) -> None:
    resolve_to(*(int(unreachable().rpartition(":")[2]) for _ in range(3)))
    outcome = upload_to("http://three-addresses.invalid")
    assert outcome.error is not None
    assert outcome.action is Action.RETRY
    assert "Connection refused" in outcome.error.err_msg


def test_a_name_without_addresses_is_retried(resolve_to: Callable[..., None]) -> None:
    resolve_to()
    outcome = upload_to("http://no-address.invalid")
    assert outcome.error is not None
    assert (outcome.action, outcome.error.err_msg.rpartition(": ")[2]) == (
        Action.RETRY,
        "no-address.invalid has no address",
    )


def test_cancel_ends_an_upload_that_connects_to_several_addresses(
    resolve_to: Callable[..., None], silent_port: int
) -> None:
    resolve_to(silent_port, silent_port)
    started = threading.active_count()
    outcome, soon = cancelled("http://two-addresses.invalid", lambda: threading.active_count() > started)
    assert (outcome.action, soon) == (Action.RETRY, True)


@given(st.lists(st.sampled_from([socket.AF_INET, socket.AF_INET6]), max_size=8))
def test_addresses_of_both_families_are_tried_in_turn(families: list[int]) -> None:
    found = [(family, 1, 6, "", (str(number), 80)) for number, family in enumerate(families)]
    ordered = _interleaved(found)
    assert sorted(ordered, key=found.index) == found
    assert ordered[:1] == found[:1]
    pairs = min(families.count(socket.AF_INET), families.count(socket.AF_INET6))
    assert all(ordered[2 * n][0] != ordered[2 * n + 1][0] for n in range(pairs))
    for family in set(families):
        assert [each for each in ordered if each[0] == family] == [each for each in found if each[0] == family]


STEPS = st.lists(st.tuples(st.sampled_from(["succeeded", "failed"]), st.integers(1, 4)), max_size=30)


@given(STEPS)
def test_each_address_gets_its_turn(steps: list[tuple[str, int]]) -> None:
    """After any history, as many failures as there are addresses try each of them."""
    connector = Connector(CancelScope())

    def connect(count: int) -> object:
        connector._known = [address for *_, address in connector._ordered(list(addresses(*range(count))))]
        connector._current = connector._known[0]
        return connector._current

    for step, count in steps:
        before = connect(count)
        getattr(connector, step)()
        assert step == "failed" or connect(count) == before
    seen = set()
    for left in range(3, -1, -1):
        seen.add(connect(4))
        more = connector.failed()
        assert left or not more
    assert len(seen) == 4


# -- names -------------------------------------------------------------------------------------------------------------


class Guard(BaseException):
    """The exception of a tool that keeps tests from using the network."""


@pytest.mark.parametrize("error", [RuntimeError("no network in tests"), Guard("no network in tests")])
@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_resolver_that_raises_anything_ends_the_attempt_at_once(
    monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def getaddrinfo(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    start = time.monotonic()
    outcome = upload_to("http://guarded.invalid", seconds=60)
    assert time.monotonic() - start < 30
    assert outcome.error is not None
    assert (outcome.action, "no network in tests" in outcome.error.err_msg) == (Action.RETRY, True)


def test_a_socket_that_raises_anything_ends_the_attempt_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Guarded(socket.socket):
        def connect(self, address: object) -> None:
            raise RuntimeError("no network in tests")

    monkeypatch.setattr(socket, "socket", Guarded)
    outcome = upload_to("http://127.0.0.1:1", seconds=60)
    assert outcome.error is not None
    assert (outcome.action, "no network in tests" in outcome.error.err_msg) == (Action.RETRY, True)


def test_a_hanging_resolver_costs_one_thread_and_may_answer_later(
    monkeypatch: pytest.MonkeyPatch, raw_server: Start, make_client: Make
) -> None:
    server = raw_server(accept)
    over = threading.Event()

    def getaddrinfo(*_: object, **__: object) -> list[tuple[object, ...]]:
        over.wait()
        return addresses(server.port)

    def resolvers() -> int:
        return [thread.name for thread in threading.enumerate()].count("alignai-resolver")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    client = make_client("http://slow-names.invalid")
    assert [upload(client, seconds=0.05).action for _ in range(5)] == [Action.RETRY] * 5
    assert resolvers() == 1
    releasing = threading.Timer(0.2, over.set)
    releasing.start()
    assert upload(client, seconds=60).action is Action.SENT
    wait_until(lambda: not resolvers())
    releasing.join()


# -- connections -------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system cannot tell that soon")
def test_a_silently_dropped_connection_costs_a_part_of_the_timeout(raw_server: Start, make_client: Make) -> None:
    def script(conn: socket.socket, request: bytes, n: int) -> None:
        conn.sendall(OK)
        if n == 0:
            swallow(conn)

    server = raw_server(script)
    client = make_client(server.url)
    assert [upload(client, seconds=seconds).action for seconds in (60, 2)] == [Action.SENT] * 2
    assert server.connections == 2


def answer_once(conn: socket.socket, request: bytes, n: int) -> None:
    """Answer and then ignore further requests on the connection, as a proxy may that has lost its server."""
    conn.sendall(OK)
    silence(conn, request, n)


def test_a_dead_idle_connection_costs_a_part_of_the_timeout(
    raw_server: Start, make_client: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alignai._transport.urllib3_adapter._IDLE_SECONDS", 0.0)
    monkeypatch.setattr("alignai._transport.urllib3_adapter._SILENT_SECONDS", 0.1)
    server = raw_server(answer_once)
    client = make_client(server.url)
    assert [upload(client, seconds=60).action for _ in range(3)] == [Action.SENT] * 3
    assert server.connections == 3


def test_a_server_that_always_takes_long_to_answer_is_given_its_time(
    raw_server: Start, make_client: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def script(conn: socket.socket, request: bytes, n: int) -> None:
        time.sleep(0.4)
        conn.sendall(OK)

    monkeypatch.setattr("alignai._transport.urllib3_adapter._IDLE_SECONDS", 0.0)
    monkeypatch.setattr("alignai._transport.urllib3_adapter._SILENT_SECONDS", 0.1)
    server = raw_server(script)
    client = make_client(server.url)
    assert [upload(client, seconds=60).action for _ in range(3)] == [Action.SENT] * 3
    assert (server.connections, len(server.requests)) == (1, 3)


def test_a_new_connection_is_given_all_the_time(raw_server: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is slow to read is no dead one."""
    monkeypatch.setattr("alignai._transport.urllib3_adapter._DEAD_AFTER_SECONDS", 0.001)
    monkeypatch.setattr("alignai._transport.urllib3_adapter._SILENT_SECONDS", 0.001)

    def script(conn: socket.socket, request: bytes, n: int) -> None:
        time.sleep(0.5)
        answer(OK)(conn, request, n)
        silence(conn, request, n)

    assert upload_to(raw_server(script).url).action is Action.SENT


def test_the_system_watches_idle_connections(raw_server: Start, make_client: Make) -> None:
    client = make_client(raw_server(accept).url)
    scope = client._transport._scope
    with scope.open(Deadline.after(20)):
        client._transport.post(client._api_host + "/", b"{}", {})
        tracked = scope._tracked
        assert tracked is not None
        assert tracked.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
