"""Uploading one batch, and settling it according to the outcome."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from alignai._delivery.backoff import AttemptShare, Backoff
from alignai._delivery.batch_size import MIN_LIMIT_BYTES, BatchSize
from alignai._delivery.breaker import RejectionBreaker
from alignai._delivery.outage import Outage
from alignai._delivery.prober import Prober
from alignai._safe_logging import logger
from alignai._transport.outcome import Action
from alignai.clock import monotonic
from alignai.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alignai._transport.api_client import APIClient
    from alignai._transport.outcome import Outcome
    from alignai.config import Config
    from alignai.spool import Batch, Spool

HOLD_SECONDS: Final = 60.0
"""The wait between two attempts while a key, an address or a proxy is wrong, or a server rejects everything."""

_MAX_TIMEOUT_FACTOR: Final = 16
"""How many times `request_timeout_seconds` a request may get on a slow network."""

CRASHES_BEFORE_PAUSE: Final = 10
"""After so many processes in a row ended while they uploaded a batch, the next one pauses first."""

_MAX_PAUSE_SECONDS: Final = 10.0


class Uploader:
    """
    Uploads the batches of a spool, one at a time and in order.

    `APIClient` decides on the action for each response. The uploader carries it out. Its process holds the lease.

    Args:
        spool: The source of the batches.
        api: Uploads one batch.
        config: Limits of a request.

    Attributes:
        not_before: When the next upload may begin.
        deadline: When any upload must be over, besides its own timeout.
        failures: How many uploads have failed.
        failing: Whether the last one failed.
        may_yield: Whether another process may try meanwhile: its key, its address or its network may be better.
    """

    def __init__(self, spool: Spool, api: APIClient, config: Config) -> None:
        self.not_before = Deadline.after(0)
        self.deadline = Deadline.never()
        self.failures = 0
        self.failing = False
        self.may_yield = False
        self._spool = spool
        self._api = api
        self._config = config
        self._timeout_factor = 1
        self._unsent = ("", 0)
        self._attempt_share = AttemptShare()
        self._sent_before = 0
        self._batch_size = BatchSize(config)
        self._backoff = Backoff()
        self._breaker = RejectionBreaker()
        self._prober = Prober(spool, self._upload)
        self._outage = Outage(spool.path, lambda: spool.unsettled(spool.last_seq()))
        self._paused = False
        self._settle = {
            Action.SENT: self._sent,
            Action.RETRY: self._retry,
            Action.HOLD: self._hold,
            Action.SPLIT: self._split,
            Action.ISOLATE: self._isolate,
        }

    def reset_backoff(self) -> None:
        """Cut the wait short, for a flush or a close."""
        self.not_before = Deadline.after(0)
        self._backoff.reset()

    def pause_after_crashes(self, crashes: int) -> None:
        """
        Wait, once, before a batch during whose upload many processes in a row ended. It may be the cause.

        The batch stays as it is. The processes may as well have been killed, or have been short-lived, and the server
        may have the batch. A process that does crash on it can record during the pause, and is not in a tight loop of
        restarts.

        Args:
            crashes: The number of processes that ended.
        """
        if self._paused or crashes < CRASHES_BEFORE_PAUSE:
            return
        self._paused = True
        seconds = min(_MAX_PAUSE_SECONDS, 2.0 ** min(crashes - CRASHES_BEFORE_PAUSE, 10))
        self._wait(seconds)
        logger.warning(
            "%d processes in a row ended while they uploaded the same events. The events are kept and retried in %d s. "
            "If the processes were not meant to end, check whether they ran out of memory (spool %s)",
            crashes,
            seconds,
            self._spool.path,
        )

    def upload_next(self) -> int:
        """Upload one batch and settle it. Return how many events were in it, 0 if there is none."""
        batch = self._spool.next_batch(self._batch_size.events, self._batch_size.bytes)
        if batch is None:
            return 0
        began = monotonic()
        outcome = self._upload(batch.request_id, batch.payloads)
        if outcome.action is Action.SENT:
            self._batch_size.sent(batch, monotonic() - began)
        self._settle[outcome.action](batch, outcome)
        return len(batch)

    def notice_others(self) -> None:
        """End the outage if another process has delivered events since the last failure here."""
        if self.may_yield and self._spool.totals().sent > self._sent_before:
            self._recover()
            self.reset_backoff()

    def _upload(self, request_id: str, payloads: Sequence[bytes]) -> Outcome:
        seconds = self._config.request_timeout_seconds * self._timeout_factor
        return self._api.upload(request_id, payloads, self.deadline.sooner(seconds))

    def _sent(self, batch: Batch, _: Outcome) -> None:
        self._spool.mark_sent(batch)
        self._timeout_factor = 1
        self._breaker.accepted()
        self._recover()

    def _retry(self, batch: Batch, outcome: Outcome) -> None:
        if outcome.cancelled:  # by the end of the process or of the client, not by the server
            self._spool.mark_failed(batch, str(outcome.error))
            return
        may_have_arrived = self._may_have_arrived(batch, outcome)
        if (
            outcome.too_slow
            and not self.deadline.expired
            and self._adapt_to_slow_network(batch, outcome, may_have_arrived)
        ):
            return
        if not self._record_failure(batch, outcome):
            seconds = self._backoff.next(outcome.retry_after)
            problem = f"events cannot be delivered: {outcome.error}. They are kept and retried"
            self._fail(batch, Action.RETRY, seconds, problem)

    def _hold(self, batch: Batch, outcome: Outcome) -> None:
        if not self._record_failure(batch, outcome):
            seconds = max(HOLD_SECONDS, outcome.retry_after)
            problem = f"uploads are on hold: {outcome.error}. Check the API key, api_host and any proxy"
            self._fail(batch, Action.HOLD, seconds, problem)

    def _may_have_arrived(self, batch: Batch, outcome: Outcome) -> bool:
        """Return False if no attempt so far can have sent the whole batch to the server."""
        known = batch.attempts == 1 or self._unsent == (batch.request_id, batch.attempts - 1)
        if known and outcome.unsent:
            self._unsent = (batch.request_id, batch.attempts)
            return False
        return True

    def _adapt_to_slow_network(self, batch: Batch, outcome: Outcome, may_have_arrived: bool) -> bool:
        """
        Split *batch*, or give it more time. Return True if it was split.

        Only a batch that the server cannot have is split, since its parts are new requests. Any other batch is sent
        again as it is, and so is a single event: the next attempt gets twice the time.
        """
        self._batch_size.too_large(batch)
        if len(batch) > 1 and not may_have_arrived:
            self._spool.mark_failed(batch, str(outcome.error))
            self._spool.split(batch)
            return True
        self._timeout_factor = min(2 * self._timeout_factor, _MAX_TIMEOUT_FACTOR)
        return False

    def _split(self, batch: Batch, outcome: Outcome) -> None:
        """Split *batch*, which is too large. Once all its parts succeed, the limit is half of the last refused size."""
        if len(batch) == 1 and batch.size < MIN_LIMIT_BYTES:
            self._batch_size.restore()
            self._hold(batch, replace(outcome, fault=True))
            return
        self._batch_size.too_large(batch)
        self._isolate(batch, outcome)

    def _isolate(self, batch: Batch, outcome: Outcome) -> None:
        if not self._batch_size.is_grown(batch):
            self._breaker.begin_split(batch.last)
        self._batch_size.refused(batch)
        if len(batch) > 1:
            self._spool.split(batch)
            return
        self._reject(batch, outcome)
        known = self._breaker.tripped
        if self._breaker.rejected(batch.last):
            self._wait(HOLD_SECONDS)
            if not known:
                logger.error(
                    "server rejected every event of a whole batch. They are kept in %s. Uploads continue with a batch "
                    "every %d s until events are accepted again",
                    self._spool.path,
                    HOLD_SECONDS,
                )

    def _reject(self, batch: Batch, outcome: Outcome) -> None:
        """Reject the event. The message of the server is kept with it, but not logged: it may repeat the contents."""
        status = outcome.error.status_code if outcome.error else 0
        summary = f"server rejected an event (HTTP {status}). It is kept as rejected"
        self._spool.mark_rejected(batch, str(outcome.error), summary)
        logger.warning("%s in %s", summary, self._spool.path)

    def _record_failure(self, batch: Batch, outcome: Outcome) -> bool:
        """Note a failure of *batch*. Return True if the batch itself is at fault, and was split or rejected."""
        self._batch_size.reset()
        fault = outcome.fault or self._batch_size.is_grown(batch)
        self._spool.mark_failed(batch, str(outcome.error), fault=fault)
        if not fault or not self._prober.passes(batch):
            return False
        if len(batch) == 1:
            self._isolate(batch, outcome)
        self._batch_size.refused(batch)
        return True

    def _fail(self, batch: Batch, kind: Action, seconds: float, problem: str) -> None:
        self._wait(seconds * self._attempt_share.of(batch.request_id, batch.attempts))
        self.may_yield = True
        self._sent_before = self._spool.totals().sent
        self._outage.failed(kind, problem)

    def _wait(self, seconds: float) -> None:
        self.failures += 1
        self.failing = True
        self.may_yield = False
        self.not_before = Deadline.after(seconds)

    def _recover(self) -> None:
        self.failing = self.may_yield = False
        self._attempt_share = AttemptShare()
        self._backoff.reset()
        self._outage.ended()
