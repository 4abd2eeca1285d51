"""One batch after another: upload it, and write down what the server's answer makes of it."""

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
"""Between two attempts while a key, an address or a proxy is wrong, or a server refuses everything."""

_MAX_TIMEOUT_FACTOR: Final = 16
"""Times `request_timeout_seconds` that a request is given if the line takes so long for it."""

CRASHES_BEFORE_PAUSE: Final = 10
"""Processes in a row that ended while they uploaded a batch, before the next one pauses first."""

_MAX_PAUSE_SECONDS: Final = 10.0


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
        deadline: When any upload must be over, besides its own time.
        failures: How often an upload did not get through.
        failing: Whether the last one did not.
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
        """Cut the wait short: someone flushes or closes."""
        self.not_before = Deadline.after(0)
        self._backoff.reset()

    def pause_after_crashes(self, crashes: int) -> None:
        """
        Wait, once, before a batch that many processes in a row did not outlive: it may be what they died of.

        The batch stays as it is. They may as well have been killed, or have been short-lived, and the server may have
        it. A process that does die of it can record for that long, and is not in a loop of restarts.

        Args:
            crashes: How many they were.
        """
        if self._paused or crashes < CRASHES_BEFORE_PAUSE:
            return
        self._paused = True
        seconds = min(_MAX_PAUSE_SECONDS, 2.0 ** min(crashes - CRASHES_BEFORE_PAUSE, 10))
        self._wait(seconds)
        logger.warning(
            "%d processes in a row ended while they uploaded the same events. They are kept and tried again in %d s. "
            "If they were not meant to end, see whether they ran out of memory (%s)",
            crashes,
            seconds,
            self._spool.path,
        )

    def upload_next(self) -> int:
        """Upload one batch and settle it; how many events were in it, 0 where there is none."""
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
        """Note that another process has delivered events since the last failure here: the outage is over."""
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
        if outcome.cancelled:  # by the end of the process or of the client, which says nothing of the server
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
            problem = f"events cannot be delivered ({outcome.error}); they are kept and tried again"
            self._fail(batch, Action.RETRY, seconds, problem)

    def _hold(self, batch: Batch, outcome: Outcome) -> None:
        if not self._record_failure(batch, outcome):
            seconds = max(HOLD_SECONDS, outcome.retry_after)
            problem = f"uploads are on hold ({outcome.error}): check the API key, api_host and any proxy"
            self._fail(batch, Action.HOLD, seconds, problem)

    def _may_have_arrived(self, batch: Batch, outcome: Outcome) -> bool:
        """Return True unless it is known of each attempt so far that the server cannot have the whole batch from it."""
        known = batch.attempts == 1 or self._unsent == (batch.request_id, batch.attempts - 1)
        if known and outcome.unsent:
            self._unsent = (batch.request_id, batch.attempts)
            return False
        return True

    def _adapt_to_slow_network(self, batch: Batch, outcome: Outcome, may_have_arrived: bool) -> bool:
        """
        Send less at a time, or take more time for it.

        Only a batch that the server cannot have is split, since its parts are new requests. Any other is sent again as
        it is, and so is a single event: the next attempt is given twice the time.
        """
        self._batch_size.too_large(batch)
        if len(batch) > 1 and not may_have_arrived:
            self._spool.mark_failed(batch, str(outcome.error))
            self._spool.split(batch)
            return True
        self._timeout_factor = min(2 * self._timeout_factor, _MAX_TIMEOUT_FACTOR)
        return False

    def _split(self, batch: Batch, outcome: Outcome) -> None:
        """Once all the parts of a batch have gone through, the larger of the last two was half of the last refused."""
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

    def _record_failure(self, batch: Batch, outcome: Outcome) -> bool:
        """Write the failure down; whether it is the batch itself that does not get through, and was taken apart."""
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
