"""Workers that carry out orders: a JSON object a line, each answered with one, so that it is seen when one dies."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.support.clients import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.scenario import Trial

BUSY_TIMEOUT_SECONDS = 60
"""Seconds within which any order is carried out, on a slow machine too."""


class Worker:
    """A process that carries out the orders of a trial."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self.popen = popen

    @classmethod
    @contextmanager
    def started(cls, module: str, before: tuple[str, ...] = (), **options: Any) -> Iterator[Worker]:
        """
        Run a module of the fault suite, and kill it when the block is left.

        Args:
            module: Its name, below `tests.faults`.
            before: The beginning of a command that starts it.
            options: Options of `subprocess.Popen`.
        """
        command = [*before, sys.executable, "-m", f"tests.faults.{module}"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(command, cwd=ROOT, **pipes, **options) as popen:
            try:
                yield cls(popen)
            finally:
                popen.kill()

    def does(self, trial: Trial, order: str, **arguments: object) -> dict[str, Any]:
        """Give an order and return the answer. Fail if the worker dies, hangs or raises an unexpected error."""
        self.begins(order, **arguments)
        return self.ends(trial, order)

    def begins(self, order: str, **arguments: object) -> None:
        """Give an order without waiting for its answer."""
        assert self.popen.stdin
        self.popen.stdin.write(json.dumps({"order": order, **arguments}).encode() + b"\n")
        self.popen.stdin.flush()

    def ends(self, trial: Trial, order: str) -> dict[str, Any]:
        """Return the answer to the order given before."""
        assert self.popen.stdout
        heard = select.select([self.popen.stdout], [], [], BUSY_TIMEOUT_SECONDS)[0]
        trial.check(f"{order} is over within {BUSY_TIMEOUT_SECONDS} s", holds=bool(heard))
        line = self.popen.stdout.readline()
        trial.check(f"the process survives {order}", holds=bool(line))
        answer: dict[str, Any] = json.loads(line)
        trial.check(f"{order} raises no other errors than the spool's: {answer}", holds="crash" not in answer)
        return answer

    def dies(self) -> None:
        """End it as `kill -9` does."""
        self.popen.kill()
        self.popen.wait(BUSY_TIMEOUT_SECONDS)
