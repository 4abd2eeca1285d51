"""Real processes beside a test, which it talks to line by line."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]

BEGIN = f"""
import os, sqlite3, sys, time, types
from pathlib import Path
sys.modules['alignai'] = package = types.ModuleType('alignai')
package.__path__ = [{str(ROOT / "alignai")!r}]  # the spool needs nothing of the SDK, whose import takes its time
from alignai.spool import *
PATH = Path(sys.argv[1])
def say(*words): print(*words, flush=True)
def hear(): return sys.stdin.readline().strip()
def checkpoint():  # as another program does
    other = sqlite3.connect(PATH)
    other.execute("PRAGMA wal_checkpoint(PASSIVE)")
    other.close()
def spool(**kwargs): return Spool(PATH, **({{"project_id": "project"}} | kwargs))
"""
"""The beginning of every script."""


class Process:
    """A running script of a test."""

    def __init__(self, popen: subprocess.Popen[str]) -> None:
        self.popen = popen

    def hear(self) -> str:
        """Return its next line, or an empty string once it has ended."""
        assert self.popen.stdout
        return self.popen.stdout.readline().strip()

    def say(self, text: str = "") -> None:
        """Write a line to it."""
        assert self.popen.stdin
        self.popen.stdin.write(text + "\n")
        self.popen.stdin.flush()

    def ask(self, text: str = "") -> str:
        """Write a line and return its answer."""
        self.say(text)
        return self.hear()

    def kill(self) -> None:
        """End it as `kill -9` does."""
        self.popen.kill()
        self.popen.wait(30)

    def end(self) -> None:
        """Let it end by itself and check that it had no error."""
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
    """Run *script* to its end and return its output."""
    command = [sys.executable, "-c", BEGIN + script, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def fork() -> None:
    """Fork a child that ends at once. In this process, the spools do what they do around any fork."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads, since Python 3.12
        child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
