"""Make the tables of the report, one for each experiment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.figures import Figures, Spread, difference, ratio

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MIB = 2**20
_CALLS_FOR_THOUSANDTH = 1000
_THREE_DIGITS = 100


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table. All columns but the first are figures."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def format_spread(spread: Spread | None, scale: float = 1.0, unit: str = "") -> str:
    """Return the median, with the least and the most of the rounds in brackets."""
    if spread is None:
        return "-"
    median, least, most = (_number(each * scale) for each in (spread.median, spread.least, spread.most))
    return f"{median}{unit}" if least == most else f"{median}{unit} ({least} to {most})"


def _number(value: float) -> str:
    if abs(value) >= _THREE_DIGITS:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= _THREE_DIGITS / 10 else f"{value:.2f}"


def append(figures: Figures) -> str:
    """Return the latency of one call, for each length of the content."""
    parts = [f"### {size:,} characters\n\n{_latencies(figures, size=size)}" for size in figures.values("size")]
    return "\n".join(parts)


def _latencies(figures: Figures, **parameters: Any) -> str:
    heads = ["µs", "p50", "p99", "p99.9", "max", "mean", "p50 ÷ vendor", "p50 ÷ SQLite insert"]
    cells = [each for each in figures.results if all(each.get(name) == value for name, value in parameters.items())]
    peers = [figures.find(each, **parameters) for each in ("vendor", "SQLite insert")]
    rows = []
    for cell in cells:
        spreads = [_of(cell, name) for name in ("p50", "p99", "p99.9", "max", "mean")]
        if min(each["calls"] for each in cell["rounds"] if each) < _CALLS_FOR_THOUSANDTH:
            spreads[2] = None
        ratios = [format_spread(ratio(cell, peer, "p50")) for peer in peers]
        rows.append([cell["contestant"], *map(format_spread, spreads), *ratios])
    return table(heads, rows)


def _of(cell: dict[str, Any], figure: str) -> Spread | None:
    return Spread.of(each[figure] for each in cell["rounds"] if each)


def drain(figures: Figures) -> str:
    """Return events a second out of a backlog."""
    heads = ["latency, batch", "who", "events/s", "÷ vendor", "÷ requests.post", "requests", "bytes an event"]
    rows = []
    for cell in figures.results:
        same = {"latency_ms": cell["latency_ms"], "batch": cell["batch"]}
        ratios = [
            format_spread(ratio(cell, figures.find(each, **same), "rate")) for each in ("vendor", "requests.post")
        ]
        more = [format_spread(_of(cell, figure)) for figure in ("requests", "bytes_per_event")]
        name = f"{cell['latency_ms']} ms, {cell['batch']}"
        rows.append([name, cell["contestant"], format_spread(_of(cell, "rate")), *ratios, *more])
    return table(heads, rows)


def threads(figures: Figures) -> str:
    """Return events a second of many threads in one process."""
    heads = ["threads", "who", "events/s", "÷ one thread", "p50 µs", "p99 µs", "p99.9 µs"]
    rows = []
    for cell in sorted(figures.results, key=lambda each: str(each["contestant"])):
        alone = figures.find(cell["contestant"], threads=1)
        latencies = [format_spread(_of(cell, figure)) for figure in ("p50", "p99", "p99.9")]
        gain = format_spread(ratio(cell, alone, "rate"))
        rows.append([str(cell["threads"]), cell["contestant"], format_spread(_of(cell, "rate")), gain, *latencies])
    return table(heads, rows)


def processes(figures: Figures) -> str:
    """Return latency and events a second of many processes on one spool."""
    heads = ["processes", "who", "events/s", "p50 µs", "p99 µs", "p99.9 µs", "max µs", "p99.9 ÷ SQLite insert"]
    rows = []
    for cell in figures.results:
        same = {"processes": cell["processes"], "per_second": cell.get("per_second")}
        latencies = [format_spread(_of(cell, figure)) for figure in ("p50", "p99", "p99.9", "max")]
        tail = format_spread(ratio(cell, figures.find("SQLite insert", **same), "p99.9"))
        pace = f", each {cell['per_second']}/s" if "per_second" in cell else ""
        name = f"{cell['processes']}{pace}"
        rows.append([name, cell["contestant"], format_spread(_of(cell, "rate")), *latencies, tail])
    return table(heads, rows)


def scale(figures: Figures) -> str:
    """Return the figures of the same work with more and more events pending."""
    heads = [
        "pending",
        "append p50 µs",
        "drain events/s",
        "open, first event ms",
        "stats ms",
        "inspect ms",
        "bytes an event",
    ]
    heads += ["peak MiB, appending", "peak MiB, draining", "more than empty, MiB"]
    rows = []
    for pending in figures.values("scale"):
        appended, drained = (figures.find("alignai", scale=pending, step=step) for step in ("append", "drain"))
        spreads = [
            format_spread(_of(appended or {"rounds": []}, "p50")),
            format_spread(_of(drained or {"rounds": []}, "rate")),
        ]
        looks = [
            format_spread(_of(appended or {"rounds": []}, figure)) for figure in ("open_ms", "stats_ms", "inspect_ms")
        ]
        file = format_spread(
            figures.spread("bytes_per_event", "alignai", pending=pending, step="fill") if pending else None
        )
        memory = [format_spread(_of(each or {"rounds": []}, "peak_memory"), 1 / MIB) for each in (appended, drained)]
        growth = format_spread(growth_of_memory(figures, pending), 1 / MIB)
        rows.append([f"{pending:,}", *spreads, *looks, file, *memory, growth])
    return table(heads, rows)


def growth_of_memory(figures: Figures, pending: int) -> Spread | None:
    """Return the bytes of memory that appending or draining takes more than on an empty spool, whichever is more."""
    steps = ("append", "drain")
    pairs = [[figures.find("alignai", scale=each, step=step) for each in (pending, 0)] for step in steps]
    grown = [difference(of, to, "peak_memory") for of, to in pairs]
    return max((each for each in grown if each), key=lambda each: each.median, default=None)


def cost(figures: Figures) -> str:
    """Return the processor time of the whole process for each event, at a steady pace."""
    heads = ["who", "CPU µs an event", "more than the loop alone", "÷ vendor sending", "p50 µs", "p99.9 µs", "peak MiB"]
    loop, vendor = figures.find("nothing"), figures.find("vendor sending")
    rows = [
        [
            cell["contestant"],
            format_spread(_of(cell, "cpu_us")),
            format_spread(difference(cell, loop, "cpu_us")),
            format_spread(ratio(cell, vendor, "cpu_us")),
            format_spread(_of(cell, "p50")),
            format_spread(_of(cell, "p99.9")),
            format_spread(_of(cell, "peak_memory"), 1 / MIB),
        ]
        for cell in figures.results
    ]
    return table(heads, rows)


def start(figures: Figures) -> str:
    """Return the figures of a fresh interpreter."""
    heads = ["who", "import ms", "÷ vendor", "client and first event ms", "whole process ms", "memory at rest MiB"]
    vendor = figures.find("vendor")
    rows = [
        [
            cell["contestant"],
            format_spread(_of(cell, "import_ms")),
            format_spread(ratio(cell, vendor, "import_ms")),
            format_spread(_of(cell, "first_event_ms")),
            format_spread(_of(cell, "whole_ms")),
            format_spread(_of(cell, "rest"), 1 / MIB),
        ]
        for cell in figures.results
    ]
    return table(heads, rows)
