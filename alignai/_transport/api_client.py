"""One upload: body, request, answer, and what the answer means."""

from __future__ import annotations

import json
import os
import sys
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from alignai._transport.cancel_scope import LONGEST_WAIT
from alignai._transport.compression import Compression, compress
from alignai._transport.gzip_support import GzipSupport
from alignai._transport.http import NoAnswerError, Transport
from alignai._transport.outcome import Outcome, Verdict, judge, names_method, refuses_compression, unanswered
from alignai._version import __version__
from alignai.clock import monotonic
from alignai.constants import COLLECT_EVENTS_PATH

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from alignai._transport.response import Answer
    from alignai.deadline import Deadline

__all__ = ["APIClient", "Outcome", "Verdict"]

_HEADERS: Final = {
    "Content-Type": "application/json",
    "Connect-Protocol-Version": "1",
    "Accept-Encoding": "identity",  # the answer is a few bytes
    "User-Agent": f"alignai/{__version__} Python/{sys.version_info.major}.{sys.version_info.minor}",
}
_COMPRESSED: Final = {"Content-Encoding": "gzip"}
_MAX_ATTEMPTS: Final = 4
"""Requests in one upload. What is left to be tried otherwise comes with the next uploads."""


class APIClient:
    """
    Uploads batches of events to the ingestion service.

    Uploads by several threads take turns. In a forked child it starts with connections of its own.

    Args:
        api_host: The service's address, as in "https://api.impaction.ai".
        api_key: The key; it goes into the requests and nowhere else.

    """

    def __init__(self, api_host: str, api_key: str) -> None:
        self._api_host = api_host.rstrip("/")
        self._api_key = api_key
        self._gzip = GzipSupport()
        self._compression = Compression()
        self._open()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(api_host={self._api_host!r}, api_key='***')"

    def upload(self, request_id: str, events: Sequence[bytes], deadline: Deadline) -> Outcome:
        """
        Send one batch and say how that ended.

        Nothing that the network or the server does makes it raise, or keeps it past *deadline*.

        Args:
            request_id: What the server knows a repeat by: at most 36 ASCII characters, the same whenever the same
                batch is sent.
            events: The batch, each event as JSON.
            deadline: When it must be over.

        """
        if self._pid != os.getpid():
            self._open()
        if not self._turn.acquire(timeout=min(deadline.remaining, LONGEST_WAIT)):
            return unanswered(Verdict.RETRY, "another upload took all the time", self._api_key)
        try:
            with self._transport.until(deadline):
                return self._send(_body(request_id, events), deadline)
        finally:
            self._turn.release()

    def abort(self) -> None:
        """Make an upload under way end at once as one to retry; from any thread or a signal handler."""
        if self._pid == os.getpid():
            self._transport.abort()

    def close(self) -> None:
        """Close the idle connections; an upload after this opens a new one."""
        self._transport.close()

    def _open(self) -> None:
        # The parent's connection and lock are left alone in a forked child: they are still in use over there.
        self._pid = os.getpid()
        self._turn = threading.Lock()
        self._transport = Transport(self._api_key)

    def _send(self, body: bytes, deadline: Deadline) -> Outcome:
        """Send *body*, and again while the failure may be due to a choice that can be made otherwise."""
        may_be_there = False
        for _ in range(_MAX_ATTEMPTS):
            outcome, may_differ = self._attempt(body, deadline)
            may_be_there |= not outcome.unsent
            if not may_differ or outcome.retry_after or deadline.expired:
                break
        return replace(outcome, unsent=not may_be_there) if outcome.unsent else outcome

    def _attempt(self, body: bytes, deadline: Deadline) -> tuple[Outcome, bool]:
        """
        Send *body* once.

        Nothing of what made an upload fail is held on to: the next one is made on a new connection, to another address
        if there are several, and not compressed if this one was.

        Returns:
            The outcome, and whether another attempt at once may have a different one.
        """
        begin = monotonic()
        compressed = self._gzip.expected and self._compression.wanted(len(body))
        content = compress(body) if compressed else body
        compressing = monotonic() - begin if compressed else 0.0
        try:
            answer = self._post(content, deadline, _COMPRESSED if compressed else {})
        except NoAnswerError as error:
            outcome = self._no_answer(error)
            if outcome.called_off:  # which says nothing of the server
                self._transport.close()
                return outcome, False
            may_differ = self._failed(outcome, compressed=compressed)
            return outcome, may_differ
        outcome = judge(answer, self._api_key)
        if outcome.verdict is Verdict.SENT:
            self._transport.succeeded()
            self._gzip.succeeded(compressed=compressed)
            self._compression.took(len(body), compressing, monotonic() - begin)
            return outcome, False
        if compressed and refuses_compression(answer):
            self._gzip.refused()
        return outcome, self._failed(outcome, compressed=compressed) and not names_method(answer)

    def _failed(self, outcome: Outcome, *, compressed: bool) -> bool:
        """Prepare for the next attempt; whether it is worth making at once."""
        progress = self._transport.progress
        other_address = self._transport.failed()
        if not progress.reached:
            return other_address
        if outcome.too_slow or outcome.verdict is Verdict.SPLIT:
            return False  # too large, and plain it is larger still
        if outcome.verdict is Verdict.ISOLATE and self._gzip.proven:
            return False  # due to the events
        other_form = self._gzip.failed(compressed=compressed)
        if outcome.verdict is Verdict.ISOLATE:
            return other_form
        # A server that asks for patience is given it: the next attempt comes soon, on a new connection.
        is_busy = outcome.verdict is Verdict.RETRY and outcome.error is not None and outcome.error.status_code != 0
        return other_form or other_address or (progress.reused and not is_busy)

    def _no_answer(self, error: NoAnswerError) -> Outcome:
        return unanswered(
            Verdict.HOLD if error.misconfigured else Verdict.RETRY,
            f"no answer from {self._api_host}: {error}",
            self._api_key,
            too_slow=error.too_slow,
            unsent=error.unsent,
            called_off=error.called_off,
        )

    def _post(self, body: bytes, deadline: Deadline, headers: Mapping[str, str]) -> Answer:
        milliseconds = int(min(deadline.remaining, LONGEST_WAIT) * 1000)
        timeout = {"Connect-Timeout-Ms": str(max(1, milliseconds))}
        return self._transport.post(self._api_host + COLLECT_EVENTS_PATH, body, {**_HEADERS, **timeout, **headers})


def _body(request_id: str, events: Sequence[bytes]) -> bytes:
    """The rows as they are, copied once."""
    *others, last = events
    pieces = [*others, last + b"]}"]
    pieces[0] = b'{"requestId":' + json.dumps(request_id).encode() + b',"events":[' + pieces[0]
    return b",".join(pieces)
