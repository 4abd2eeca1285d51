"""`python -m benchmarks`: make the environments, measure, and write the report."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import environments, report
from benchmarks.machine import machine
from benchmarks.plan import FULL, QUICK, Effort, Experiment, plan
from benchmarks.runner import Runner, serving

_HERE = Path(__file__).parent
_LAST = _HERE / ".last"
_ROUNDS = 3


def main() -> int:
    arguments = _arguments()
    pythons = environments.make()
    if arguments.report:
        _write(json.loads((_HERE / report.FIGURES).read_text(encoding="utf-8")), _HERE, pythons)
        return 0
    arguments.work.mkdir(parents=True, exist_ok=True)
    with (
        serving(pythons[environments.OURS]) as servers,
        tempfile.TemporaryDirectory(dir=arguments.work) as folder,
    ):
        runner = Runner(pythons, servers, Path(folder))
        if arguments.job:
            print(json.dumps(runner.job(json.loads(arguments.job), Path(folder))))
            return 0
        figures = _measure(arguments, runner, Path(folder))
    figures["versions"] = {name: json.loads(environments.versions_in(python)) for name, python in pythons.items()}
    whole = not arguments.quick and not arguments.names
    _write(figures, _HERE if whole else _LAST, pythons)
    for failure in runner.failures:
        print(f"failed: {failure.splitlines()[0]}", file=sys.stderr)
    return 1 if runner.failures else 0


def _arguments() -> argparse.Namespace:
    names = list(plan(QUICK))
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure alignai beside other queues.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"only these: {', '.join(names)}")
    parser.add_argument("--quick", action="store_true", help="check that everything works; the figures mean nothing")
    parser.add_argument("--rounds", type=int, help=f"number of rounds (default: {_ROUNDS})")
    parser.add_argument("--scale", type=int, action="append", default=[], help="one more backlog, in events")
    parser.add_argument(
        "--work", type=Path, default=_HERE / ".work", help="folder for spools and queues, on the disk to measure"
    )
    parser.add_argument("--report", action="store_true", help="write the report again, from the committed figures")
    parser.add_argument("--job", metavar="JSON", help="run one job, and print its figures")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(names):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    if arguments.report and not (_HERE / report.FIGURES).exists():
        parser.error(f"there is no {report.FIGURES} yet: run the whole suite")
    return arguments


def _measure(arguments: argparse.Namespace, runner: Runner, work: Path) -> dict[str, Any]:
    rounds = arguments.rounds or (1 if arguments.quick else _ROUNDS)
    about = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "rounds": rounds,
        "quick": arguments.quick,
        "machine": machine(work),
    }
    chosen = _chosen(arguments, QUICK if arguments.quick else FULL)
    return {**about, "experiments": {experiment.name: runner.run(experiment, rounds) for experiment in chosen}}


def _chosen(arguments: argparse.Namespace, effort: Effort) -> list[Experiment]:
    effort = dataclasses.replace(effort, scales=(*effort.scales, *arguments.scale))
    return [experiment for name, experiment in plan(effort).items() if name in (arguments.names or name)]


def _write(figures: dict[str, Any], folder: Path, pythons: dict[str, Path]) -> None:
    folder.mkdir(exist_ok=True)
    (folder / report.FIGURES).write_text(json.dumps(figures, separators=(",", ":")) + "\n", encoding="utf-8")
    (folder / report.REPORT).write_text(report.render(figures), encoding="utf-8")
    shutil.rmtree(folder / "plots", ignore_errors=True)
    (folder / "plots").mkdir()
    command: list[str | Path] = [pythons[environments.OURS], "-E", "-s", "-m", "benchmarks.plots"]
    subprocess.run([*command, folder / report.FIGURES, folder / "plots"], check=True, cwd=environments.REPOSITORY)
    print(f"written: {report.REPORT}, {report.FIGURES} and the plots, in {folder}")


if __name__ == "__main__":
    sys.exit(main())
