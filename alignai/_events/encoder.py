"""From the arguments of an event method to the payload that is spooled."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePath
from traceback import walk_tb
from typing import TYPE_CHECKING, Any, Final

from alignai._events import compiler, schemas, wire
from alignai._events.parser import parse
from alignai._interruption import is_interruption
from alignai.validate import ValidationError

if TYPE_CHECKING:
    from collections.abc import Callable

    Mask = Callable[[dict[str, Any]], object]

_NOTE: Final = "before_spool raised this. The event has not been recorded."


@dataclass(frozen=True, slots=True)
class HookFailure:
    """
    A failure of `before_spool`.

    Attributes:
        error: The exception that it raised, or a `ValidationError` for its result.
        description: The same for a log, without the text of the exception, which may hold message contents.
    """

    error: Exception
    description: str


class EventEncoder:
    """
    Encodes events: checks them, and masks them if the user wants that.

    Args:
        project_id: The project of the events.
        mask: Called with each event. Returns the event to record instead, or None to drop it. None: no masking.
        max_bytes: The largest payload.
    """

    def __init__(self, project_id: str, mask: Mask | None, max_bytes: int) -> None:
        self._project_id = project_id
        self._project_json = wire.dumps(project_id)
        self._mask = mask
        self._max_bytes = max_bytes

    def encode(self, method: str, arguments: dict[str, object]) -> tuple[str, bytes] | HookFailure | None:
        """
        Return the event's id and its payload. None if `before_spool` drops the event, a `HookFailure` if it fails.

        Raises:
            ValidationError: An argument is invalid, or the event is too large.
        """
        own_id = arguments["event_id"]
        event_id = own_id if isinstance(own_id, str) else wire.new_event_id()
        payload = None
        if self._mask is None:
            now = wire.wire_now()
            payload = compiler.write(method, arguments, project=self._project_json, event_id=event_id, now=now)
        if payload is None:
            checked = schemas.load(method, arguments)
            event_id = checked.get("event_id") or event_id
            event = self._build(method, checked, event_id)
            masked = wire.encode(event) if self._mask is None else self._apply_mask(event, self._mask)
            if not isinstance(masked, bytes):
                return masked
            payload = masked
        if len(payload) > self._max_bytes:
            event_name = "the event" if self._mask is None else "the event that before_spool returned"
            raise ValidationError(
                f"{event_name} has {len(payload)} bytes as JSON, more than max_event_bytes ({self._max_bytes})"
            )
        return event_id, payload

    def _build(self, method: str, checked: dict[str, object], event_id: str) -> dict[str, object]:
        return wire.build(method, checked, project_id=self._project_id, event_id=event_id, now=datetime.now(UTC))

    def _apply_mask(self, event: dict[str, object], mask: Mask) -> bytes | HookFailure | None:
        """Return the result of *mask*, encoded. It is checked again: a user's function may make mistakes."""
        before = event["id"], event["projectId"]
        try:
            masked = mask(event)
        except Exception as error:  # it is the user's code
            if is_interruption(error):
                raise
            if _NOTE not in getattr(error, "__notes__", ()):
                error.add_note(_NOTE)
            return HookFailure(error, f"before_spool raised {type(error).__name__} at {_raise_site(error)}")
        if masked is None:
            return None
        try:
            return _encode_masked(masked, before)
        except ValidationError as error:
            problem = "before_spool returned an invalid event"
            at = ", ".join(error.errors)
            return HookFailure(ValidationError(f"{problem}: {error.message}", error.errors), f"{problem}, see {at}")


def _encode_masked(masked: object, before: tuple[object, object]) -> bytes:
    parse(masked)
    now = masked["id"], masked["projectId"]  # type: ignore[index] # or it could not be parsed
    if now != before:
        text = "must stay as they were"
        raise ValidationError(f"event.id and event.projectId {text}", {"event.id": [text], "event.projectId": [text]})
    return wire.encode(masked)


def _raise_site(error: Exception) -> str:
    """Return the place in the source at which *error* was raised."""
    *_, (frame, number) = walk_tb(error.__traceback__)
    return f"{PurePath(frame.f_code.co_filename).name}:{number}"
