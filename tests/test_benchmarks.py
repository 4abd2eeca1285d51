"""The arithmetic and the report of the benchmark suite. `python -m benchmarks --quick` proves that it measures."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import islice
from typing import Any
from urllib.request import urlopen

import pytest
import requests

from benchmarks import environments, figures, report, tables, targets
from benchmarks.plan import FULL, QUICK, Effort, plan
from benchmarks.runner import serving
from benchmarks.subjects import measure, recorders
from tests.support.vendor import VENDOR


def cell(contestant: str, *values: float | None, **parameters: Any) -> figures.Result:
    """Return a result whose rounds have *values* as their p50."""
    return {"contestant": contestant, **parameters, "rounds": [value and {"p50": value} for value in values]}


def appended(contestant: str, p50: float, tail: float) -> figures.Result:
    one = {"p50": p50, "p99": p50, "p99.9": tail, "max": tail, "mean": p50, "calls": 5000}
    return {"contestant": contestant, "size": 256, "rounds": [one]}


def results(**experiments: list[figures.Result]) -> dict[str, Any]:
    return {
        "date": "2026-01-01",
        "rounds": 1,
        "quick": False,
        "machine": {"processor": "a processor"},
        "versions": {"ours": {"Python": "3.11.7", "SQLite": "3.40.1", "huey": "3.5.4"}},
        "experiments": experiments,
    }


def test_a_spread_is_the_median_and_the_extremes() -> None:
    assert figures.Spread.of([3.0, 1.0, 2.0]) == figures.Spread(2.0, 1.0, 3.0)
    assert figures.Spread.of([]) is None


def test_a_ratio_is_taken_within_a_round() -> None:
    assert figures.ratio(cell("a", 10, 30, 20), cell("b", 5, 10, 20), "p50") == figures.Spread(2.0, 1.0, 3.0)


def test_a_difference_is_taken_within_a_round() -> None:
    assert figures.difference(cell("a", 10, 30), cell("b", 5, 10), "p50") == figures.Spread(12.5, 5, 20)


def test_a_round_that_failed_counts_for_nothing() -> None:
    assert figures.ratio(cell("a", 10, None), cell("b", 5, 1), "p50") == figures.Spread(2.0, 2.0, 2.0)
    assert figures.Figures([cell("a", None, 7)]).spread("p50", "a") == figures.Spread(7, 7, 7)


def test_a_missing_value_has_no_ratio() -> None:
    assert figures.ratio(cell("a", 10), None, "p50") is None


def test_a_cell_is_found_by_what_it_has_and_has_not() -> None:
    paced, plain = cell("a", 1, size=1, per_second=9), cell("a", 2, size=1)
    assert figures.Figures([paced, plain]).find("a", size=1, per_second=None) is plain


@pytest.mark.parametrize(("fraction", "expected"), [(0.0, 0.001), (0.5, 0.5), (0.99, 0.99), (0.999, 0.999), (1.0, 1.0)])
def test_a_quantile_is_a_value_that_was_measured(fraction: float, expected: float) -> None:
    assert measure.quantile(range(1, 1001), fraction) == expected


def test_latencies_are_summed_up_in_microseconds() -> None:
    got = measure.latency(range(1000, 101_000, 1000), curve=True)
    curve = got.pop("curve")
    assert got == {"calls": 100, "p50": 50.0, "p99": 99.0, "p99.9": 100.0, "max": 100.0, "mean": 50.5}
    assert curve[0] == [1.0, 1.0]
    assert [latency for _, latency in curve] == sorted(latency for _, latency in curve)


@pytest.mark.parametrize("size", [50, 256, 8_000, 200_000])
def test_messages_have_the_size_and_are_the_same_every_time(size: int) -> None:
    messages = list(measure.texts(size, 20))
    assert {len(message) for message in messages} == {size}
    assert messages == list(measure.texts(size, 20))


def test_compression_meets_no_message_twice_within_its_window() -> None:
    assert len(set(islice(measure.texts(256, 1000), 1000))) == 1000


@pytest.mark.parametrize("effort", [QUICK, FULL])
def test_every_planned_cell_is_reported_and_recorded(effort: Effort) -> None:
    experiments = plan(effort)
    assert set(experiments) == set(report._SECTIONS)
    append = {each.contestant for each in experiments["append"].cells}
    assert append == set(recorders._RECORDERS) - {"nothing"}


def test_the_report_says_which_targets_are_met() -> None:
    text = report.render(results(append=[appended("alignai", 12.0, 150.0), appended("vendor", 10.0, 90.0)]))
    assert "| committed event, p50 ÷ vendor's in memory | ≤ 1 | 1.20 | **no** |" in text
    assert "| committed event, p99.9 | ≤ 200 µs | 150 µs | yes |" in text
    assert "| `import alignai`, ÷ vendor | ≤ 1 | - | not measured |" in text


def test_a_rate_is_to_be_at_least_its_target() -> None:
    rates = [{"rate": 10.0}, {"rate": 60.0}]
    threads = [
        {"contestant": "alignai full", "threads": count, "rounds": [rate]}
        for count, rate in zip((1, 16), rates, strict=True)
    ]
    found = [each for each in targets.targets({"threads": figures.Figures(threads)}) if each.measured]
    assert [(each.measured, each.met) for each in found] == [(figures.Spread(6.0, 6.0, 6.0), True)]


def test_the_report_tells_the_setting() -> None:
    text = report.render(results())
    assert "| packages | huey 3.5.4 |" in text
    assert "| the official alignai's environment | missing |" in text


def test_a_quick_run_says_that_its_figures_mean_nothing() -> None:
    assert "no figure means anything" in report.render({**results(), "quick": True})
    assert "no figure means anything" not in report.render(results())


@pytest.mark.parametrize(
    ("values", "expected"),
    [([1.234], "1.23"), ([12.34, 15.0, 11.0], "12.3 (11.0 to 15.0)"), ([12345.6], "12,346"), ([], "-")],
)
def test_a_figure_is_shown_with_its_spread(values: list[float], expected: str) -> None:
    assert tables.format_spread(figures.Spread.of(values)) == expected


def test_the_vendor_is_the_one_whose_events_are_recorded() -> None:
    assert environments.VENDOR == VENDOR


def test_the_peers_are_pinned() -> None:
    needed = environments.requirements()
    assert any(each.startswith("requests>=") for each in needed)
    assert {each.split("==")[0] for each in needed if "==" in each} >= {"persist-queue", "diskcache", "litequeue"}


def test_the_server_takes_everything_and_counts() -> None:
    with serving(sys.executable) as servers, requests.Session() as session:
        for body in (b"x", b"y" * 1_000_000, b""):
            assert session.post(f"{servers[0]}/path", data=body, timeout=10).json() == {}
        with urlopen(servers[0], timeout=10) as answer:
            assert json.load(answer) == {"requests": 3, "bytes": 1_000_001}


def test_the_suite_starts_on_a_bare_python() -> None:
    command = [sys.executable, "-S", "-m", "benchmarks", "--help"]
    done = subprocess.run(command, cwd=environments.REPOSITORY, capture_output=True, text=True, check=True)
    assert "--quick" in done.stdout
