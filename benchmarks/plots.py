"""Draw the plots as SVG: `python -m benchmarks.plots results.json FOLDER`. The same figures give the same bytes."""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt
from matplotlib.ticker import NullLocator

from benchmarks.figures import Figures, ratio

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

mpl.rcParams.update(
    {"svg.hashsalt": "alignai", "svg.fonttype": "none", "axes.grid": True, "grid.alpha": 0.3, "font.size": 9}
)

_COLOURS = {
    "alignai": "#0b62a4",
    "alignai full": "#0b62a4",
    "alignai sending": "#3fa7d6",
    "alignai full sending": "#3fa7d6",
    "vendor": "#d1495b",
    "vendor sending": "#d1495b",
    "SQLite insert": "black",
    "write+fdatasync": "black",
    "persist-queue": "#7b4fa3",
    "diskcache": "#e08e0b",
    "litequeue": "#3a8f3a",
    "huey": "#8c5a3c",
    "requests.post": "black",
    "http.client": "grey",
}
_DASHED = ("alignai full", "alignai full sending", "vendor sending", "write+fdatasync")
_SIZE = 256
_PERCENTILES = {0.5: "50", 0.1: "90", 0.01: "99", 0.001: "99.9", 0.0001: "99.99"}
"""Names of the percentiles, by the share of the calls that take longer."""


def _line(axes: Axes, contestant: str, points: Sequence[tuple[float, float]], **style: Any) -> None:
    dashes = "--" if contestant in _DASHED else "-"
    style = {"color": _COLOURS.get(contestant), "linestyle": dashes, "label": contestant, **style}
    axes.plot([x for x, _ in points], [y for _, y in points], **style)


def _curves(axes: Axes, cells: list[dict[str, Any]]) -> None:
    """Draw latency against the share of the calls that take longer, so that the tail is as wide as the bulk."""
    for cell in cells:
        curves = [each["curve"] for each in cell["rounds"] if each]
        shortest = min(map(len, curves))
        points = [
            (curves[0][index][0], statistics.median(curve[index][1] for curve in curves)) for index in range(shortest)
        ]
        _line(axes, cell["contestant"], points)
    axes.set(xscale="log", yscale="log", xlabel="percentile of the calls", ylabel="µs")
    axes.invert_xaxis()
    axes.set_xticks(list(_PERCENTILES), labels=list(_PERCENTILES.values()))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))


def latency(experiments: dict[str, Figures]) -> Figure:
    """Draw the latency of one call, for all contestants."""
    figure, axes = plt.subplots(figsize=(8, 5))
    cells = [each for each in experiments["append"].results if each["size"] == _SIZE]
    _curves(axes, [each for each in cells if not each["contestant"].startswith("Spool")])
    axes.set_title(f"One call with {_SIZE} characters, back to back")
    return figure


def processes(experiments: dict[str, Figures]) -> Figure:
    """Draw the latency of one call if many processes share a spool."""
    results = experiments["processes"].results
    most = max(each["processes"] for each in results if "per_second" not in each and each["processes"] <= 8)  # noqa: PLR2004
    figure, axes = plt.subplots(figsize=(8, 5))
    _curves(axes, [each for each in results if each["processes"] == most and "per_second" not in each])
    axes.set_title(f"{most} processes on one spool, back to back")
    return figure


def drain(experiments: dict[str, Figures]) -> Figure:
    """Draw the drain rate against the batch size, with a panel for each latency."""
    figures = experiments["drain"]
    latencies = figures.values("latency_ms")
    figure, panels = plt.subplots(1, len(latencies), figsize=(10, 4), squeeze=False)
    for axes, delay in zip(panels[0], latencies, strict=True):
        for contestant in figures.values("contestant"):
            cells = figures.all(contestant, latency_ms=delay)
            _line(axes, contestant, [(each["batch"], _median(each, "rate")) for each in cells], marker="o")
        axes.set(xscale="log", yscale="log", xlabel="events in a batch", title=f"server takes {delay} ms")
        axes.set_xticks(figures.values("batch"), labels=[str(each) for each in figures.values("batch")])
        axes.xaxis.set_minor_locator(NullLocator())
    panels[0][0].set_ylabel("events/s")
    panels[0][0].legend(fontsize="small")
    return figure


def threads(experiments: dict[str, Figures]) -> Figure:
    """Draw events a second against threads."""
    figures = experiments["threads"]
    figure, axes = plt.subplots(figsize=(8, 4))
    for contestant in figures.values("contestant"):
        cells = figures.all(contestant)
        _line(axes, contestant, [(each["threads"], _median(each, "rate")) for each in cells], marker="o")
    axes.set_xscale("log", base=2)
    axes.set(yscale="log", xlabel="threads", ylabel="events/s", title="Threads of one process")
    axes.legend(fontsize="small")
    return figure


def backlog(experiments: dict[str, Figures]) -> Figure:
    """Draw the cost of a backlog: the speed relative to an empty spool, and the times of opening, stats and inspect."""
    figures = experiments["scale"]
    scales = figures.values("scale")
    figure, (speed, looks) = plt.subplots(1, 2, figsize=(10, 4))
    _line(speed, "append", _relative(figures, "append", "p50", inverse=True), marker="o", color="#0b62a4")
    _line(speed, "drain", _relative(figures, "drain", "rate", inverse=False), marker="s", color="#3fa7d6")
    speed.set(ylim=(0, None), ylabel="speed, empty spool = 1", title="Append and drain")
    for name, colour in (("open_ms", "#0b62a4"), ("stats_ms", "#3fa7d6"), ("inspect_ms", "black")):
        points = [(scales.index(each["scale"]), _median(each, name)) for each in figures.all("alignai", step="append")]
        _line(looks, name.removesuffix("_ms"), points, marker="o", color=colour)
    looks.set(yscale="log", ylabel="ms", title="Open, stats and the inspect command")
    for axes in (speed, looks):
        axes.set_xticks(range(len(scales)), labels=[f"{each:,}" for each in scales])
        axes.set_xlabel("events pending")
        axes.legend(fontsize="small")
    return figure


def _relative(figures: Figures, step: str, figure: str, *, inverse: bool) -> list[tuple[float, float]]:
    empty = figures.find("alignai", step=step, scale=0)
    scales = figures.values("scale")
    cells = [(scales.index(each["scale"]), ratio(each, empty, figure)) for each in figures.all("alignai", step=step)]
    return [(scale, 1 / each.median if inverse else each.median) for scale, each in cells if each]


def _median(cell: dict[str, Any], figure: str) -> float:
    return float(statistics.median(each[figure] for each in cell["rounds"] if each))


_PLOTS = {"append": latency, "processes": processes, "drain": drain, "threads": threads, "scale": backlog}


def main() -> None:
    figures, folder = (Path(argument) for argument in sys.argv[1:])
    results = json.loads(figures.read_text(encoding="utf-8"))["experiments"]
    experiments = {name: Figures(each) for name, each in results.items()}
    for name, plot in _PLOTS.items():
        if name in experiments:
            figure = plot(experiments)
            figure.tight_layout()
            figure.savefig(folder / f"{plot.__name__}.svg", metadata={"Date": None})
            plt.close(figure)


if __name__ == "__main__":
    main()
