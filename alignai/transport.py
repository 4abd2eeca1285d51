"""HTTP by `requests`, held to a deadline: a request goes out, a bounded answer comes back."""

from __future__ import annotations

import io
from functools import partial
from http.client import HTTPException, HTTPResponse, RemoteDisconnected
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError, NewConnectionError

from alignai import interception
from alignai.answer import MAX_BODY, Answer, Ending
from alignai.line import Line

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from alignai.deadline import Deadline

_MAX_RAW: Final = 4 * MAX_BODY  # the whole answer with its head: an endless one must end before its deadline too


class NoAnswerError(Exception):
    """
    There was no HTTP answer.

    Args:
        why: The reason, for people.
        misconfigured: Whether the address or a proxy is such that no request can be made at all.

    """

    def __init__(self, why: str, *, misconfigured: bool) -> None:
        super().__init__(why)
        self.misconfigured = misconfigured


class Transport:
    """
    A kept-alive session, for one request at a time.

    Proxies and certificate authorities are taken from the environment, as `requests` does; passwords in .netrc are
    not, they would replace the API key. Redirects and cookies are not followed or kept.

    Args:
        api_key: Sent as the bearer token of every request.

    """

    def __init__(self, api_key: str) -> None:
        self._line = Line()
        self._headers = {"Accept": "*/*", "Connection": "keep-alive", "Authorization": f"Bearer {api_key}"}
        self._begin_anew(interception.layers())

    def _begin_anew(self, layers: interception.Layers) -> None:
        """Make what is kept between requests of *layers*: nothing may stay bound to what is replaced for a while."""
        self._layers = layers
        self._intercepted = layers.intercepted
        self._session = requests.Session()
        self._session.auth = _nobody  # or it would look for passwords in .netrc
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        self._ways: dict[str, _Way] = {}
        if not interception.replaced(layers.connections):
            self._adapter = _Adapter(self._line)
            for scheme in ("https://", "http://"):
                self._session.mount(scheme, self._adapter)

    def until(self, deadline: Deadline) -> AbstractContextManager[None]:
        """What is posted within is over by *deadline*, or when `abort` is called."""
        return self._line.until(deadline)

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """
        Send *body* and read the answer.

        Raises:
            NoAnswerError: There was none.

        """
        try:
            return self._exchange(url, body, headers)
        except (requests.RequestException, HTTPError, HTTPException, OSError, ValueError) as error:
            raise NoAnswerError(_why(error), misconfigured=isinstance(error, ValueError)) from error

    def abort(self) -> None:
        """Make what is under way end at once, from any thread or a signal handler."""
        self._line.abort()

    def close(self) -> None:
        """Close the idle connections."""
        self._ways.clear()
        self._session.close()

    def _exchange(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        if (layers := interception.layers()) != self._layers:
            self.close()
            self._begin_anew(layers)
        if self._intercepted:
            send = layers.replaced_call() or self._session.post
            return interception.post(send, url, body, {**self._headers, **headers}, self._line.remaining())
        # Not Session.send: that reads a redirect's whole body, however large, and takes longer.
        pool, target, retries = self._way(url)
        response = pool.urlopen(
            "POST",
            target,
            body=body,
            headers={**self._headers, **headers},
            retries=retries,
            redirect=False,
            assert_same_host=False,  # a proxy is given the whole address
            timeout=self._line.remaining(),
            preload_content=False,
            decode_content=False,
        )
        try:
            received, ending = _read(response)
            return Answer(response.status, response.reason or "", response.headers, received, ending)
        finally:
            response.close()
            response.release_conn()

    def _way(self, url: str) -> _Way:
        """How to reach *url*, found out once: that takes longer than a server nearby does."""
        if url not in self._ways:
            request = self._session.prepare_request(requests.Request("POST", url))
            settings = self._session.merge_environment_settings(url, {}, None, None, None)
            proxies, verify, cert = settings["proxies"], settings["verify"], settings["cert"]
            adapter: Any = self._adapter
            pool = adapter.get_connection_with_tls_context(request, verify, proxies, cert)
            adapter.cert_verify(pool, url, verify, cert)
            target = adapter.request_url(request, proxies)
            self._ways[url] = _Way(pool, target, adapter.max_retries)
        return self._ways[url]


class _Way(NamedTuple):
    """What `requests` makes of an address and the environment: connections, through a proxy or not."""

    pool: Any
    target: str
    retries: Any


def _nobody(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _read(raw: Any) -> tuple[bytes, Ending]:
    body = b""
    try:
        while len(body) <= MAX_BODY and (piece := raw.read(MAX_BODY + 1 - len(body), decode_content=True)):
            body += piece
    except (HTTPError, HTTPException, OSError):
        return body, Ending.CUT_OFF
    return (body, Ending.WHOLE) if len(body) <= MAX_BODY else (body[:MAX_BODY], Ending.TOO_LARGE)


def _why(error: BaseException) -> str:
    """The innermost reason: the layers above it wrap it in their own reprs."""
    while inner := _inner(error):
        error = inner
    return str(error) if isinstance(error, OSError) and str(error) else f"{type(error).__name__}: {error}"


def _inner(error: BaseException) -> BaseException | None:
    candidates = [getattr(error, "reason", None), *reversed(error.args), error.__cause__]
    return next((candidate for candidate in candidates if isinstance(candidate, BaseException)), None)


class _Adapter(HTTPAdapter):
    """Connections that keep to the line's deadline, directly and through HTTP proxies."""

    def __init__(self, line: Line) -> None:
        self._pools = _pool_classes(line)
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        if not proxy.lower().startswith("socks"):  # those pools make connections of their own
            manager.pool_classes_by_scheme = self._pools
        return manager


class _OnLine(HTTPConnection):
    """A connection whose every operation on the socket keeps to the line's deadline."""

    _line: Line

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.response_class = partial(_Response, line=self._line)  # type: ignore[assignment] # it is only called

    def _new_conn(self) -> socket.socket:
        try:
            # For a proxy urllib3 leaves them out, and each request then waits 40 ms for Nagle's algorithm.
            options = self.socket_options or self.default_socket_options
            return self._line.connect(self._dns_host, self.port, options)
        except OSError as error:
            raise NewConnectionError(self, f"no connection: {error}") from error

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is not None:
            self._line.hold(self.sock)
        super().request(*args, **kwargs)

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        view = memoryview(data)
        # Not sendall: over TLS that gives each record a time of its own.
        while view:
            self._line.arm(self.sock)
            view = view[self.sock.send(view) :]


class _Response(HTTPResponse):
    """An answer that is read through the line."""

    def __init__(self, sock: Any, *args: Any, line: Line, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self._reader = _Reader(self.fp.detach(), sock, line)
        self.fp = io.BufferedReader(self._reader)

    def begin(self) -> None:
        super().begin()
        if self._reader.ended:  # http.client takes the end of the stream for the end of the head
            raise RemoteDisconnected("the head of the answer is cut off")
        # What of the head cannot be parsed, urllib3 would log: the API key, where the server echoes it there.
        self.msg.defects.clear()
        self.msg.set_payload("")


class _Reader(io.RawIOBase):
    """The bytes of one answer: each read keeps to the line's deadline, all together to a limit."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, line: Line) -> None:
        super().__init__()
        self._raw = raw
        self._sock = sock
        self._line = line
        self._left = _MAX_RAW
        self.ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._left <= 0:
            raise OSError(f"the answer goes on after {_MAX_RAW} bytes")
        self._line.arm(self._sock)
        count = self._raw.readinto(buffer)
        if not count:
            self._line.remaining()  # raises where this is no end of the answer, but abort's doing
            self.ended = True
        self._left -= count or 0
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


def _pool_classes(line: Line) -> dict[str, Any]:
    """The pools by scheme, whose connections know *line*: urllib3 hands its connections nothing but its own."""

    class Plain(_OnLine):
        _line = line

    class Secure(_OnLine, HTTPSConnection):
        _line = line

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}
