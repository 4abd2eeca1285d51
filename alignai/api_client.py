"""One upload: body, request, answer, and what the answer means."""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import TYPE_CHECKING, Final

from alignai._version import __version__
from alignai.clock import monotonic
from alignai.compression import Compression, compress
from alignai.line import LONGEST_WAIT
from alignai.outcome import Outcome, Verdict, judge, refuses_compression, unanswered
from alignai.transport import NoAnswerError, Transport

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from alignai.answer import Answer
    from alignai.deadline import Deadline

__all__ = ["APIClient", "Outcome", "Verdict"]

PATH: Final = "/ingestion.v1alpha.IngestionService/CollectEvents"
_HEADERS: Final = {
    "Content-Type": "application/json",
    "Connect-Protocol-Version": "1",
    "Accept-Encoding": "identity",  # the answer is a few bytes
    "User-Agent": f"alignai/{__version__} Python/{sys.version_info.major}.{sys.version_info.minor}",
}
_COMPRESSED: Final = {"Content-Encoding": "gzip"}


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
        self._compresses = True
        self._compression_proven = False
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
        except NoAnswerError as error:
            verdict = Verdict.HOLD if error.misconfigured else Verdict.RETRY
            return unanswered(verdict, f"no answer from {self._api_host}: {error}", self._api_key)
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
        begin = monotonic()
        if not self._compresses or not self._compression.wanted(len(body)):
            outcome = self._judge(self._post(body, deadline))
            self._note_time(outcome, len(body), begin, begin)
            return outcome
        compressed = compress(body)
        compressed_at = monotonic()
        answer = self._post(compressed, deadline, _COMPRESSED)
        outcome = self._judge(answer)
        if refuses_compression(answer):
            self._compresses = False
            return self._judge(self._post(body, deadline))
        if outcome.verdict is Verdict.ISOLATE and not self._compression_proven:
            return self._send_unproven(body, deadline)
        self._compression_proven |= outcome.verdict is Verdict.SENT
        self._note_time(outcome, len(body), begin, compressed_at)
        return outcome

    def _note_time(self, outcome: Outcome, size: int, begin: float, compressed_at: float) -> None:
        if outcome.verdict is Verdict.SENT:
            self._compression.took(size, compressed_at - begin, monotonic() - begin)

    def _send_unproven(self, body: bytes, deadline: Deadline) -> Outcome:
        """
        Send a refused batch once more, uncompressed.

        A server, or a proxy, that doesn't know compression may take the body for bad JSON: before anything has got
        through compressed, that refusal says nothing about the events.
        """
        outcome = self._judge(self._post(body, deadline))
        self._compresses = outcome.verdict is not Verdict.SENT
        return outcome

    def _post(self, body: bytes, deadline: Deadline, headers: Mapping[str, str] | None = None) -> Answer:
        milliseconds = int(min(deadline.remaining, LONGEST_WAIT) * 1000)
        timeout = {"Connect-Timeout-Ms": str(max(1, milliseconds))}
        return self._transport.post(self._api_host + PATH, body, {**_HEADERS, **timeout, **(headers or {})})

    def _judge(self, answer: Answer) -> Outcome:
        return judge(answer, self._api_key)


def _body(request_id: str, events: Sequence[bytes]) -> bytes:
    """The rows as they are, copied once."""
    *others, last = events
    pieces = [*others, last + b"]}"]
    pieces[0] = b'{"requestId":' + json.dumps(request_id).encode() + b',"events":[' + pieces[0]
    return b",".join(pieces)
