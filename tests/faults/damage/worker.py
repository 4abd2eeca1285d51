"""
The processes of the scenario "damage": one makes spools, one opens damaged copies of them.

Each reads orders from its standard input, one JSON object per line, and answers each with one. So a process that dies
or hangs is noticed.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

from alignai.cli.app import main as command_line
from alignai.spool import Spool, SpoolCorruptError, SpoolError
from tests.support.spool_file import ask, checkpoint

T = TypeVar("T")

PROJECT = "project"
MUCH = 1 << 20
NEW = tuple(f"{number:032x}" for number in range(3))
"""Events that are appended to every spool that opens."""

_spools: list[Spool] = []


def payload(event_id: str, size: int) -> bytes:
    """Return an event that repeats its id on every page."""
    begin = f'{{"id":"{event_id}","text":"'
    return (begin + event_id * (max(0, size - len(begin)) // len(event_id)) + '"}').encode()


def make(path: str, seed: str, *, closed: bool) -> dict[str, Any]:
    """
    Make a spool with events of every kind: pending, in flight, sent, rejected, pruned.

    Returns:
        The ids by state (the unsent ones in order) and the size of each event.
    """
    rng = random.Random(seed)
    spool = Spool(Path(path), project_id=PROJECT, retention=rng.choice([0, 3600]))
    unsent: list[str] = []
    known: dict[str, int] = {}
    ended: dict[str, list[str]] = {"sent": [], "rejected": []}
    sizes = rng.choice([[80, 200, 500], [80, 500, 3000, 20_000], [2500, 9000]])
    for _ in range(rng.randrange(1, 6)):
        for _ in range(rng.randrange(1, 80)):
            unsent.append(f"{rng.getrandbits(128):032x}")
            size = known[unsent[-1]] = rng.choice(sizes)
            spool.append(payload(unsent[-1], size))
        for _ in range(rng.randrange(4)):
            _settle_one(spool, rng, unsent, ended)
        if rng.random() < 0.5:
            spool.maintain()
        if rng.random() < 0.3:
            checkpoint(spool.path)
    if closed:
        spool.close()
    _spools.append(spool)  # it is killed with this open
    return {"unsent": unsent, "sizes": known, **ended}


def _settle_one(spool: Spool, rng: random.Random, unsent: list[str], ended: dict[str, list[str]]) -> None:
    batch = spool.next_batch(rng.choice([1, 2, 20, 50]), MUCH)
    if not batch:
        return
    chance = rng.random()
    ids = [event_id_of(each) for each in batch.payloads]
    if chance < 0.6:
        spool.mark_sent(batch)
        ended["sent"] += ids
    elif chance < 0.7:
        spool.mark_rejected(batch, "refused", "refused")
        ended["rejected"] += ids
    elif chance < 0.8:
        spool.split(batch)
        return
    else:
        spool.mark_failed(batch, "no answer")
        return
    unsent[:] = [each for each in unsent if each not in set(ids)]


def event_id_of(content: bytes) -> str:
    """Return the id, or the bytes in its place."""
    return content[7:39].decode(errors="replace")


def visit(path: str) -> dict[str, Any]:
    """Do the work of a worker: open, append, send, maintain the spool."""
    try:
        spool = Spool(Path(path), project_id=PROJECT)
    except SpoolError as error:
        return {"error": type(error).__name__, "message": str(error)}
    errors: list[str] = []
    for event_id in NEW:
        spool.append(payload(event_id, 200))
    sent = drain(spool, errors)
    again(spool.maintain, errors)
    after = again(spool.stats, errors)
    found = again(spool.check, errors)
    notices = list(spool.notices())
    spool.close()
    return {
        "sent": sent,
        "errors": errors,
        "notices": notices,
        "check": found,
        "unsent": after.unsent,
        "rejected": after.rejected,
        "dropped": after.dropped,
    }


def drain(spool: Spool, errors: list[str]) -> list[str]:
    """Send everything and return the sent payloads."""
    sent: list[str] = []
    while batch := again(lambda: spool.next_batch(20, MUCH), errors):
        sent += [each.decode(errors="replace") for each in batch.payloads]
        with contextlib.suppress(SpoolCorruptError):  # it is quarantined then, and no further call is made
            spool.mark_sent(batch)
    return sent


def again(call: Callable[[], T], errors: list[str]) -> T:
    """Call once more if the first call found the file corrupt and quarantined it, as a sender does."""
    try:
        return call()
    except SpoolCorruptError as error:
        errors.append(str(error))
        return call()


def salvage(damaged: str, new: str) -> dict[str, Any]:
    """Run the command and return its output and the contents of the new spool."""
    said, complained = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complained):
        code = command_line(["salvage", damaged, new, "--project-id", PROJECT, "--json"])
    if not said.getvalue():
        return {"code": code, "message": complained.getvalue()}
    spool = Spool(Path(new), project_id=PROJECT)
    found = spool.check()
    rejected = [event_id_of(row[0]) for row in ask(Path(new), "SELECT payload FROM rejected ORDER BY seq")]
    sent = drain(spool, [])
    spool.close()
    return {"code": code, "check": found, "sent": sent, "rejected_ids": rejected, **json.loads(said.getvalue())}


def main() -> None:
    """Carry out orders until there are no more."""
    orders = {"make": make, "visit": visit, "salvage": salvage}
    for line in sys.stdin:
        order = json.loads(line)
        try:
            answer = orders[order.pop("order")](**order)
        except Exception:  # noqa: BLE001 - any other exception is a finding
            answer = {"crash": traceback.format_exc()}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
