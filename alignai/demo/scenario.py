"""A real worker, a real outage, a real kill, and a check of the deliveries."""

from __future__ import annotations

import json
import os
import random
import signal
import statistics
import subprocess
import threading
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from alignai._events.parser import parse
from alignai.validate import ValidationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from alignai.collector.collector import Collector, Delivery
    from alignai.demo.conversations import Script, Step

PROJECT_ID = "demo"


@dataclass(frozen=True, slots=True)
class ScenarioPlan:
    """The seconds over which the steps of the worker are spread, and the seconds for which the server is down."""

    stream_seconds: float = 7.0
    outage_seconds: float = 3.0


@dataclass(frozen=True, slots=True)
class DeliveryCheck:
    """The outcome of the acknowledged events. An event is delivered if it arrived as it was recorded."""

    acknowledged: int
    delivered: int
    lost: tuple[str, ...]
    delivered_twice: int


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of one run."""

    script: Script
    check: DeliveryCheck
    call_micros: tuple[float, ...]
    kills: int
    seconds_down: float

    def rows(self) -> list[tuple[str, str]]:
        """Return the rows of the table: a name and a figure each."""
        return [
            ("sessions", str(self.script.sessions)),
            ("messages skipped (other roles, no text)", str(self.script.skipped)),
            ("events acknowledged", str(self.check.acknowledged)),
            ("events delivered", str(self.check.delivered)),
            ("events lost", str(len(self.check.lost))),
            ("events delivered twice (told by their ids)", str(self.check.delivered_twice)),
            ("median call", f"{statistics.median(self.call_micros):.0f} µs"),
            ("worst call", f"{max(self.call_micros):.0f} µs"),
            ("worker killed", f"{self.kills} x"),
            ("server down", f"{self.seconds_down:.1f} s"),
        ]


def check_deliveries(steps: Sequence[Step], acknowledged: Sequence[str], received: Sequence[Delivery]) -> DeliveryCheck:
    """
    Compare the deliveries with the acknowledged events.

    Args:
        steps: The steps that were to be recorded.
        acknowledged: The event ids that the SDK returned, each of a step.
        received: Every delivery, including repeats.

    """
    recorded = {step.event_id: step for step in steps}
    arrived = {delivery.event_id for delivery in received if _as_recorded(delivery, recorded.get(delivery.event_id))}
    times = Counter(delivery.event_id for delivery in received)
    return DeliveryCheck(
        acknowledged=len(acknowledged),
        delivered=len(arrived),
        lost=tuple(event_id for event_id in acknowledged if event_id not in arrived),
        delivered_twice=sum(count > 1 for count in times.values()),
    )


def _as_recorded(delivery: Delivery, step: Step | None) -> bool:
    try:
        method, arguments = parse(delivery.event)
    except ValidationError:
        return False
    return step is not None and method == step.method and step.arguments.items() <= arguments.items()


class WorkerError(Exception):
    """The worker failed, or acknowledged another event than the next one."""


class Scenario:
    """
    One run: worker processes record a script, one after the other, and the collector is down for a while.

    Args:
        script: The steps to record.
        collector: The server. The run starts and stops it.
        folder: An empty folder for the spool and the script.
        command: The command of a worker. The file of steps, the number of the first step, and the pause after each step
            are added as arguments.
        plan: The durations; None for the defaults.
        say: Called with a line for each outage and kill.
    """

    def __init__(
        self,
        script: Script,
        collector: Collector,
        folder: Path,
        command: Sequence[str],
        *,
        plan: ScenarioPlan | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        self.spool = folder / "spool.db"
        self._script = script
        self._collector = collector
        self._command = command
        self._plan = plan or ScenarioPlan()
        self._say = say
        self._steps_file = folder / "steps.jsonl"
        self._pause = self._plan.stream_seconds / len(script.steps)
        self._outage_at = len(script.steps) // 3
        self._kill_at = random.randint(len(script.steps) // 4, len(script.steps) * 3 // 4)  # noqa: S311 - no secret
        self._acknowledged: list[str] = []
        self._micros: list[float] = []
        self._kills = 0
        self._killer: threading.Timer | None = None
        self._outage: Future[float] | None = None

    def run(self) -> Report:
        """Run to the end. Raise WorkerError if a worker fails by itself, OSError if the port is taken meanwhile."""
        self._steps_file.write_text("".join(json.dumps(asdict(step)) + "\n" for step in self._script.steps))
        with self._collector, ThreadPoolExecutor(max_workers=1) as pool:
            while not self._one_worker(pool):
                self._say(f"worker killed, {len(self._acknowledged)} events acknowledged so far; starting another")
            seconds_down = self._outage.result() if self._outage else 0.0
        check = check_deliveries(self._script.steps, self._acknowledged, self._collector.received)
        return Report(self._script, check, tuple(self._micros), self._kills, seconds_down)

    def environment(self) -> dict[str, str]:
        """Return the environment of a worker, without the ALIGNAI variables of the caller."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("ALIGNAI_")}
        variables = {
            "ALIGNAI_PROJECT_ID": PROJECT_ID,
            "ALIGNAI_API_KEY": self._collector.api_key or "",
            "ALIGNAI_HOST": self._collector.url,
            "ALIGNAI_SPOOL_PATH": str(self.spool),
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }
        return inherited | variables

    def _one_worker(self, pool: ThreadPoolExecutor) -> bool:
        """Start a worker at the first unacknowledged step. Return True if it finished, False if it was killed."""
        with self._start_worker() as worker:
            try:
                self._listen(worker, pool)
            except BaseException:
                worker.kill()
                raise
            finally:
                killer, self._killer = self._killer, None
                if killer is not None:
                    killer.cancel()
        killed = killer is not None and worker.returncode == -signal.SIGKILL
        if worker.returncode != 0 and not killed:
            raise WorkerError(f"the worker ended by itself with exit code {worker.returncode}")
        self._kills += killed
        return not killed

    def _start_worker(self) -> subprocess.Popen[str]:
        arguments = [str(self._steps_file), str(len(self._acknowledged)), str(self._pause)]
        # In a session of its own, so that Ctrl-C reaches the demonstration only, which then ends the worker.
        return subprocess.Popen(  # noqa: S603 - our own module
            [*self._command, *arguments],
            env=self.environment(),
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def _listen(self, worker: subprocess.Popen[str], pool: ThreadPoolExecutor) -> None:
        for line in worker.stdout or ():
            if not line.endswith("\n"):
                return  # cut off by the kill: this event was not acknowledged
            event_id, micros = line.split()
            if event_id != self._script.steps[len(self._acknowledged)].event_id:
                raise WorkerError(f"the worker acknowledged {event_id} out of turn")
            self._acknowledged.append(event_id)
            self._micros.append(float(micros))
            self._interfere(worker, pool)

    def _interfere(self, worker: subprocess.Popen[str], pool: ThreadPoolExecutor) -> None:
        if len(self._acknowledged) == self._outage_at:
            self._outage = pool.submit(self._stop_collector)
        if len(self._acknowledged) == self._kill_at:
            # At a random moment during the next steps, not between two of them.
            self._killer = threading.Timer(random.uniform(0, 2 * self._pause), worker.kill)  # noqa: S311 - no secret
            self._killer.start()

    def _stop_collector(self) -> float:
        self._collector.stop()
        stopped_at = time.monotonic()
        self._say("server down")
        time.sleep(self._plan.outage_seconds)
        self._collector.start()
        seconds_down = time.monotonic() - stopped_at
        self._say(f"server up again after {seconds_down:.1f} s")
        return seconds_down
