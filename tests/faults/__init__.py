"""
Nothing is lost: a campaign that tries to break the promises.

`python -m tests.faults --minutes N --seed S` runs every point for its share of the time and prints what was tried.
Each point is a module here with a function `run(run: Run) -> None` that raises AssertionError where a promise breaks.
"""

POINTS = (
    "kill", "power", "disk", "foreign", "damage", "network", "outage", "processes", "clocks", "input", "interrupt",
    "soak",
)  # fmt: skip

SLOW = {"soak": 30}
"""Points that need time: without being named they are run from so many minutes on."""
