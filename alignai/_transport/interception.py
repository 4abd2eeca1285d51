"""
What test tools and instrumentation have replaced of `requests` and urllib3, and uploading through it.

The transport calls urllib3's pools itself, which is faster. A tool that replaces a layer above them would be bypassed,
and the events of a test would reach the real server. So the transport looks at the layers before each upload. If one
has been replaced, it uploads through all of them.
"""

from __future__ import annotations

import socket
import sys
from functools import partial
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import requests
from requests import adapters, sessions
from urllib3 import connection, connectionpool

from alignai._transport.response import MAX_BODY, Answer, Ending
from alignai.interruption import interruption_in

if TYPE_CHECKING:
    from collections.abc import Mapping

_JSON: Final = {"content-type": "application/json"}


class Layers(NamedTuple):
    """What an upload by `requests.post` runs through, from the caller to the network."""

    calls: tuple[object, ...]
    sessions: tuple[object, ...]
    connections: tuple[object, ...]
    sockets: tuple[object, ...]

    @property
    def intercepted(self) -> bool:
        """Whether an upload must go through every layer; sockets do not count, as each connection is made of them."""
        return any(replaced(found) for found in (self.calls, self.sessions, self.connections))

    def replaced_call(self) -> Any:
        """Return what to call if no session can be used, because its caller is replaced; None if that is not so."""
        if not replaced(self.calls):
            return None
        return requests.post if _is_original(requests.request) else partial(requests.request, "POST")


def layers() -> Layers:
    """Return what the layers consist of at this moment."""
    session = requests.Session
    plain, secure = connectionpool.HTTPConnectionPool, connectionpool.HTTPSConnectionPool
    return Layers(
        (requests.post, requests.api.post, requests.request, requests.api.request),
        (
            session,
            sessions.Session,
            session.post,
            session.request,
            session.send,
            session.get_adapter,
            adapters.HTTPAdapter.send,
        ),
        (
            adapters.HTTPAdapter,
            adapters.PoolManager,
            plain.urlopen,
            plain.ConnectionCls,
            secure.ConnectionCls,
            connection.HTTPConnection,
            connection.HTTPSConnection,
        ),
        (socket.socket, socket.create_connection, socket.getaddrinfo),
    )


def replaced(found: tuple[object, ...]) -> bool:
    """Whether any of *found* is not what its library has defined."""
    return not all(_is_original(layer) for layer in found)


def _is_original(layer: object) -> bool:
    # Not compared with what was there when this module was loaded: that may have been replaced already. A wrapper may
    # show the attributes of what it wraps, but not its type.
    if type(layer) is FunctionType:
        home = layer.__globals__.get("__name__")
    else:
        home = layer.__module__ if type(layer) is type else None
    return isinstance(home, str) and home.partition(".")[0] in {"requests", "urllib3"}


def post(send: Any, url: str, body: bytes, headers: Mapping[str, str], timeout: float) -> Answer:
    """
    Send *body* through every layer, and read the answer.

    Args:
        send: What is called like `requests.post`.
        url: The address.
        body: What is sent.
        headers: All that the request needs.
        timeout: Seconds for each operation.

    Raises:
        OSError: There was no answer, or whatever has replaced a layer raised something.
    """
    try:
        response = send(url, data=body, headers=dict(headers), timeout=timeout, allow_redirects=False, stream=True)
        if not isinstance(response, requests.Response):  # a mock: its status is all that it says for certain
            return Answer(int(response.status_code), "", _JSON, b"{}")
        if response.raw is None:  # made by hand
            return _answer(response, response.content or b"", Ending.WHOLE)
        with response:
            return _read(response)
    except (OSError, ValueError):  # all of the errors of requests are
        raise
    except Exception as error:  # a test tool raises what it likes
        raise OSError(f"{type(error).__name__}: {error}") from error


def _read(response: requests.Response) -> Answer:
    body, before = b"", sys.exception()
    ending = Ending.WHOLE
    try:
        for piece in response.iter_content(MAX_BODY):
            body += piece
            if len(body) > MAX_BODY:
                ending = Ending.TOO_LARGE
                break
    except OSError as error:
        if interruption_in(error, before):
            raise
        ending = Ending.CUT_OFF
    return _answer(response, body[:MAX_BODY], ending)


def _answer(response: requests.Response, body: bytes, ending: Ending) -> Answer:
    headers = _JSON | {name.lower(): value for name, value in response.headers.items()}  # mocks may omit the type
    return Answer(response.status_code, response.reason or "", headers, body, ending)
