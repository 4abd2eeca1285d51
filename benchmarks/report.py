"""Write RESULTS.md from the figures."""

from __future__ import annotations

from typing import Any, Final

from benchmarks import tables, targets
from benchmarks.figures import Figures

FIGURES: Final = "results.json"
REPORT: Final = "RESULTS.md"

_OTHERS: Final = ("requests", "urllib3", "marshmallow", "filelock", "diskcache", "huey", "litequeue", "persist-queue")
_VENDORS: Final = ("alignai", "protobuf", "requests")

_SECTIONS: Final = {
    "append": ("One call, back to back", tables.append, "latency.svg"),
    "parts": ("What a call is made of", tables.append, ""),
    "paced": ("One call, at 1,000 a second", tables.append, ""),
    "drain": ("Draining a backlog", tables.drain, "drain.svg"),
    "threads": ("Threads", tables.threads, "threads.svg"),
    "processes": ("Processes on one spool", tables.processes, "processes.svg"),
    "scale": ("With a backlog", tables.scale, "backlog.svg"),
    "cost": ("What it costs the worker, at 1,000 events a second", tables.cost, ""),
    "start": ("Starting", tables.start, ""),
}


def render(figures: dict[str, Any]) -> str:
    """Return the report."""
    experiments = {name: Figures(results) for name, results in figures["experiments"].items()}
    return "\n".join(
        [
            "# Results\n",
            f"Written by `python -m benchmarks`, {figures['date']}. [README.md](README.md) says how everything is",
            "measured, and how to read the figures. Each figure is the median of the rounds, with the least and the",
            f"most of them in brackets. There were {figures['rounds']} rounds. A ratio is taken within a round.\n",
            *(["**From a quick run: everything works, and no figure means anything.**\n"] if figures["quick"] else []),
            _setting(figures),
            "## Targets\n",
            targets.render(experiments),
            *(_section(name, each) for name, each in experiments.items()),
        ]
    )


def _setting(figures: dict[str, Any]) -> str:
    versions = figures["versions"]
    ours, vendors = versions.get("ours", {}), versions.get("vendor")
    rows = list(figures["machine"].items())
    rows += [(name, ours[name]) for name in ("Python", "SQLite")]
    rows.append(("packages", _listed(ours, _OTHERS)))
    rows.append(("the official alignai's environment", _listed(vendors, _VENDORS) if vendors else "missing"))
    return tables.table(["", ""], [[name, str(value)] for name, value in rows])


def _listed(versions: dict[str, str], names: tuple[str, ...]) -> str:
    return ", ".join(f"{name} {versions[name]}" for name in names if name in versions)


def _section(name: str, figures: Figures) -> str:
    title, render_table, plot = _SECTIONS[name]
    picture = f"![{title}](plots/{plot})\n\n" if plot else ""
    return f"## {title}\n\n{picture}{render_table(figures)}"
