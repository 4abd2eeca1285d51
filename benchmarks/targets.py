"""The targets, and whether they are met."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.figures import Figures, Spread, ratio
from benchmarks.tables import MIB, format_spread, growth_of_memory, table

if TYPE_CHECKING:
    from collections.abc import Iterator

_RECORDED = 256
"""Characters of the message in the targets."""


@dataclass(frozen=True)
class Target:
    """
    One figure with a limit.

    Attributes:
        name: The name of the figure.
        limit: The most that it may be, or with `at_least`, the least.
        measured: The figure, None if it was not measured.
        scale: The factor between the figure and the unit.
        unit: The unit that the report shows.
    """

    name: str
    limit: float
    measured: Spread | None
    at_least: bool = False
    scale: float = 1.0
    unit: str = ""

    @property
    def met(self) -> bool | None:
        """Return whether the median of the rounds meets the limit, None if it was not measured."""
        if self.measured is None:
            return None
        return self.measured.median >= self.limit if self.at_least else self.measured.median <= self.limit


def render(experiments: dict[str, Figures]) -> str:
    """Return the targets as a table."""
    verdicts = {True: "yes", False: "**no**", None: "not measured"}
    rows = [
        [
            target.name,
            f"{'≥' if target.at_least else '≤'} {target.limit * target.scale:g}{target.unit}",
            format_spread(target.measured, target.scale, target.unit),
            verdicts[target.met],
        ]
        for target in targets(experiments)
    ]
    return table(["", "target", "measured", "met"], rows)


def targets(experiments: dict[str, Figures]) -> Iterator[Target]:
    """Return every target."""
    none = Figures([])
    yield from _append(experiments.get("append", none))
    yield from _drain(experiments.get("drain", none))
    yield from _together(experiments.get("threads", none), experiments.get("processes", none))
    yield from _flat(experiments.get("scale", none))
    start = experiments.get("start", none)
    imported = ratio(start.find("alignai"), start.find("vendor"), "import_ms")
    yield Target("`import alignai`, ÷ vendor", 1.0, imported)


def _append(append: Figures) -> Iterator[Target]:
    alignai, vendor = (append.find(each, size=_RECORDED) for each in ("alignai", "vendor"))
    yield Target("committed event, p50 ÷ vendor's in memory", 1.0, ratio(alignai, vendor, "p50"))
    tail = append.spread("p99.9", "alignai", size=_RECORDED)
    yield Target("committed event, p99.9", 200, tail, unit=" µs")


def _drain(drain: Figures) -> Iterator[Target]:
    for latency in drain.values("latency_ms"):
        for batch in drain.values("batch"):
            alignai, vendor = (drain.find(each, latency_ms=latency, batch=batch) for each in ("alignai", "vendor"))
            name = f"drain at {latency} ms, batches of {batch}, ÷ vendor's flush"
            yield Target(name, 2.0, ratio(alignai, vendor, "rate"), at_least=True)


def _together(threads: Figures, processes: Figures) -> Iterator[Target]:
    many, one = (threads.find("alignai full", threads=each) for each in (16, 1))
    yield Target('"full", 16 threads, events/s ÷ one thread\'s', 5.0, ratio(many, one, "rate"), at_least=True)
    for contestant in ("alignai", "alignai sending"):
        tail = processes.spread("p99.9", contestant, processes=8, per_second=None)
        yield Target(f"8 processes, {contestant}, p99.9", 20_000, tail, scale=1e-3, unit=" ms")


def _flat(scale: Figures) -> Iterator[Target]:
    most = max(scale.values("scale"), default=0)
    append = {each: scale.find("alignai", scale=each, step="append") for each in (0, most)}
    drain = {each: scale.find("alignai", scale=each, step="drain") for each in (0, most)}
    pending = f"with {most:,} pending"
    yield Target(f"append {pending}, speed ÷ empty", 0.9, ratio(append[0], append[most], "p50"), at_least=True)
    yield Target(f"drain {pending}, speed ÷ empty", 0.9, ratio(drain[most], drain[0], "rate"), at_least=True)
    opened = scale.spread("open_ms", "alignai", scale=most, step="append")
    yield Target(f"open and first event {pending}", 50, opened, unit=" ms")
    inspected = scale.spread("inspect_ms", "alignai", scale=most, step="append")
    yield Target(f"`inspect` {pending}, the whole command", 200, inspected, unit=" ms")
    yield Target(f"memory {pending}, more than empty", 10 * MIB, growth_of_memory(scale, most), False, 1 / MIB, " MiB")
