"""
The oracle: the acknowledged events, the received ones and the contents of the spool must be consistent.

- acknowledged ⊆ received or rejected or dropped ⊆ recorded.
- Payloads are equal, and events arrive in order. Repeats come only under the same request id.
- Rejected events arrive if they are requeued once the server accepts them.
"""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from alignai.spool import Spool
from tests.faults.kill.worker import POISON, content
from tests.support.clients import PROJECT, client, record
from tests.support.spool_file import ask

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.faults.kill.worker import Orders
    from tests.faults.scenario import Trial
    from tests.support.servers.connect import ConnectServer


@dataclass
class Story:
    """The reports of the workers."""

    begun: dict[str, Orders] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    died: list[str] = field(default_factory=list)
    commands: set[str] = field(default_factory=set)

    def add(self, orders: Orders, lines: Iterable[str]) -> None:
        """Add the journal of one worker."""
        self.commands.update(command.split()[0] for command in orders.commands)
        for line in lines:
            kind, _, rest = line.strip().partition(" ")
            if kind == "begun":
                self.begun[rest] = orders
            else:
                {"done": self.done, "refused": self.refused, "died": self.died}[kind].append(rest)


def conserved(trial: Trial, story: Story, server: ConnectServer, spool_path: Path, **config: Any) -> int:
    """
    Check that events are uploaded again and that none was lost, made up, changed or reordered.

    Returns:
        The number of events.
    """
    with client(server.url, spool_path, **config) as sdk:
        trial.check("everything is uploaded once the faults have stopped", holds=bool(sdk.flush(60)))
        (last,) = record(sdk, 1)
        trial.check("a later event is uploaded", holds=bool(sdk.flush(60)))
        stats = sdk.stats()
    with closing(Spool(spool_path, project_id=PROJECT)) as spool:
        trial.check("the spool is sound", holds=spool.check() == [])
        newest = spool.last_seq()
    received = [event for event in server.events() if event["id"] != last]
    rejected = [json.loads(payload) for (payload,) in ask(spool_path, "SELECT payload FROM rejected ORDER BY seq")]
    trial.check("the last event arrives", holds=len(server.events()) > len(received))
    _nothing_lost(trial, story, received, rejected, stats.dropped)
    _nothing_changed(trial, story, received, rejected)
    _in_order(trial, story, received)
    _as_stored(trial, received, ask(spool_path, "SELECT payload FROM events WHERE payload <> x'' ORDER BY seq"))
    _once(trial, server)
    arrived = len({event["id"] for event in received}) + 1
    ends = (stats.pending, stats.in_flight, stats.rejected, stats.sent)
    expected = (0, 0, len(rejected), arrived)
    trial.check(f"the spool's figures are {expected}, not {ends}", holds=ends == expected)
    kinds = arrived + len(rejected) + stats.dropped
    holds = kinds <= newest if "requeue" in story.commands else kinds == newest
    trial.check(f"each of {newest} rows is an event of its own, or requeued, not {kinds}", holds=holds)
    _arrive_requeued(trial, server, spool_path, [event["id"] for event in rejected], config)
    return newest


def _arrive_requeued(
    trial: Trial, server: ConnectServer, spool_path: Path, rejected: list[str], config: dict[str, Any]
) -> None:
    """Check that rejected events arrive after a requeue, once and in order."""
    server.respond = None
    before = len(server.ids())
    with client(server.url, spool_path, **config) as sdk, closing(Spool(spool_path, project_id=PROJECT)) as spool:
        done = spool.requeue()
        trial.check(
            f"all {len(rejected)} are requeued, not {done}", holds=(done.requeued, done.damaged) == (len(rejected), 0)
        )
        trial.check("requeued events are sent", holds=bool(sdk.flush(60)))
        stats = sdk.stats()
        trial.check("the spool is sound after requeueing", holds=spool.check() == [])
    trial.check("requeued events arrive in order", holds=server.ids()[before:] == rejected)
    trial.check("nothing is rejected any more", holds=(stats.rejected, stats.pending) == (0, 0))


