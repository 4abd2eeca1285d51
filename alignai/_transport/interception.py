"""
Detection of test tools and instrumentation that replace parts of `requests` or urllib3, and uploads through them.

The transport calls urllib3's pools itself, which is faster. A tool that replaces a layer above them would be bypassed,
and the events of a test would reach the real server. So the transport checks the layers before each upload. If one has
been replaced, it uploads through all of them.
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

from alignai._interruption import interruption_in
from alignai._transport.response import MAX_BODY_BYTES, BodyStatus, Response

if TYPE_CHECKING:
    from collections.abc import Mapping

_JSON: Final = {"content-type": "application/json"}


class Layers(NamedTuple):
    """The layers of an upload by `requests.post`, from the caller to the network."""

    calls: tuple[object, ...]
    sessions: tuple[object, ...]
    connections: tuple[object, ...]
    sockets: tuple[object, ...]

    @property
    def intercepted(self) -> bool:
        """Whether an upload must go through every layer. Sockets do not count, as each connection is made of them."""
        return any(replaced(found) for found in (self.calls, self.sessions, self.connections))

    def replaced_call(self) -> Any:
        """Return the function to call if the callers of the session are replaced, so that no session can be used."""
        if not replaced(self.calls):
            return None
        return requests.post if _is_original(requests.request) else partial(requests.request, "POST")


def layers() -> Layers:
    """Return the layers as they are at this moment."""
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
    """Return True if any of *found* is not defined by its library."""
    return not all(_is_original(layer) for layer in found)


def _is_original(layer: object) -> bool:
    # Not compared with the object at the import of this module, since a tool may have replaced that already. A wrapper
    # may show the attributes of the wrapped object, but not its type.
    if type(layer) is FunctionType:
        home = layer.__globals__.get("__name__")
    else:
        home = layer.__module__ if type(layer) is type else None
    return isinstance(home, str) and home.partition(".")[0] in {"requests", "urllib3"}


def post(send: Any, url: str, body: bytes, headers: Mapping[str, str], timeout: float) -> Response:
    """
    Send *body* through every layer, and read the response.

    Args:
        send: The function to call, with the arguments of `requests.post`.
        url: The address.
        body: The body of the request.
        headers: All headers of the request.
        timeout: Seconds for each operation.

    Raises:
        OSError: There was no response, or the tool that replaces a layer raised an error.
    """
    try:
        response = send(url, data=body, headers=dict(headers), timeout=timeout, allow_redirects=False, stream=True)
        if not isinstance(response, requests.Response):  # a mock: only its status is certain
            return Response(int(response.status_code), "", _JSON, b"{}")
        if response.raw is None:  # a response made by hand
            return _response(response, response.content or b"", BodyStatus.COMPLETE)
        with response:
            return _read(response)
    except (OSError, ValueError):  # all errors of requests are OSError or ValueError
        raise
    except Exception as error:  # a test tool may raise anything
        raise OSError(f"{type(error).__name__}: {error}") from error


def _read(response: requests.Response) -> Response:
    body, before = b"", sys.exception()
    body_status = BodyStatus.COMPLETE
    try:
        for piece in response.iter_content(MAX_BODY_BYTES):
            body += piece
            if len(body) > MAX_BODY_BYTES:
                body_status = BodyStatus.TOO_LARGE
                break
    except OSError as error:
        if interruption_in(error, before):
            raise
        body_status = BodyStatus.TRUNCATED
    return _response(response, body[:MAX_BODY_BYTES], body_status)


def _response(response: requests.Response, body: bytes, body_status: BodyStatus) -> Response:
    headers = _JSON | {name.lower(): value for name, value in response.headers.items()}  # mocks may omit the type
    return Response(response.status_code, response.reason or "", headers, body, body_status)
