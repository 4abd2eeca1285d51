"""`python -m tests.faults`: the long form, on the command line."""

from __future__ import annotations

import argparse
import random
import sys
import time
from importlib import import_module

from tests.faults import POINTS, SLOW
from tests.faults.scenario import Run


def main() -> int:
    """Run the points; 0 where every promise held."""
    given = _parser().parse_args()
    runs = _replayed(given) if given.replay else _planned(given)
    broken = [run.point for run in runs if not _held(run)]
    print("broken: " + ", ".join(broken) if broken else "every promise held")
    return 1 if broken else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m tests.faults", description="Try to break the SDK's promises.")
    parser.add_argument("points", nargs="*", choices=[*POINTS, []], help="which points (default: all)")
    parser.add_argument("--minutes", type=float, default=10, help="for all points together (default: 10)")
    parser.add_argument("--seed", type=int, help="what everything random follows from (default: a new one)")
    parser.add_argument("--replay", metavar="SEED", help="one trial again, by the seed that its failure printed")
    return parser


def _planned(given: argparse.Namespace) -> list[Run]:
    points = given.points or [point for point in POINTS if given.minutes >= SLOW.get(point, 0)]
    seed = random.randrange(10**6) if given.seed is None else given.seed
    print(f"seed {seed}, {given.minutes:g} minutes, points: {', '.join(points)}", flush=True)
    return [Run(point, seed, given.minutes * 60 / len(points)) for point in points]


def _replayed(given: argparse.Namespace) -> list[Run]:
    campaign, point, number = given.replay.split("/")
    return [Run(point, int(campaign), given.minutes * 60, only=int(number))]


def _held(run: Run) -> bool:
    began = time.monotonic()
    try:
        import_module(f"tests.faults.{run.point}.scenario").run(run)
        verdict = "held"
    except AssertionError as error:
        verdict = f"BROKEN: {error}"
    figures = ", ".join(f"{number:,} {name.replace('_', ' ')}" for name, number in run.figures.items())
    print(f"{run.point:10} {time.monotonic() - began:7.1f} s  {figures}: {verdict}", flush=True)
    return verdict == "held"


if __name__ == "__main__":
    sys.exit(main())