def _once(trial: Trial, server: ConnectServer) -> None:
    """Check that accepted events come again only under the same request id, by which a server recognises them."""
    first: dict[str, str] = {}
    for request in server.requests:
        for event_id in request.ids if request.taken else ():
            same = first.setdefault(event_id, request.request_id) == request.request_id
            trial.check(f"{event_id} comes again under the same request id", holds=same)


def _nothing_lost(
    trial: Trial, story: Story, received: list[dict[str, Any]], rejected: list[dict[str, Any]], dropped: int
) -> None:
    """Check that only purged events do not arrive, and that exactly those are counted."""
    arrived = {event["id"] for event in received}
    kept = {event["id"] for event in rejected}
    lost = [each for each in story.done if each not in arrived and each not in kept]
    most = dropped if "purge" in story.commands else 0
    trial.check(f"acknowledged events arrive or are purged, {len(lost)} lost: {lost[:3]}", holds=len(lost) <= most)
    unsaid = story.begun.keys() - {*story.done, *story.refused} - arrived - kept
    trial.check(f"{dropped} were dropped of {len(lost)} lost", holds=dropped <= len(lost) + len(unsaid))
    made_up = (arrived | kept) - story.begun.keys()
    trial.check(f"received events were recorded, not made up: {sorted(made_up)[:3]}", holds=not made_up)
    undead = (arrived | kept) & set(story.refused)
    trial.check(f"an event whose call raised is not there: {sorted(undead)[:3]}", holds=not undead)
    trial.check("an event is either received or rejected", holds=not arrived & kept)


def _nothing_changed(
    trial: Trial, story: Story, received: list[dict[str, Any]], rejected: list[dict[str, Any]]
) -> None:
    for event in received + rejected:
        orders = story.begun[event["id"]]
        session, _, number = event["id"].rpartition("-")
        text = content(event["id"], orders.largest, orders.poison)
        message = {
            "sessionId": session,
            "messageIndexHint": int(number),
            "messageRole": "ROLE_USER",
            "messageContent": text,
        }
        envelope = (event["projectId"], event["type"], event["properties"])
        trial.check(
            f"{event['id']} arrives as it was recorded",
            holds=envelope == (PROJECT, "message_create", {"messageProperties": message}),
        )
        poisonous = text.startswith(POISON)
        trial.check(f"{event['id']} is rejected for a reason", holds=poisonous == (event in rejected))


def _in_order(trial: Trial, story: Story, received: list[dict[str, Any]]) -> None:
    """Check that the events of each thread first arrive in the order in which it recorded them."""
    newest: dict[str, int] = {}
    for event_id in dict.fromkeys(event["id"] for event in received):
        thread, _, number = event_id.rpartition("-")
        trial.check(f"{event_id} comes in order", holds=newest.get(thread, 0) < int(number))
        newest[thread] = int(number)


def _as_stored(trial: Trial, received: list[dict[str, Any]], rows: list[tuple[bytes]]) -> None:
    """Check that the events still in the spool are equal to the received ones, and in the same order."""
    stored = {event["id"]: event for (payload,) in rows for event in [json.loads(payload)]}
    first: dict[str, dict[str, Any]] = {}
    for event in received:
        trial.check(f"a repeat of {event['id']} is the same", holds=first.setdefault(event["id"], event) == event)
    order = [event_id for event_id in first if event_id in stored]
    trial.check(
        "events arrive in the order of their commits", holds=order == [each for each in stored if each in first]
    )
    for event_id in order:
        trial.check(f"{event_id} arrives as it was stored", holds=_timed(stored[event_id]) == _timed(first[event_id]))


def _timed(event: dict[str, Any]) -> dict[str, Any]:
    """Return the event with a datetime, since a server may write the same time in a shorter way."""
    return event | {"createTime": datetime.fromisoformat(event["createTime"])}
