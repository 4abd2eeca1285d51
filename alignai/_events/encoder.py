"""From the arguments of an event method to the bytes that are spooled."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePath
from traceback import walk_tb
from typing import TYPE_CHECKING, Any, Final

from alignai._events import compiler as compiled
from alignai._events import schemas
from alignai._events import wire as events
from alignai._events.parser import parse
from alignai.interruption import is_interruption
from alignai.validate import ValidationError

if TYPE_CHECKING:
    from collections.abc import Callable

    Mask = Callable[[dict[str, Any]], object]

_NOTE: Final = "before_spool raised this. The event has not been recorded."


@dataclass(frozen=True, slots=True)
class HookFailure:
    """
    What `before_spool` did instead of returning an event.

    Attributes:
        error: What it raised, or what is wrong with what it returned.
        description: The same for a log: without the text of what it raised, which may hold contents.
    """

    error: Exception
    description: str


class EventEncoder:
    """
    Encodes events: checked, and masked if the user wants that.

    Args:
        project_id: Whose events they are.
        mask: Called with each event; returns what is recorded instead. None if nothing is masked.
        max_bytes: The largest payload.
    """

    def __init__(self, project_id: str, mask: Mask | None, max_bytes: int) -> None:
        self._project_id = project_id
        self._project_json = events.as_json(project_id)
        self._mask = mask
        self._max_bytes = max_bytes

    def encode(self, method: str, arguments: dict[str, object]) -> tuple[str, bytes] | HookFailure | None:
        """
        Return the event's id and its payload; None if `before_spool` drops the event, or how it failed.

        Raises:
            ValidationError: Something is wrong with the arguments, or the event is too large.
        """
        given = arguments["event_id"]
        event_id = given if isinstance(given, str) else events.new_event_id()
        payload = None
        if self._mask is None:
            now = events.now_on_wire()
            payload = compiled.write(method, arguments, project=self._project_json, event_id=event_id, now=now)
        if payload is None:
            checked = schemas.load(method, arguments)
            event_id = checked.get("event_id") or event_id
            event = self._built(method, checked, event_id)
            masked = events.encode(event) if self._mask is None else self._masked(event, self._mask)
            if not isinstance(masked, bytes):
                return masked
            payload = masked
        if len(payload) > self._max_bytes:
            what = "the event" if self._mask is None else "the event that before_spool returned"
            raise ValidationError(
                f"{what} has {len(payload)} bytes as JSON, more than max_event_bytes ({self._max_bytes})"
            )
        return event_id, payload

    def _built(self, method: str, checked: dict[str, object], event_id: str) -> dict[str, object]:
        return events.build(method, checked, project_id=self._project_id, event_id=event_id, now=datetime.now(UTC))

    def _masked(self, event: dict[str, object], mask: Mask) -> bytes | HookFailure | None:
        """Return what *mask* makes of *event*, checked again: it is the user's code, and a server refuses mistakes."""
        before = event["id"], event["projectId"]
        try:
            masked = mask(event)
        except Exception as error:  # it is the user's code
            if is_interruption(error):
                raise
            if _NOTE not in getattr(error, "__notes__", ()):
                error.add_note(_NOTE)
            return HookFailure(error, f"before_spool raised {type(error).__name__} at {_line(error)}")
        if masked is None:
            return None
        try:
            return _encoded(masked, before)
        except ValidationError as error:
            wrong = "before_spool returned what cannot be recorded"
            at = ", ".join(error.errors)
            return HookFailure(ValidationError(f"{wrong}: {error.message}", error.errors), f"{wrong}, see {at}")


def _encoded(masked: object, before: tuple[object, object]) -> bytes:
    parse(masked)
    now = masked["id"], masked["projectId"]  # type: ignore[index] # or it could not be parsed
    if now != before:
        text = "must stay as they were"
        raise ValidationError(f"event.id and event.projectId {text}", {"event.id": [text], "event.projectId": [text]})
    return events.encode(masked)


def _line(error: Exception) -> str:
    """Return the place in the source at which *error* was raised."""
    *_, (frame, number) = walk_tb(error.__traceback__)
    return f"{PurePath(frame.f_code.co_filename).name}:{number}"
