"""Run experiments: every cell in an interpreter of its own, round by round, so that disturbances hit all alike."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.environments import OURS, VENDORS, variables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.plan import Cell, Experiment

_HERE = Path(__file__).parent
_MAX_SECONDS = 3600
_MAX_ERROR_LENGTH = 1000
LATENCIES_MS = (0, 20, 100)


class Runner:
    """
    Runs cells.

    Args:
        pythons: The interpreters by environment.
        servers: The local server's addresses by latency in milliseconds.
        work: The folder for spools and queues, on the disk that is measured.
    """

    def __init__(self, pythons: dict[str, Path], servers: dict[int, str], work: Path) -> None:
        self._pythons = pythons
        self._servers = servers
        self._work = work
        self.failures: list[str] = []

    def run(self, experiment: Experiment, rounds: int) -> list[dict[str, Any]]:
        """Run all rounds of an experiment, with the cells in turn in each, and return the figures by cell."""
        results = [{"contestant": cell.contestant, **cell.job, "rounds": []} for cell in experiment.cells]
        with tempfile.TemporaryDirectory(dir=self._work) as kept:
            results += [
                {"contestant": cell.contestant, **cell.job, "rounds": [self._try(cell, Path(kept))]}
                for cell in experiment.preparation
            ]
            for number in range(rounds):
                begin = time.monotonic()
                for cell, result in zip(experiment.cells, results, strict=False):
                    result["rounds"].append(self._try(cell, Path(kept)))
                seconds = time.monotonic() - begin
                print(f"{experiment.name}: round {number + 1} of {rounds}, {seconds:.0f} s", flush=True)
        return [result for result in results if any(result["rounds"])]

    def job(self, job: dict[str, Any], folder: Path) -> dict[str, Any]:
        """
        Run one job and return its figures.

        Raises:
            SubjectError: The job failed, or its environment is missing.
        """
        environment = VENDORS if job["contestant"].startswith("vendor") else OURS
        if environment not in self._pythons:
            raise SubjectError("its environment is missing")
        whole = {**job, "folder": str(folder), "server": self._servers[job.get("latency_ms", 0)]}
        ended = subprocess.run(
            [self._pythons[environment], "-E", "-s", _HERE / "subject.py"],
            input=json.dumps(whole),
            capture_output=True,
            text=True,
            timeout=_MAX_SECONDS,
            env=variables(),
            cwd=folder,
            check=False,
        )
        if ended.returncode:
            raise SubjectError(ended.stderr.strip()[-_MAX_ERROR_LENGTH:])
        figures: dict[str, Any] = json.loads(ended.stdout)
        return figures

    def _try(self, cell: Cell, kept: Path) -> dict[str, Any] | None:
        job = {"contestant": cell.contestant, **cell.job}
        folder = kept / cell.keep if cell.keep else Path(tempfile.mkdtemp(dir=self._work))
        folder.mkdir(exist_ok=True)
        try:
            return self.job(job, folder)
        except SubjectError as error:
            if cell.contestant.startswith("vendor") and VENDORS not in self._pythons:
                return None
            self.failures.append(f"{job}: {error}")
            print(self.failures[-1], file=sys.stderr, flush=True)
            return None
        finally:
            if not cell.keep:
                shutil.rmtree(folder, ignore_errors=True)


class SubjectError(Exception):
    """A job that failed."""


@contextmanager
def serving(python: Path | str) -> Iterator[dict[int, str]]:
    """Run the local server in a process of its own, and yield its addresses by latency."""
    command: list[str | Path] = [python, "-E", "-s", _HERE / "server.py", *(str(each) for each in LATENCIES_MS)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        ports = json.loads(server.stdout.readline() if server.stdout else "")
        yield {latency: f"http://127.0.0.1:{port}" for latency, port in zip(LATENCIES_MS, ports, strict=True)}
        server.terminate()
