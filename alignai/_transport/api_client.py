"""One upload: its body, the requests that it takes, and the outcome."""

from __future__ import annotations

import json
import os
import sys
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from alignai._exclusive import give_back, is_held
from alignai._transport.cancel_scope import MAX_WAIT_SECONDS
from alignai._transport.compression import Compression, compress
from alignai._transport.gzip_support import GzipSupport
from alignai._transport.http import Transport
from alignai._transport.outcome import Action, Outcome, classify, is_unimplemented, no_response, refuses_compression
from alignai._transport.response import NoResponseError
from alignai._version import __version__
from alignai.clock import monotonic
from alignai.constants import COLLECT_EVENTS_PATH

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from alignai._transport.response import Response
    from alignai.deadline import Deadline

__all__ = ["APIClient", "Action", "Outcome"]

_HEADERS: Final = {
    "Content-Type": "application/json",
    "Connect-Protocol-Version": "1",
    "Accept-Encoding": "identity",  # a response is a few bytes
    "User-Agent": f"alignai/{__version__} Python/{sys.version_info.major}.{sys.version_info.minor}",
}
_COMPRESSED: Final = {"Content-Encoding": "gzip"}
_MAX_ATTEMPTS: Final = 4
"""Requests in one upload. The next uploads try the alternatives that are left."""


class APIClient:
    """
    Uploads batches of events to the ingestion service.

    Uploads of several threads take turns. In a forked child the client starts with connections of its own.

    Args:
        api_host: The service's address, such as "https://api.impaction.ai".
        api_key: The key. It goes into the requests and nowhere else.

    """

    def __init__(self, api_host: str, api_key: str) -> None:
        self._api_host = api_host.rstrip("/")
        self._api_key = api_key
        self._gzip = GzipSupport()
        self._compression = Compression()
        self._reset_after_fork()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(api_host={self._api_host!r}, api_key='***')"

    def upload(self, request_id: str, events: Sequence[bytes], deadline: Deadline) -> Outcome:
        """
        Send one batch and return how that ended.

        Nothing that the network or the server does makes this method raise, or run past *deadline*.

        Args:
            request_id: Identifies a repeat for the server. At most 36 ASCII characters, the same each time the same
                batch is sent.
            events: The batch, each event as JSON.
            deadline: When the upload must be over.

        """
        if self._pid != os.getpid():
            self._reset_after_fork()
        turn = self._turn
        if is_held(turn):  # a signal handler uploads during an upload of the same thread
            return no_response(Action.RETRY, "another upload is under way", self._api_key)
        try:
            if not turn.acquire(timeout=min(deadline.remaining, MAX_WAIT_SECONDS)):
                return no_response(Action.RETRY, "another upload took all the time", self._api_key)
            with self._transport.open(deadline):
                outcome = self._send(_body(request_id, events), deadline)
            turn.release()
        except BaseException:  # also one that a signal handler raises right behind `acquire`, or before `release`
            give_back(turn)
            raise
        return outcome

    def cancel(self) -> None:
        """End the upload under way at once as one to retry. Any thread and any signal handler may call this."""
        if self._pid == os.getpid():
            self._transport.cancel()

    def close(self) -> None:
        """Close the idle connections. The next upload opens a new one."""
        self._transport.close()

    def _reset_after_fork(self) -> None:
        # A forked child leaves the parent's connection and lock alone: the parent still uses them.
        self._pid = os.getpid()
        self._turn = threading.RLock()
        self._transport = Transport(self._api_key)

    def _send(self, body: bytes, deadline: Deadline) -> Outcome:
        """Send *body*, and again while the failure may be due to a choice that has an alternative."""
        may_have_arrived = False
        for _ in range(_MAX_ATTEMPTS):
            outcome, may_differ = self._attempt(body, deadline)
            may_have_arrived |= not outcome.unsent
            if not may_differ or outcome.retry_after or deadline.expired:
                break
        return replace(outcome, unsent=not may_have_arrived) if outcome.unsent else outcome

    def _attempt(self, body: bytes, deadline: Deadline) -> tuple[Outcome, bool]:
        """
        Send *body* once.

        After a failure every choice is changed. The next attempt is made on a new connection, to another address if
        there are several, and uncompressed if this one was compressed.

        Returns:
            The outcome, and whether another attempt at once may have a different one.
        """
        begin = monotonic()
        compressed = self._gzip.expected and self._compression.wanted(len(body))
        content = compress(body) if compressed else body
        compressing = monotonic() - begin if compressed else 0.0
        try:
            response = self._post(content, deadline, _COMPRESSED if compressed else {})
        except NoResponseError as error:
            outcome = self._unanswered(error)
            if outcome.cancelled:  # this process ended it, so it says nothing about the server
                self._transport.close()
                return outcome, False
            may_differ = self._failed(outcome, compressed=compressed)
            return outcome, may_differ
        outcome = classify(response, self._api_key)
        if outcome.action is Action.SENT:
            self._transport.succeeded()
            self._gzip.succeeded(compressed=compressed)
            self._compression.took(len(body), compressing, monotonic() - begin)
            return outcome, False
        if compressed and refuses_compression(response):
            self._gzip.refused()
        return outcome, self._failed(outcome, compressed=compressed) and not is_unimplemented(response)

    def _failed(self, outcome: Outcome, *, compressed: bool) -> bool:
        """Prepare for the next attempt. Return True if it is worth making at once."""
        progress = self._transport.progress
        other_address = self._transport.failed()
        if not progress.reached:
            return other_address
        if outcome.too_slow or outcome.action is Action.SPLIT:
            return False  # the request is too large, and uncompressed it is larger still
        if outcome.action is Action.ISOLATE and self._gzip.proven:
            return False  # the events are the cause
        other_form = self._gzip.failed(compressed=compressed)
        if outcome.action is Action.ISOLATE:
            return other_form
        # A server that is busy gets a pause. The next attempt comes soon, on a new connection.
        is_busy = outcome.action is Action.RETRY and outcome.error is not None and outcome.error.status_code != 0
        return other_form or other_address or (progress.reused and not is_busy)

    def _unanswered(self, error: NoResponseError) -> Outcome:
        return no_response(
            Action.HOLD if error.misconfigured else Action.RETRY,
            f"no response from {self._api_host}: {error}",
            self._api_key,
            too_slow=error.too_slow,
            unsent=error.unsent,
            cancelled=error.cancelled,
        )

    def _post(self, body: bytes, deadline: Deadline, headers: Mapping[str, str]) -> Response:
        milliseconds = int(min(deadline.remaining, MAX_WAIT_SECONDS) * 1000)
        timeout = {"Connect-Timeout-Ms": str(max(1, milliseconds))}
        return self._transport.post(self._api_host + COLLECT_EVENTS_PATH, body, {**_HEADERS, **timeout, **headers})


def _body(request_id: str, events: Sequence[bytes]) -> bytes:
    """Return the body of a request: the rows as they are, copied once."""
    *others, last = events
    pieces = [*others, last + b"]}"]
    pieces[0] = b'{"requestId":' + json.dumps(request_id).encode() + b',"events":[' + pieces[0]
    return b",".join(pieces)
