"""Other processes of a test: real ones, which the test talks to line by line."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]

BEGIN = f"""
import os, sys, time, types
from pathlib import Path
sys.modules['alignai'] = package = types.ModuleType('alignai')
package.__path__ = [{str(ROOT / "alignai")!r}]  # the spool needs nothing of the SDK, whose import takes its time
from alignai.spool import *
PATH = Path(sys.argv[1])
def say(*words): print(*words, flush=True)
def hear(): return sys.stdin.readline().strip()
def spool(**kwargs): return Spool(PATH, **({{"project_id": "project"}} | kwargs))
"""
"""What every script begins with."""


class Process:
    """A running script of a test."""

    def __init__(self, popen: subprocess.Popen[str]) -> None:
        self.popen = popen

    def hear(self) -> str:
        """What it says next; an empty string once it has ended."""
        assert self.popen.stdout
        return self.popen.stdout.readline().strip()

    def say(self, text: str = "") -> None:
        """Say something to it."""
        assert self.popen.stdin
        self.popen.stdin.write(text + "\n")
        self.popen.stdin.flush()

    def ask(self, text: str = "") -> str:
        """Say something, and hear what it says to that."""
        self.say(text)
        return self.hear()

    def kill(self) -> None:
        """End it as `kill -9` does."""
        self.popen.kill()
        self.popen.wait(30)

    def end(self) -> None:
        """Let it end by itself, and see that nothing went wrong in it."""
        rest, _ = self.popen.communicate(timeout=60)
        assert (self.popen.returncode, rest) == (0, "")


@contextmanager
def process(script: str, *arguments: object) -> Iterator[Process]:
    """Run *script*, whose first argument is the path of the spool."""
    command = [sys.executable, "-c", BEGIN + script, *map(str, arguments)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as popen:
        try:
            yield Process(popen)
        finally:
            popen.kill()


def run(script: str, *arguments: object) -> str:
    """Run *script* to its end; what it said."""
    command = [sys.executable, "-c", BEGIN + script, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
