"""HTTP by `requests`, held to a deadline: a request goes out, a bounded answer comes back."""

from __future__ import annotations

import sys
import zlib
from http.client import HTTPException
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import requests
from urllib3.exceptions import HTTPError

from alignai._transport import interception
from alignai._transport.cancel_scope import Line, Progress
from alignai._transport.connector import Connector
from alignai._transport.response import MAX_BODY, Answer, Ending
from alignai.clock import monotonic
from alignai.interruption import interruption_in

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from alignai.deadline import Deadline

MAX_IDLE_SECONDS: Final = 15.0
"""
How long an unused connection is trusted. Firewalls and address translators forget a connection that idles, the
strictest after half a minute, and drop what comes on it later without a word. A new one costs a few round trips.
"""


_GZIP_OR_ZLIB: Final = 32 + zlib.MAX_WBITS


class NoAnswerError(Exception):
    """
    There was no HTTP answer.

    Args:
        why: The reason, for people.
        misconfigured: Whether the address or a proxy is such that no request can be made at all.
        too_slow: Whether the time ran out because the line takes so long for a request of this size.
        unsent: Whether the server cannot have all of the request.
        called_off: Whether it was ended by `abort`.

    """

    def __init__(
        self,
        why: str,
        *,
        misconfigured: bool = False,
        too_slow: bool = False,
        unsent: bool = False,
        called_off: bool = False,
    ) -> None:
        super().__init__(why)
        self.misconfigured = misconfigured
        self.too_slow = too_slow
        self.unsent = unsent
        self.called_off = called_off


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
        self._connector = Connector(self._line)
        self._used_at = monotonic()
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
            # Not at the top: its classes would stay bound to what is replaced while this module is first imported.
            from alignai._transport.urllib3_adapter import Adapter  # noqa: PLC0415

            self._adapter = Adapter(self._line, self._connector)
            for scheme in ("https://", "http://"):
                self._session.mount(scheme, self._adapter)

    @property
    def progress(self) -> Progress:
        """How far the last request has got."""
        return self._line.progress

    def until(self, deadline: Deadline) -> AbstractContextManager[None]:
        """What is posted within is over by *deadline*, or when `abort` is called."""
        return self._line.until(deadline)

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """
        Send *body* and read the answer.

        Raises:
            NoAnswerError: There was none.

        """
        now, before = monotonic(), sys.exception()
        progress = self._line.progress = Progress(began_at=now, idled=now - self._used_at)
        if progress.idled > MAX_IDLE_SECONDS:
            self.close()
        try:
            return self._exchange(url, body, headers)
        except Exception as error:
            if interruption := interruption_in(error, before):
                raise interruption from None
            # Whatever it is: tools that guard tests, and patched sockets, raise errors of their own.
            raise NoAnswerError(
                _why(error),
                misconfigured=isinstance(error, ValueError),
                too_slow=self._line.ran_out and progress.is_too_slow(monotonic()),
                unsent=progress.unsent > 0 or not progress.reached,
                called_off=self._line.called_off,
            ) from error
        finally:
            self._used_at = monotonic()

    def succeeded(self) -> None:
        """Note that the last request got through, so that the next one is made in the same way."""
        self._connector.succeeded()

    def failed(self) -> bool:
        """
        Note that the last request did not get through: the next one is made on a new connection, to another address.

        Returns:
            Whether that address has not been tried since a request got through.
        """
        self.close()
        return self._connector.failed()

    def abort(self) -> None:
        """Make what is under way end at once, from any thread or a signal handler."""
        self._line.abort()

    def close(self) -> None:
        """Close the idle connections."""
        # The session's `close` leaves them to finalisers of urllib3, of which none runs for a pool made while the
        # interpreter exits.
        for way in self._ways.values():
            way.pool.close()
        self._ways.clear()
        self._session.close()

    def _exchange(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        if (layers := interception.layers()) != self._layers:
            self.close()
            self._begin_anew(layers)
        if self._intercepted:
            self.progress.reached = True
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
            enforce_content_length=True,  # as by default since urllib3 2
        )
        try:
            received, ending = _read(response)
            premature = self._line.progress.unsent > 0
            return Answer(response.status, response.reason or "", response.headers, received, ending, premature)
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
            if hasattr(adapter, "get_connection_with_tls_context"):
                pool = adapter.get_connection_with_tls_context(request, verify, proxies, cert)
            else:  # requests before 2.32
                pool = adapter.get_connection(url, proxies)
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
    body, before = b"", sys.exception()
    try:
        while len(body) <= MAX_BODY and (piece := raw.read(MAX_BODY + 1 - len(body), decode_content=False)):
            body += piece
        if len(body) <= MAX_BODY and raw.headers.get("content-encoding", "").strip().lower() in {"gzip", "deflate"}:
            # Not by urllib3, of which version 1 inflates all that it is given.
            body = zlib.decompressobj(_GZIP_OR_ZLIB).decompress(body, MAX_BODY + 1)
    except (HTTPError, HTTPException, OSError, zlib.error) as error:
        if interruption_in(error, before):
            raise
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
