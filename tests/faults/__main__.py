"""`python -m tests.faults`: run the scenarios for longer than the tests do."""

from __future__ import annotations

import argparse
import random
import sys
import time
from importlib import import_module

from tests.faults import SCENARIOS, SLOW
from tests.faults.scenario import Run


def main() -> int:
    """Run the scenarios and return 0 if every promise held."""
    args = _parser().parse_args()
    runs = _replayed(args) if args.replay else _planned(args)
    broken = [run.scenario for run in runs if not _held(run)]
    print("broken: " + ", ".join(broken) if broken else "every promise held")
    return 1 if broken else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m tests.faults", description="Try to break the SDK's promises.")
    parser.add_argument("scenarios", nargs="*", choices=[*SCENARIOS, []], help="which scenarios (default: all)")
    parser.add_argument("--minutes", type=float, default=10, help="for all scenarios together (default: 10)")
    parser.add_argument("--seed", type=int, help="the source of all randomness (default: a new one)")
    parser.add_argument("--replay", metavar="SEED", help="run one trial again, by the seed that its failure printed")
    return parser


def _planned(args: argparse.Namespace) -> list[Run]:
    scenarios = args.scenarios or [each for each in SCENARIOS if args.minutes >= SLOW.get(each, 0)]
    seed = random.randrange(10**6) if args.seed is None else args.seed
    print(f"seed {seed}, {args.minutes:g} minutes, scenarios: {', '.join(scenarios)}", flush=True)
    return [Run(each, seed, args.minutes * 60 / len(scenarios)) for each in scenarios]


def _replayed(args: argparse.Namespace) -> list[Run]:
    seed, scenario, number = args.replay.split("/")
    return [Run(scenario, int(seed), args.minutes * 60, only=int(number))]


def _held(run: Run) -> bool:
    began = time.monotonic()
    try:
        import_module(f"tests.faults.{run.scenario}.scenario").run(run)
        verdict = "held"
    except AssertionError as error:
        verdict = f"BROKEN: {error}"
    figures = ", ".join(f"{number:,} {name.replace('_', ' ')}" for name, number in run.figures.items())
    print(f"{run.scenario:10} {time.monotonic() - began:7.1f} s  {figures}: {verdict}", flush=True)
    return verdict == "held"


if __name__ == "__main__":
    sys.exit(main())
