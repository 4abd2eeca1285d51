"""
Processes: every way in which a Python program creates processes and ends.

A trial is one way: children by each method of multiprocessing, a pool, forks in threads, a prefork server, many
threads, sixteen workers, a frozen lease holder, an end without close. The server fails at times. Acknowledged events
arrive in the end, under one request id. `tests.faults.kill.oracle` checks it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.kill.oracle import Story, conserved
from tests.faults.kill.server import FaultyServer
from tests.faults.processes.place import LIFE, RECORDER, Place
from tests.faults.processes.uploads import FAULTLESS, UPLOADS
from tests.support.clients import worker
from tests.support.servers.connect import ConnectServer
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.scenario import Run, Trial


def children(method: str) -> Callable[[Place], None]:
    return lambda place: place.lives("children", method)


def pool(method: str) -> Callable[[Place], None]:
    return lambda place: place.lives("pool", method)


def sixteen(place: Place) -> None:
    """Let sixteen processes record and upload at the same time."""
    workers = [place.worker(RECORDER, place.orders(f"w{n}", events=40, patience=3).encoded()) for n in range(16)]
    for each in workers:
        with each:
            place.ended(each)


def frozen(place: Place) -> None:
    """Stop the lease holder at some instant while another process continues, and then let it continue too."""
    rng = place.trial.rng
    with (
        place.worker(RECORDER, place.orders("leader", events=100_000, pause=0.001).encoded()) as leader,
        place.worker(RECORDER, place.orders("other", events=300, pause=0.002).encoded()) as other,
    ):
        for _ in range(3):
            wait_until(lambda: place.server.requests)
            leader.send_signal(signal.SIGSTOP)
            with contextlib.suppress(subprocess.TimeoutExpired):
                other.wait(rng.uniform(0.05, 0.4))
            leader.send_signal(signal.SIGCONT)
        place.ended(other)
        leader.kill()
        place.ended(leader, -signal.SIGKILL)


def just_ends(place: Place) -> None:
    place.lives("just_ends", script=place.trial.rng.choice([LIFE, LATE_WORK]))


def terminated(place: Place) -> None:
    """Send SIGTERM, which ends a Python process at once by default."""
    with place.worker(LIFE, "just_ends", place.orders("parent", pause=0.001).encoded(), "") as process:
        wait_until(lambda: len(place.server.requests) > place.trial.rng.randint(0, 5))
        process.terminate()
        place.ended(process, -signal.SIGTERM, 0)


def prefork(kind: str) -> Callable[[Place], None]:
    """Run gunicorn with --preload: the master makes the client, workers are forked and replaced, and one is killed."""
    return lambda place: _prefork(place, kind)


def _prefork(place: Place, kind: str) -> None:
    bound = place.folder / "socket"
    options = ["--preload", "--workers", "3", "--worker-class", kind, "--max-requests", "20", "--bind", f"unix:{bound}"]
    settings = [
        "--worker-tmp-dir",
        str(place.folder),
        "--log-level",
        "warning",
        "--no-control-socket",
        "--graceful-timeout",
        "5",
    ]
    script = "from gunicorn.app.wsgiapp import run; run()"
    arguments = [*options, *settings, "tests.faults.processes.app:app"]
    environment = {"ORDERS": place.orders("app").encoded()}
    with worker(
        script, place.server.url, place.spool_path, *arguments, env=environment, stderr=subprocess.PIPE
    ) as master:
        try:
            wait_until(bound.exists)
            with ThreadPoolExecutor(6) as threads:
                answers = list(threads.map(lambda number: visit(bound, kills=number == 60), range(120)))
            place.trial.check("the workers answer", holds=len([each for each in answers if each]) > 60)
            master.terminate()
            _, logged = master.communicate(timeout=90)
        finally:
            master.kill()
    place.trial.check(f"gunicorn ends well: {logged}", holds=master.returncode == 0 and "Traceback" not in logged)


def visit(bound: Path, *, kills: bool = False) -> int | None:
    """Send one request and return the process id of the worker, or None without an answer. Kill it if *kills*."""
    connection = HTTPConnection("app", timeout=VISIT)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(VISIT)
    try:
        connection.sock.connect(str(bound))
        connection.request("GET", "/")
        pid = int(connection.getresponse().read())
    except (OSError, HTTPException, ValueError):
        return None
    finally:
        connection.close()
    if kills:
        os.kill(pid, signal.SIGKILL)
    return pid


GREEN_LIFE = "from gevent import monkey; monkey.patch_all(); " + LIFE
LATE_WORK = "import atexit, sys; atexit.register(lambda: sys.modules['tests.faults.processes.worker'].work(5)); " + LIFE
VISIT = 5.0
"""Seconds that a web application may take to answer."""

WAYS: dict[str, Callable[[Place], None]] = {
    "fork": children("fork"),
    "gunicorn sync": prefork("sync"),
    "frozen": frozen,
    "pool fork": pool("fork"),
    "forking threads": lambda place: place.lives("forking_threads"),
    "just ends": just_ends,
    "many threads": lambda place: place.lives("many_threads", "1000"),
    "forgotten": lambda place: place.lives("forgotten", "20"),
    "sixteen": sixteen,
    "spawn": children("spawn"),
    "forkserver": children("forkserver"),
    "pool spawn": pool("spawn"),
    "gunicorn gthread": prefork("gthread"),
    "gunicorn gevent": prefork("gevent"),
    "gevent": lambda place: place.lives("many_threads", "100", GREEN_LIFE),
    "terminated": terminated,
    **UPLOADS,
}


def run(run: Run) -> None:
    """Try one way after the other until the time is used up."""
    for trial in run.trials():
        one_trial(run, trial, list(WAYS)[int(trial.seed.rpartition("/")[2]) % len(WAYS)])


def one_trial(run: Run, trial: Trial, way: str) -> None:
    """Try one way, then check that nothing was lost."""
    rng = trial.rng
    config = {
        "synchronous": rng.choice(["normal", "full"]),
        "sent_retention_seconds": rng.choice([0, 3600]),
        "flush_interval_ms": rng.choice([1, 50]),
        "flush_batch_size": rng.choice([7, 50]),
        "flush_timeout_seconds": 1,
    }
    with tempfile.TemporaryDirectory() as folder, ConnectServer() as server:
        place = Place(trial, server, Path(folder), config)
        faulty = FaultyServer(server, trial.seed, failing=rng.choice([0, 0.2]), away=rng.choice([0, 0.3]), most=50)
        with contextlib.nullcontext() if way in FAULTLESS else faulty:
            WAYS[way](place)
        story = Story()
        story.add(place.orders("all"), (Path(folder) / "journal").read_text().splitlines())
        events = conserved(trial, story, server, place.spool_path, **config)
        run.count(events=events, uploads=len(server.requests), repeats=len(server.ids()) - len(set(server.ids())))
