"""
A worker that records, uploads or maintains the spool by its orders, and may die at any moment.

It writes each call and each acknowledgement as a line into a journal, a file that outlives it.
"""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from typing import Any

from alignai import AlignAI, Config
from alignai.cli.app import main as spool_command
from alignai.spool import SpoolFullError
from tests.faults.kill.crash_points import install

POISON = "poison: "
"""The beginning of the content of each event that the server refuses."""


@dataclass(frozen=True)
class Orders:
    """
    The work of a worker.

    Attributes:
        name: Its name, which is part of the ids of its events.
        journal: The file that it writes to.
        threads: The number of threads that record, 0 for a worker that only uploads.
        events: The number of events that each thread records.
        pause: Seconds between two events.
        largest: Characters of the longest contents.
        poison: The fraction of events that the server will refuse.
        config: The settings of its client.
        patience: Seconds that closing may take.
        point: The crash point at which it dies, or None.
        times: It dies when it reaches the crash point for this many times.
        commands: If not empty, no client is made: these commands are run on the spool over and over.
    """

    name: str
    journal: str
    threads: int = 1
    events: int = 100
    pause: float = 0.0
    largest: int = 2000
    poison: float = 0.0
    config: dict[str, Any] = field(default_factory=dict)
    patience: float = 30.0
    point: str | None = None
    times: int = 1
    commands: tuple[str, ...] = ()

    def encoded(self) -> str:
        return json.dumps(asdict(self))


def content(event_id: str, largest: int, poison: float) -> str:
    """Return the content of an event. It follows from its id, so that the oracle can compare it."""
    chance = random.Random(event_id)
    text = f"{event_id} \N{SNOWMAN} " + chance.randbytes(chance.choice([4, 100, largest // 2])).hex()
    return POISON + text if chance.random() < poison else text


def record(sdk: AlignAI, orders: Orders, thread: int, note: Note) -> None:
    """Record the events of one thread."""
    for number in range(1, orders.events + 1):
        event_id = f"{orders.name}-{thread}-{number}"
        note(f"begun {event_id}")
        text = content(event_id, orders.largest, orders.poison)
        try:
            sdk.create_message(f"{orders.name}-{thread}", number, "user", text, event_id=event_id)
        except SpoolFullError:
            note(f"refused {event_id}")
        else:
            note(f"done {event_id}")
        time.sleep(orders.pause)


class Note:
    """A journal that survives the process. Each line is one write to the end of a file."""

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def __call__(self, line: str) -> None:
        os.write(self._descriptor, f"{line}\n".encode())


def keep(orders: Orders) -> None:
    """Run the commands again and again."""
    for _ in range(orders.events):
        for command in orders.commands:
            arguments = [*command.split(), "--json"]
            if spool_command(arguments) not in {0, 1, 2}:
                raise AssertionError(arguments)
            time.sleep(orders.pause)


def main() -> None:
    """Carry out the orders of the command line."""
    orders = Orders(**json.loads(sys.argv[1]))
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    note = Note(orders.journal)
    if orders.point:
        install(orders.point, orders.times, note)
    os.write(1, b"up\n")
    if orders.commands:
        keep(orders)
        return
    sdk = AlignAI(config=Config(**orders.config))
    threads = [
        threading.Thread(target=record, args=(sdk, orders, number, note), daemon=True)
        for number in range(orders.threads)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while not threads:  # it only uploads, until it is terminated
        sdk.flush(0.2)
        time.sleep(0.01)
    sdk.close(orders.patience)


if __name__ == "__main__":
    main()
