"""
A demonstration: a worker records conversations, its server stops for a while, and its process is killed.

`python -m alignai.demo [--input FILE.jsonl] [--keep]`. Everything is real: a local collector that accepts the events, a
worker process that records through the SDK, an outage, and a SIGKILL at a random moment. The figures at the end are
counted from the events that the SDK acknowledged and those that the collector received.
"""

from __future__ import annotations

import argparse
import json
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from alignai import AlignAI
from alignai._console import print_table
from alignai.collector.collector import Collector
from alignai.demo import conversations
from alignai.demo.conversations import InputError, Step
from alignai.demo.scenario import Scenario, WorkerError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FLUSH_SECONDS = 30
_WORK = "_work"
WORKER = (sys.executable, "-m", "alignai.demo", _WORK)


def work(steps_file: Path, first: int, pause: float) -> int:
    """Run the worker: record the steps from *first* on, print a line for each acknowledged one, then flush."""
    lines = steps_file.read_text().splitlines()
    with AlignAI() as sdk:
        for step in (Step(**json.loads(line)) for line in lines[first:]):
            before = time.perf_counter_ns()
            event_id = getattr(sdk, step.method)(**step.arguments, event_id=step.event_id)
            print(event_id, (time.perf_counter_ns() - before) / 1000, flush=True)
            time.sleep(pause)
        if not sdk.flush(FLUSH_SECONDS):
            print(f"not everything was delivered within {FLUSH_SECONDS} s", file=sys.stderr)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demonstration. Return 0 if all acknowledged events arrived, 1 if not, 2 if the input is invalid."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == [_WORK]:
        return work(Path(arguments[1]), int(arguments[2]), float(arguments[3]))
    parser = argparse.ArgumentParser(
        "python -m alignai.demo",
        description="Record conversations during an outage and a kill, and count the events received.",
    )
    parser.add_argument("--input", type=Path, help='conversations, one {"messages": [...]} a line (default: built in)')
    parser.add_argument("--keep", action="store_true", help="keep the folder with the spool")
    options = parser.parse_args(arguments)
    try:
        script = conversations.read(_lines(options.input))
    except (OSError, InputError) as error:
        parser.error(f"--input {options.input}: {error}")
    with _folder(keep=options.keep) as folder:
        return run(Scenario(script, Collector(api_key=secrets.token_urlsafe()), folder, WORKER, say=_say))


def run(scenario: Scenario) -> int:
    """Run a scenario, print its figures and those of `inspect`, and return the exit code."""
    try:
        report = scenario.run()
    except (WorkerError, OSError) as error:
        _say(f"failed: {error}")
        return 1
    _say("")
    print_table(report.rows())
    _say("")
    view = [sys.executable, "-m", "alignai.spool", "inspect", str(scenario.spool)]
    inspected = subprocess.run(view, env=scenario.environment(), check=False)  # noqa: S603 - our own module
    return 1 if report.check.lost or inspected.returncode else 0


def _lines(path: Path | None) -> list[bytes]:
    return conversations.sample() if path is None else path.read_bytes().split(b"\n")


@contextmanager
def _folder(*, keep: bool) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="alignai-demo-"))
    try:
        yield folder
    finally:
        if keep:
            _say(f"kept: {folder}")
        else:
            shutil.rmtree(folder)


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
