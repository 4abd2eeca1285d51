"""
The fault-injection suite: it tries to break the promise that nothing acknowledged is lost.

`python -m tests.faults --minutes N --seed S` runs every scenario for its share of the time and prints figures of it.
Each scenario is a folder whose `scenario.py` has a function `run(run: Run) -> None`. It raises AssertionError if a
promise breaks.
"""

SCENARIOS = (
    "kill", "power", "disk", "foreign", "damage", "network", "outage", "processes", "clocks", "input", "interrupt",
    "soak",
)  # fmt: skip

SLOW = {"soak": 30}
"""Scenarios that need time, and the minutes from which they run without being named."""
