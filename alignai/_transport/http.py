"""HTTP by `requests`, within a deadline: a request goes out, a response of bounded size comes back."""

from __future__ import annotations

import sys
import zlib
from http.client import HTTPException
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import requests
from urllib3.exceptions import HTTPError

from alignai._interruption import interruption_in
from alignai._transport import interception
from alignai._transport.cancel_scope import CancelScope, Progress
from alignai._transport.connector import Connector
from alignai._transport.response import MAX_BODY_BYTES, BodyStatus, NoResponseError, Response
from alignai.clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from alignai.deadline import Deadline

MAX_IDLE_SECONDS: Final = 15.0
"""
How long an unused connection is trusted. Firewalls and address translators forget an idle connection, the strictest
after half a minute, and silently drop the packets that come on it later. A new one costs a few round trips.
"""

_GZIP_OR_ZLIB: Final = 32 + zlib.MAX_WBITS


class Transport:
    """
    A kept-alive session, for one request at a time.

    Proxies and certificate authorities are taken from the environment, as `requests` does. Passwords in .netrc are
    not, since they would replace the API key. Redirects are not followed and cookies are not kept.

    Args:
        api_key: Sent as the bearer token of every request.

    """

    def __init__(self, api_key: str) -> None:
        self._scope = CancelScope()
        self._connector = Connector(self._scope)
        self._used_at = monotonic()
        self._headers = {"Accept": "*/*", "Connection": "keep-alive", "Authorization": f"Bearer {api_key}"}
        self._reset(interception.layers())

    def _reset(self, layers: interception.Layers) -> None:
        """Make the session anew for *layers*: it may not stay bound to a layer that is only replaced for a while."""
        self._layers = layers
        self._intercepted = layers.intercepted
        self._session = requests.Session()
        self._session.auth = _no_netrc_auth  # or the session would use passwords from .netrc
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        self._routes: dict[str, _Route] = {}
        if not interception.replaced(layers.connections):
            # Not at the top: the classes would stay bound to the layers of the moment of the first import.
            from alignai._transport.urllib3_adapter import Adapter  # noqa: PLC0415

            self._adapter = Adapter(self._scope, self._connector)
            for scheme in ("https://", "http://"):
                self._session.mount(scheme, self._adapter)

    @property
    def progress(self) -> Progress:
        """The progress of the last request."""
        return self._scope.progress

    def open(self, deadline: Deadline) -> AbstractContextManager[None]:
        """Begin an upload that ends at *deadline*, or when `cancel` is called."""
        return self._scope.open(deadline)

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Response:
        """
        Send *body* and read the response.

        Raises:
            NoResponseError: There was none.

        """
        now, before = monotonic(), sys.exception()
        progress = self._scope.progress = Progress(began_at=now, idled=now - self._used_at)
        if progress.idled > MAX_IDLE_SECONDS:
            self.close()
        try:
            return self._exchange(url, body, headers)
        except Exception as error:
            if interruption := interruption_in(error, before):
                raise interruption from None
            # Any exception: tools that guard tests, and patched sockets, raise errors of their own.
            raise NoResponseError(
                _root_cause(error),
                misconfigured=isinstance(error, ValueError),
                too_slow=self._scope.timed_out and progress.is_too_slow(monotonic()),
                unsent=progress.unsent > 0 or not progress.reached,
                cancelled=self._scope.cancelled,
            ) from error
        finally:
            self._used_at = monotonic()

    def succeeded(self) -> None:
        """Note that the last request succeeded, so that the next one is made in the same way."""
        self._connector.succeeded()

    def failed(self) -> bool:
        """
        Note that the last request failed. The next one is made on a new connection, to another address.

        Returns:
            Whether there is an address that has not been tried since a request succeeded.
        """
        self.close()
        return self._connector.failed()

    def cancel(self) -> None:
        """End the request under way at once. Any thread and any signal handler may call this."""
        self._scope.cancel()

    def close(self) -> None:
        """Close the idle connections."""
        # The session's `close` leaves the connections to finalisers of urllib3. None of these runs for a pool that was
        # made while the interpreter exits.
        for route in self._routes.values():
            route.pool.close()
        self._routes.clear()
        self._session.close()

    def _exchange(self, url: str, body: bytes, headers: Mapping[str, str]) -> Response:
        if (layers := interception.layers()) != self._layers:
            self.close()
            self._reset(layers)
        if self._intercepted:
            self.progress.reached = True
            send = layers.replaced_call() or self._session.post
            return interception.post(send, url, body, {**self._headers, **headers}, self._scope.remaining())
        # Not Session.send: it reads the whole body of a redirect, however large, and takes longer.
        pool, target, retries = self._route(url)
        response = pool.urlopen(
            "POST",
            target,
            body=body,
            headers={**self._headers, **headers},
            retries=retries,
            redirect=False,
            assert_same_host=False,  # a proxy gets the whole address
            timeout=self._scope.remaining(),
            preload_content=False,
            decode_content=False,
            enforce_content_length=True,  # as by default since urllib3 2
        )
        try:
            received, body_status = _read(response)
            premature = self._scope.progress.unsent > 0
            return Response(response.status, response.reason or "", response.headers, received, body_status, premature)
        finally:
            response.close()
            response.release_conn()

    def _route(self, url: str) -> _Route:
        """Return how to reach *url*. Cached, since finding out takes longer than the response of a near server."""
        if url not in self._routes:
            request = self._session.prepare_request(requests.Request("POST", url))
            settings = self._session.merge_environment_settings(url, {}, None, None, None)
            proxies, verify, cert = settings["proxies"], settings["verify"], settings["cert"]
            adapter: Any = self._adapter
            if hasattr(adapter, "get_connection_with_tls_context"):
                pool = adapter.get_connection_with_tls_context(request, verify, proxies, cert)
            else:  # requests before 2.32
                pool = adapter.get_connection(url, proxies)
            adapter.cert_verify(pool, url, verify, cert)
            target = adapter.request_url(request, proxies)
            self._routes[url] = _Route(pool, target, adapter.max_retries)
        return self._routes[url]


