"""Measure a fresh interpreter: the times to import the package and to the first event, and memory at rest."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .measure import Figures, Job

_REST = """
rest = next((int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmRSS")), 0)
print(json.dumps({"import_ms": (imported - begin) * 1e3, "first_event_ms": (done - imported) * 1e3, "rest": rest}))
"""

_BEGIN = "import time; begin = time.perf_counter()"

_PROGRAMS = {
    "bare": f"{_BEGIN}\nimported = done = begin\nimport json{_REST}",
    "vendor": f"""
{_BEGIN}
import alignai
imported = time.perf_counter()
sdk = alignai.AlignAI("BENCH", "KEY", "SERVER")
sdk.create_message("session-1", 1, "user", "Hey, you there?")
done = time.perf_counter()
import json{_REST}
sdk.close(5)
""",
    "alignai": f"""
{_BEGIN}
import alignai
imported = time.perf_counter()
sdk = alignai.AlignAI("BENCH", "KEY", "SERVER", alignai.Config(spool_path="FOLDER/NUMBER.db"))
sdk.create_message("session-1", 1, "user", "Hey, you there?")
done = time.perf_counter()
import json{_REST}
sdk.close(5)
""",
}


def measure(job: Job) -> Figures:
    runs = [_run(job, number) for number in range(job["starts"] + 1)][1:]  # the first compiles
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def _run(job: Job, number: int) -> dict[str, float]:
    program = _PROGRAMS[job["contestant"]].replace("SERVER", job["server"]).replace("FOLDER", job["folder"])
    program = program.replace("NUMBER", str(number))
    begin = time.perf_counter()
    ended = subprocess.run([sys.executable, "-I", "-c", program], check=True, capture_output=True, text=True)
    figures: dict[str, float] = json.loads(ended.stdout)
    return {**figures, "whole_ms": (time.perf_counter() - begin) * 1e3}
