"""Ways of living in which the question is who uploads: processes that only open, break off, die, stop or interrupt."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.faults.processes.place import LIFE, RECORDER, Place
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

SOON = 60.0
"""Seconds within which what waits is uploaded, on a slow machine, to a server that fails now and then."""
MANY = 24
"""More processes than the ten deaths after which events were once taken for poison."""


def arrives(place: Place) -> None:
    """See that all that has been acknowledged arrives, with nobody flushing or closing."""
    lines = (place.folder / "log").read_text().splitlines()
    done = {line.removeprefix("done ") for line in lines if line.startswith("done ")}
    wait_until(lambda: done <= set(place.server.ids()), SOON)


@contextmanager
def bystander(place: Place) -> Iterator[None]:
    """A process that has the spool open, and records nothing."""
    with place.worker(LIFE, "only_opens", place.orders("bystander").encoded(), "") as process:
        assert process.stdout
        process.stdout.readline()
        yield
        place.ended(process)


def only_opens(place: Place) -> None:
    """What others have left is uploaded by a process that only opens the spool."""
    orders = place.orders("gone", events=60, config={**place.config, "sender": False})
    with place.worker(RECORDER, orders.encoded()) as gone:
        place.ended(gone)
    with bystander(place):
        arrives(place)


def taken_over(place: Place) -> None:
    """The uploader is stopped and then killed; a process that records nothing takes over."""
    with bystander(place):
        with place.worker(RECORDER, place.orders("leader", events=100_000, pause=0.001).encoded()) as leader:
            wait_until(lambda: len(place.server.requests) > place.trial.rng.randrange(10))
            leader.send_signal(signal.SIGSTOP)
            leader.kill()
            place.ended(leader, -signal.SIGKILL)
        arrives(place)


def broken_off(place: Place) -> None:
    """One process after the other ends in the middle of its upload: that says nothing against the events."""
    place.server.respond = lambda _: place.server.stopping.wait(0.5) and None
    for number in range(MANY):
        with place.worker(LIFE, "breaks_off", place.orders(f"short{number}").encoded(), "") as process:
            place.ended(process)
    place.server.respond = None


def dead_senders(place: Place) -> None:
    """Exceptions are thrown into the threads that upload; the process goes on, and so do the uploads."""
    with place.worker(LIFE, "sender_dies", place.orders("parent").encoded(), "10") as process:
        heard(process, "worked")
        arrives(place)
        place.ended(process, logs=("ERROR", "Traceback"))


def interrupted(place: Place) -> None:
    """Calls are interrupted by a signal handler that raises; the process goes on."""
    with place.worker(LIFE, "interrupted", place.orders("parent").encoded(), "300") as process:
        heard(process, "worked")
        arrives(place)
        place.ended(process)


def heard(process: subprocess.Popen[str], word: str) -> None:
    """Wait until a process says so, or ends without."""
    assert process.stdout
    while (line := process.stdout.readline()) and line.strip() != word:
        pass


UPLOADS: dict[str, Callable[[Place], None]] = {
    "only opens": only_opens,
    "taken over": taken_over,
    "broken off": broken_off,
    "dead senders": dead_senders,
    "interrupted": interrupted,
    "opening forks": lambda place: place.lives("opening_forks", "16"),
}
CALM = ("broken off",)
"""Ways that are lived with a server that does not fail: its failures would hide what is tried."""
