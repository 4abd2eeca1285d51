"""Distinguishing an event that makes the server fail from a server that fails on everything."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from alignai._transport.outcome import Action
from alignai.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from alignai._transport.outcome import Outcome
    from alignai.spool import Batch, Spool

FAILURES_BEFORE_PROBE: Final = 10
"""Failures of one batch before the first probe."""

_FIRST_INTERVAL: Final = 1.0
_MAX_INTERVAL: Final = 60.0
"""Seconds between two probes, also if a caller flushes meanwhile."""


class Prober:
    """
    Sends other events than a batch on which the server keeps failing.

    Args:
        spool: The spool, where accepted probes are marked as sent.
        upload: Sends events under a request id.
    """

    def __init__(self, spool: Spool, upload: Callable[[str, Sequence[bytes]], Outcome]) -> None:
        self._spool = spool
        self._upload = upload
        self._interval = _FIRST_INTERVAL
        self._not_before = Deadline.after(0)

    def passes(self, batch: Batch) -> bool:
        """
        Return True if the server accepts other events at this moment, so that *batch* is at fault.

        A batch is probed by its own first events, which keeps the order. If one succeeds, the others become batches of
        their own. A single event is probed by the event after it. There is no probe before enough failures, and none
        soon after another.
        """
        if batch.faults + 1 < FAILURES_BEFORE_PROBE or not self._not_before.expired:
            return False
        if len(batch) > 1:
            return self._set_interval(self._probe_first_events(batch))
        behind = self._spool.next_batch(1, 1, after=batch.last)
        return behind is not None and self._set_interval(self._probe_next(behind))

    def _set_interval(self, passed: bool) -> bool:
        self._not_before = Deadline.after(0 if passed else self._interval)
        self._interval = _FIRST_INTERVAL if passed else min(2 * self._interval, _MAX_INTERVAL)
        return passed

    def _probe_first_events(self, batch: Batch) -> bool:
        for index, payload in enumerate(batch.payloads[:2]):
            if self._upload(_probe_id(batch, index), (payload,)).action is Action.SENT:
                self._spool.mark_event_sent(batch, index)
                return True
        return False

    def _probe_next(self, batch: Batch) -> bool:
        outcome = self._upload(batch.request_id, batch.payloads)
        if outcome.action is Action.SENT:
            self._spool.mark_sent(batch)
            return True
        self._spool.mark_failed(batch, str(outcome.error), fault=outcome.fault)
        return False


def _probe_id(batch: Batch, index: int) -> str:
    """
    Return the request id under which the event at *index* is sent alone.

    It is the same in every process: a server that accepts the event and fails afterwards must recognise the repeat.
    """
    return hashlib.sha256(f"{batch.request_id}:{index}".encode()).hexdigest()[:32]
