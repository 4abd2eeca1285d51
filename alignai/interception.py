"""
What stands between the SDK and the network: test tools and instrumentation that have replaced parts of `requests`.

The transport calls urllib3's pools itself, which is faster. A tool that replaces a layer above them would be bypassed,
and the events of a test would reach the real server. So the transport asks before each upload what has been replaced,
and if anything has, uploads through every layer.
"""

from __future__ import annotations

from types import FunctionType, ModuleType
from typing import Any, Final

import requests
from urllib3 import connection, connectionpool, poolmanager

from alignai.answer import Answer, Ending

Layers = tuple[object, ...]
"""What an upload would meet on its way, by identity."""

_FIRST_SESSION: Final = 3
_FIRST_CONNECTION: Final = 10


def layers() -> Layers:
    """Return what `requests` and urllib3 consist of at this moment: calls, then sessions, then connections."""
    session, adapter = requests.Session, requests.adapters.HTTPAdapter
    plain, secure = connectionpool.HTTPConnectionPool, connectionpool.HTTPSConnectionPool
    return (
        requests.post,
        requests.api.post,
        requests.api.request,
        session,
        requests.sessions.Session,
        session.post,
        session.request,
        session.send,
        session.get_adapter,
        adapter.send,
        requests.adapters.PoolManager,
        plain.urlopen,
        plain.ConnectionCls,
        secure.ConnectionCls,
    )


_HOMES: Final[tuple[ModuleType, ...]] = (
    *[requests.api] * _FIRST_SESSION,
    *[requests.sessions] * 6,
    requests.adapters,
    poolmanager,
    connectionpool,
    connection,
    connection,
)
"""The module that each layer comes from, unless it has been replaced."""


class Interception:
    """
    What has been replaced.

    Attributes:
        layers: What was found.
        calls: Whether a function such as `requests.post` is replaced, so that nothing else can be called.
        connections: Whether what makes the connections is replaced.
        anything: Whether anything is.
    """

    def __init__(self, found: Layers) -> None:
        self.layers = found
        replaced = [not _is_original(layer, home) for layer, home in zip(found, _HOMES, strict=True)]
        self.calls = any(replaced[:_FIRST_SESSION])
        self.connections = any(replaced[_FIRST_CONNECTION:])
        self.anything = any(replaced)


def _is_original(layer: object, home: ModuleType) -> bool:
    # Not compared with what was there when this module was loaded: that may have been replaced already. Wrappers pass
    # on the attributes of what they wrap, but not its type.
    if type(layer) is FunctionType:
        return layer.__globals__ is vars(home)
    return type(layer) is type and layer.__module__ == home.__name__


def post(session: requests.Session | None, url: str, body: bytes, headers: dict[str, str], timeout: float) -> Answer:
    """
    Send *body* and read the answer, through every layer.

    Args:
        session: What to send it by; None for `requests.post`.
        url: The address.
        body: What is sent.
        headers: All that the request needs.
        timeout: Seconds for each operation.
    """
    send: Any = requests.post if session is None else session.post
    response = send(url, data=body, headers=headers, timeout=timeout, allow_redirects=False, stream=True)
    if not isinstance(response, requests.Response):  # a mock: its status is all that it says for certain
        return Answer(int(response.status_code), "", {"content-type": "application/json"}, b"{}")
    with response:
        return _read(response)


def _read(response: requests.Response) -> Answer:
    body = b""
    ending = Ending.WHOLE
    try:
        for piece in response.iter_content(MAX_BODY):
            body += piece
            if len(body) > MAX_BODY:
                ending = Ending.TOO_LARGE
                break
    except (requests.RequestException, OSError):
        ending = Ending.CUT_OFF
    return Answer(response.status_code, response.reason or "", response.headers, body[:MAX_BODY], ending)
