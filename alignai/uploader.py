"""One batch after another: upload it, and write down what the server's answer makes of it."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from alignai._safe_logging import logger
from alignai.backoff import Backoff
from alignai.batch_size import BatchSize
from alignai.clock import monotonic
from alignai.deadline import Deadline
from alignai.outcome import Verdict
from alignai.refusals import Refusals

if TYPE_CHECKING:
    from alignai.api_client import APIClient
    from alignai.config import Config
    from alignai.outcome import Outcome
    from alignai.spool import Batch, Spool

HOLD_SECONDS = 60.0
"""Between two attempts while a key, an address or a proxy is wrong, or a server refuses everything."""

FAULTS_BEFORE_PROBE = 10
"""Faults of the server on one batch, or failures of a grown one, before it is found out whether the batch is why."""


class Uploader:
    """
    Settles the batches of a spool with a server, one at a time and in order.

    What each answer leads to is decided in `APIClient`; what is done about it, here. The process holds the lease.

    Args:
        spool: Where the batches come from.
        api: Where they go.
        config: Limits of a request.

    Attributes:
        not_before: When the next upload may begin.
        until: When any upload must be over, besides its own time.
        failures: How often an upload did not get through.
        failing: Whether the last one did not.
    """

    def __init__(self, spool: Spool, api: APIClient, config: Config) -> None:
        self.not_before = Deadline.after(0)
        self.until = Deadline.never()
        self.failures = 0
        self.failing = False
        self._spool = spool
        self._api = api
        self._config = config
        self._max_bytes = config.max_batch_bytes
        self._batch_size = BatchSize(config)
        self._backoff = Backoff()
        self._refusals = Refusals()
        self._trouble: Verdict | None = None
        self._settle = {
            Verdict.SENT: self._sent,
            Verdict.RETRY: self._retry,
            Verdict.HOLD: self._hold,
            Verdict.SPLIT: self._split,
            Verdict.ISOLATE: self._isolate,
        }

    def hasten(self) -> None:
        """Cut the wait short: someone flushes or closes."""
        self.not_before = Deadline.after(0)
        self._backoff.reset()

    def upload_next(self) -> int:
        """Upload one batch and settle it; how many events were in it, 0 where there is none."""
        batch = self._spool.next_batch(self._batch_size.events, self._max_bytes)
        if batch is None:
            return 0
        began = monotonic()
        outcome = self._upload(batch.request_id, batch.payloads)
        if outcome.verdict is Verdict.SENT:
            self._batch_size.sent(batch, monotonic() - began)
        self._settle[outcome.verdict](batch, outcome)
        return len(batch)

    def _upload(self, request_id: str, payloads: tuple[bytes, ...]) -> Outcome:
        return self._api.upload(request_id, payloads, self.until.sooner(self._config.request_timeout_seconds))

    def _sent(self, batch: Batch, _: Outcome) -> None:
        self._spool.mark_sent(batch)
        self.failing = False
        self._backoff.reset()
        self._refusals.accepted()
        self._end_of_trouble()

    def _retry(self, batch: Batch, outcome: Outcome) -> None:
        if self._is_to_blame(batch, outcome):
            return
        self._wait(self._backoff.next(outcome.retry_after))
        self._begin_of_trouble(
            Verdict.RETRY, f"events cannot be delivered ({outcome.error}); they are kept and tried again"
        )

    def _hold(self, batch: Batch, outcome: Outcome) -> None:
        if self._is_to_blame(batch, outcome):
            return
        self._wait(max(HOLD_SECONDS, outcome.retry_after))
        self._begin_of_trouble(
            Verdict.HOLD, f"uploads are on hold ({outcome.error}): check the API key, api_host and any proxy"
        )

    def _split(self, batch: Batch, outcome: Outcome) -> None:
        """Once all the parts of a batch have gone through, the larger of the last two was half of the last refused."""
        self._max_bytes = min(self._max_bytes, max(1, batch.size // 2))
        self._batch_size.refused(batch)
        if len(batch) > 1:
            self._spool.split(batch)
        else:
            self._reject(batch, outcome)

    def _isolate(self, batch: Batch, outcome: Outcome) -> None:
        if not self._batch_size.is_grown(batch):
            self._refusals.taking_apart(batch.last)
        self._batch_size.refused(batch)
        if len(batch) > 1:
            self._spool.split(batch)
            return
        self._reject(batch, outcome)
        known = self._refusals.refusing
        if self._refusals.refused(batch.last):
            self._wait(HOLD_SECONDS)
            if not known:
                logger.error(
                    "the server refused every event of a whole batch; they are kept in %s. Uploads go on, a batch "
                    "every %d s, until something is accepted again",
                    self._spool.path,
                    HOLD_SECONDS,
                )

    def _reject(self, batch: Batch, outcome: Outcome) -> None:
        """The server's words are kept with the event, but not shown: they may repeat what is in it."""
        status = outcome.error.status_code if outcome.error else 0
        summary = f"the server refused an event (HTTP {status}); it is kept as rejected"
        self._spool.mark_rejected(batch, str(outcome.error), summary)
        logger.warning("%s in %s", summary, self._spool.path)

    def _is_to_blame(self, batch: Batch, outcome: Outcome) -> bool:
        """Write the failure down; whether it is the batch itself that does not get through, and was taken apart."""
        self._batch_size.reset()
        fault = outcome.fault or self._batch_size.is_grown(batch)
        self._spool.mark_failed(batch, str(outcome.error), fault=fault)
        if not fault or batch.faults + 1 < FAULTS_BEFORE_PROBE or not self._blames(batch, outcome):
            return False
        self._batch_size.refused(batch)
        return True

    def _blames(self, batch: Batch, outcome: Outcome) -> bool:
        """
        Whether the server takes something else at this moment, so that the fault must lie in *batch*, which is then
        taken apart.

        A batch is tried by its own first events, which keeps the order; an event alone, by what comes behind it.
        """
        if len(batch) == 1:
            behind = self._spool.next_batch(1, self._max_bytes, after=batch.last)
            if behind is None or not self._goes_through(behind):
                return False
            self._isolate(batch, outcome)
            return True
        for index, payload in enumerate(batch.payloads[:2]):
            if self._upload(uuid.uuid4().hex, (payload,)).verdict is Verdict.SENT:
                self._spool.take_out(batch, index)
                return True
        return False

    def _goes_through(self, batch: Batch) -> bool:
        outcome = self._upload(batch.request_id, batch.payloads)
        if outcome.verdict is Verdict.SENT:
            self._spool.mark_sent(batch)
            return True
        self._spool.mark_failed(batch, str(outcome.error), fault=outcome.fault)
        return False

    def _wait(self, seconds: float) -> None:
        self.failures += 1
        self.failing = True
        self.not_before = Deadline.after(seconds)

    def _begin_of_trouble(self, kind: Verdict, what: str) -> None:
        if self._trouble is not kind:
            self._trouble = kind
            logger.warning("%s, in %s", what, self._spool.path)

    def _end_of_trouble(self) -> None:
        if self._trouble is not None:
            self._trouble = None
            logger.info("events are delivered again")
