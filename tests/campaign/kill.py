"""
Kill: workers die at random instants and at named steps, under a server that fails, and no event is lost.

A trial has one spool, generations of workers on it (writers, uploaders, both at once), and a server in bad weather.
Each worker is killed at a random instant, dies at a crash point, is told to end, or ends by itself. Then all is calm,
and the oracle of `kill_oracle` has the last word.
"""

from __future__ import annotations

import subprocess
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.campaign import kill_points
from tests.campaign.kill_oracle import Story, conserved
from tests.campaign.kill_server import BadDay
from tests.campaign.kill_worker import Orders
from tests.clients import worker
from tests.servers.connect import ConnectServer
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    import random

    from tests.campaign.point import Run, Trial

SCRIPT = "from tests.campaign.kill_worker import main; main()"
GENERATIONS = ((1, 5), (2, 4), (3, 3), (4, 2), (2, 2))
"""How many, and of how many workers: fewer deaths in all than make the spool suspect a batch of being deadly."""

REACHING = 1.5
"""Seconds that a worker has to come to its crash point; then it is killed wherever it is."""


@dataclass(frozen=True)
class Fate:
    """
    How a worker ends.

    Attributes:
        orders: What it is to do until then.
        kind: "killed", "point", "told" to end or "let" end.
        instant: Seconds after it began, for who is killed or told.
        together: All who meet here are killed at one instant.
    """

    orders: Orders
    kind: str
    instant: float
    together: threading.Barrier | None


def run(run: Run) -> None:
    """Kill workers until the time is used up."""
    for trial in run.trials():
        with tempfile.TemporaryDirectory() as folder, ConnectServer() as server:
            one_trial(run, trial, Path(folder), server)


def one_trial(run: Run, trial: Trial, folder: Path, server: ConnectServer) -> None:
    """Some generations of workers on one spool."""
    rng = trial.rng
    spool_path = folder / "spool.db"
    config = _config(rng)
    story = Story()
    weather = BadDay(server, trial.seed, failing=rng.choice([0, 0.2, 0.5]), away=rng.random(), most=rng.choice([4, 50]))
    generations, workers = rng.choice(GENERATIONS)
    with weather:
        for generation in range(generations):
            fates = _draw(rng, [f"g{generation}w{number}" for number in range(workers)], folder, config)
            with ThreadPoolExecutor(workers) as nursery:
                ends = list(nursery.map(lambda fate: live(fate, server.url, spool_path), fates))
            for fate, end in zip(fates, ends, strict=True):
                _tell(run, trial, story, fate, end)
    events = conserved(trial, story, server, spool_path, **config)
    run.count(events=events, uploads=len(server.requests), downtimes=weather.downtimes)
    run.count(repeats=len(server.ids()) - len(set(server.ids())))


def _config(rng: random.Random) -> dict[str, Any]:
    return {
        "synchronous": rng.choice(["normal", "normal", "full"]),
        "sent_retention_seconds": rng.choice([0, 3600]),
        "max_spool_bytes": rng.choice([4 << 20, 64 << 20]),
        "flush_interval_ms": rng.choice([1, 50]),
        "flush_batch_size": rng.choice([1, 7, 50]),
        "flush_timeout_seconds": 0.3,
        "request_timeout_seconds": 2,
    }


def _draw(rng: random.Random, names: list[str], folder: Path, config: dict[str, Any]) -> list[Fate]:
    together = threading.Barrier(len(names)) if rng.random() < 0.3 else None
    return [_fate(rng, name, folder, config, together) for name in names]


def _fate(
    rng: random.Random, name: str, folder: Path, config: dict[str, Any], together: threading.Barrier | None
) -> Fate:
    role = rng.choice(["writer", "uploader", "both", "both"])
    kind = "killed" if together else rng.choice(["killed", "killed", "point", "point", "point", "told", "let"])
    orders = Orders(
        name,
        str(folder / name),
        threads=0 if role == "uploader" else rng.choice([1, 3]),
        events=rng.choice([5, 60, 200]),
        pause=rng.choice([0, 0.001, 0.01]),
        largest=rng.choice([1000, 60_000]),
        poison=rng.choice([0, 0, 0.03]),
        config=config | {"sender": role != "writer"},
        patience=rng.choice([0, 0.2, 2]),
        point=rng.choice(kill_points.POINTS) if kind == "point" else None,
        times=rng.choice([1, 1, 2, 5]),
    )
    if kind == "let" and role == "uploader":
        kind = "told"
    return Fate(orders, kind, 10 ** rng.uniform(-4, -0.1), together)


def live(fate: Fate, url: str, spool_path: Path) -> tuple[int, str]:
    """Run a worker to its end; its exit code, and what it logged."""
    with worker(SCRIPT, url, spool_path, fate.orders.encoded(), stderr=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        if fate.together:
            fate.together.wait(PATIENCE)
        if fate.kind in {"killed", "told"}:
            time.sleep(fate.instant)
            process.kill() if fate.kind == "killed" else process.terminate()
        try:
            _, logged = process.communicate(timeout=REACHING if fate.kind == "point" else PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            _, logged = process.communicate()
    return process.returncode, logged


def _tell(run: Run, trial: Trial, story: Story, fate: Fate, end: tuple[int, str]) -> None:
    """Add a worker's life to the story, and see that it ended as it should, without an error logged."""
    returncode, logged = end
    log = Path(fate.orders.log)
    story.tell(fate.orders, log.read_text().splitlines() if log.exists() else [])
    allowed = {"killed": (-9, 0), "point": (-9, 0), "told": (0, -15), "let": (0,)}[fate.kind]
    trial.check(f"{fate} ends well, not with {end}", holds=returncode in allowed)
    trial.check(f"{fate} logs no error: {logged}", holds="ERROR" not in logged and "Traceback" not in logged)
    run.count(workers=1, kills=returncode == -9, ends=returncode != -9)
    if story.died and story.died[-1] == fate.orders.point:
        run.count(crash_points=1)
