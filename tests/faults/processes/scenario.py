"""
Processes: every way in which Python programs come to have several of them, and to end.

A trial is one way of living: children by each method of multiprocessing, a pool, forks in threads, a prefork server,
a crowd of threads, sixteen workers, a frozen leader, an end without close. The server fails now and then. What was
acknowledged arrives, in the end, under one request id: the oracle is that of `tests.faults.kill.oracle`.
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
from tests.faults.kill.server import BadDay
from tests.faults.processes.place import LIFE, RECORDER, Place
from tests.faults.processes.uploads import CALM, UPLOADS
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
    """Sixteen processes record and upload at once."""
    crew = [place.worker(RECORDER, place.orders(f"w{n}", events=40, patience=3).encoded()) for n in range(16)]
    for each in crew:
        with each:
            place.ended(each)


def frozen(place: Place) -> None:
    """The leader is stopped at some instant, the others go on, and it thaws."""
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
    """SIGTERM, which Python leaves to end the process at once."""
    with place.worker(LIFE, "just_ends", place.orders("parent", pause=0.001).encoded(), "") as process:
        wait_until(lambda: len(place.server.requests) > place.trial.rng.randint(0, 5))
        process.terminate()
        place.ended(process, -signal.SIGTERM, 0)


def prefork(kind: str) -> Callable[[Place], None]:
    """Gunicorn with --preload: the client is the master's, its workers are forked, replaced, and one is killed."""
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
            with ThreadPoolExecutor(6) as visitors:
                answers = list(visitors.map(lambda number: visit(bound, kills=number == 60), range(120)))
            place.trial.check("the workers answer", holds=len([each for each in answers if each]) > 60)
            master.terminate()
            _, logged = master.communicate(timeout=90)
        finally:
            master.kill()
    place.trial.check(f"gunicorn ends well: {logged}", holds=master.returncode == 0 and "Traceback" not in logged)


def visit(bound: Path, *, kills: bool = False) -> int | None:
    """Ask the web application once; who answered, killed for it if so wished, or None where nobody did."""
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
"""Seconds after which a web application has not answered."""

WAYS: dict[str, Callable[[Place], None]] = {
    "fork": children("fork"),
    "gunicorn sync": prefork("sync"),
    "frozen": frozen,
    "pool fork": pool("fork"),
    "forking threads": lambda place: place.lives("forking_threads"),
    "just ends": just_ends,
    "crowd": lambda place: place.lives("crowd", "1000"),
    "forgotten": lambda place: place.lives("forgotten", "20"),
    "sixteen": sixteen,
    "spawn": children("spawn"),
    "forkserver": children("forkserver"),
    "pool spawn": pool("spawn"),
    "gunicorn gthread": prefork("gthread"),
    "gunicorn gevent": prefork("gevent"),
    "gevent": lambda place: place.lives("crowd", "100", GREEN_LIFE),
    "terminated": terminated,
    **UPLOADS,
}


def run(run: Run) -> None:
    """One way after the other, until the time is used up."""
    for trial in run.trials():
        one_trial(run, trial, list(WAYS)[int(trial.seed.rpartition("/")[2]) % len(WAYS)])


def one_trial(run: Run, trial: Trial, way: str) -> None:
    """Live one way, then see that nothing was lost."""
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
        day = BadDay(server, trial.seed, failing=rng.choice([0, 0.2]), away=rng.choice([0, 0.3]), most=50)
        with contextlib.nullcontext() if way in CALM else day:
            WAYS[way](place)
        story = Story()
        story.tell(place.orders("all"), (Path(folder) / "log").read_text().splitlines())
        events = conserved(trial, story, server, place.spool_path, **config)
        run.count(events=events, uploads=len(server.requests), repeats=len(server.ids()) - len(set(server.ids())))
