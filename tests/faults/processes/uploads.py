"""Ways that change the uploader: processes that only open the spool, end early, die, stop or are interrupted."""

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
"""Seconds in which pending events are uploaded, on a slow machine and to a server that fails at times."""
MANY = 24
"""More processes than ten, the crashes after which events were once rejected as poison."""


def arrives(place: Place) -> None:
    """Check that every acknowledged event arrives without a flush or a close."""
    lines = (place.folder / "journal").read_text().splitlines()
    done = {line.removeprefix("done ") for line in lines if line.startswith("done ")}
    wait_until(lambda: done <= set(place.server.ids()), SOON)


@contextmanager
def bystander(place: Place) -> Iterator[None]:
    """Run a process that has the spool open and records nothing."""
    with place.worker(LIFE, "only_opens", place.orders("bystander").encoded(), "") as process:
        assert process.stdout
        process.stdout.readline()
        yield
        place.ended(process)


def only_opens(place: Place) -> None:
    """Let a process that only opens the spool upload the events of others."""
    orders = place.orders("gone", events=60, config={**place.config, "sender": False})
    with place.worker(RECORDER, orders.encoded()) as gone:
        place.ended(gone)
    with bystander(place):
        arrives(place)


def taken_over(place: Place) -> None:
    """Stop and then kill the uploader. A process that records nothing takes over."""
    with bystander(place):
        with place.worker(RECORDER, place.orders("leader", events=100_000, pause=0.001).encoded()) as leader:
            wait_until(lambda: len(place.server.requests) > place.trial.rng.randrange(10))
            leader.send_signal(signal.SIGSTOP)
            leader.kill()
            place.ended(leader, -signal.SIGKILL)
        arrives(place)


def broken_off(place: Place) -> None:
    """Let one process after the other end during its upload. The events are not to blame for it."""
    place.server.respond = lambda _: place.server.stopping.wait(0.5) and None
    for number in range(MANY):
        with place.worker(LIFE, "breaks_off", place.orders(f"short{number}").encoded(), "") as process:
            place.ended(process)
    place.server.respond = None


def dead_senders(place: Place) -> None:
    """Inject exceptions into the threads that upload. The process and its uploads continue."""
    with place.worker(LIFE, "sender_dies", place.orders("parent").encoded(), "10") as process:
        heard(process, "worked")
        arrives(place)
        place.ended(process, logs=("ERROR", "Traceback"))


def interrupted(place: Place) -> None:
    """Interrupt calls by a signal handler that raises. The process continues."""
    with place.worker(LIFE, "interrupted", place.orders("parent").encoded(), "300") as process:
        heard(process, "worked")
        arrives(place)
        place.ended(process)


def heard(process: subprocess.Popen[str], word: str) -> None:
    """Wait until a process prints *word* or ends."""
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
FAULTLESS = ("broken off",)
"""Ways that are tried with a server that does not fail, since its failures would hide the effect."""
