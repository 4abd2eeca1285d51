"""The short form of the scenario "network"."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from alignai._transport.api_client import Action
from tests.faults.network import scenario as network
from tests.faults.scenario import Run
from tests.support.servers.raw import OK, answer, http
from tests.support.uploads import upload

if TYPE_CHECKING:
    from collections.abc import Callable

    from alignai._transport.api_client import APIClient
    from tests.support.servers.raw import RawServer


def test_acknowledged_events_arrive_through_a_faulty_network() -> None:
    run = Run("network", seed=1, seconds=60, most=2)
    network.run(run)
    assert run.figures["trials"] == 2
    assert run.figures["events"] > 50
    assert run.figures["faults"] > 5


@pytest.mark.parametrize("surplus", [OK, OK[:20], OK * 1000], ids=["one", "a part", "many"])
def test_more_than_one_answer_to_a_request_is_no_answer_to_the_next(
    raw_server: Callable[..., RawServer], make_client: Callable[[str], APIClient], surplus: bytes
) -> None:
    server = raw_server(answer(OK + surplus, http(503, b"{}")))
    client = make_client(server.url)
    assert [upload(client).action for _ in range(2)] == [Action.SENT, Action.RETRY]
    assert server.connections == 2


def test_an_upload_through_a_proxy_goes_out_at_once(
    raw_server: Callable[..., RawServer], make_client: Callable[[str], APIClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nagle's algorithm would keep each request back until the proxy has acknowledged its first part."""
    proxy = raw_server(answer(OK))
    monkeypatch.setenv("http_proxy", proxy.url)
    client = make_client("http://ingestion.invalid")
    assert upload(client).action is Action.SENT
    manager = client._transport._session.get_adapter("http://").proxy_manager[proxy.url]  # type: ignore[attr-defined]
    (pool,) = [manager.pools[key] for key in manager.pools.keys()]  # noqa: SIM118 - not a dict
    connection = pool.pool.get(block=False)
    pool.pool.put(connection)
    assert connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