class _Route(NamedTuple):
    """The connections to an address, through a proxy if the environment asks for one."""

    pool: Any
    target: str
    retries: Any


def _no_netrc_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _read(raw: Any) -> tuple[bytes, BodyStatus]:
    body, before = b"", sys.exception()
    try:
        while len(body) <= MAX_BODY_BYTES and (piece := raw.read(MAX_BODY_BYTES + 1 - len(body), decode_content=False)):
            body += piece
        if len(body) <= MAX_BODY_BYTES and raw.headers.get("content-encoding", "").strip().lower() in {
            "gzip",
            "deflate",
        }:
            # Not by urllib3: its version 1 inflates a whole piece, however large the result.
            body = zlib.decompressobj(_GZIP_OR_ZLIB).decompress(body, MAX_BODY_BYTES + 1)
    except (HTTPError, HTTPException, OSError, zlib.error) as error:
        if interruption_in(error, before):
            raise
        return body, BodyStatus.TRUNCATED
    return (body, BodyStatus.COMPLETE) if len(body) <= MAX_BODY_BYTES else (body[:MAX_BODY_BYTES], BodyStatus.TOO_LARGE)


def _root_cause(error: BaseException) -> str:
    """Return the innermost reason: the layers above wrap it in their own reprs."""
    while inner := _cause(error):
        error = inner
    return str(error) if isinstance(error, OSError) and str(error) else f"{type(error).__name__}: {error}"


def _cause(error: BaseException) -> BaseException | None:
    candidates = [getattr(error, "reason", None), *reversed(error.args), error.__cause__]
    return next((candidate for candidate in candidates if isinstance(candidate, BaseException)), None)
