"""From the arguments of an event method to the bytes that are spooled."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from alignai import compiled, events, schemas
from alignai.validate import ValidationError

if TYPE_CHECKING:
    from alignai.config import Config


class Payloads:
    """
    Makes payloads: checked, masked where the user wants that, and encoded.

    Args:
        project_id: Whose events they are.
        config: Limits, and what masks.
    """

    def __init__(self, project_id: str, config: Config) -> None:
        self._project_id = project_id
        self._project_json = events.as_json(project_id)
        self._mask = config.before_spool
        self._max_bytes = config.max_event_bytes

    def make(self, method: str, arguments: dict[str, object]) -> tuple[str, bytes] | None:
        """
        The event's id and its payload; None where `before_spool` drops the event.

        Raises:
            ValidationError: Something is wrong with the arguments, or with what `before_spool` made of them.
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
            payload = self._masked(self._built(method, checked, event_id))
        if payload is not None and len(payload) > self._max_bytes:
            raise ValidationError(
                f"the event has {len(payload)} bytes as JSON, more than max_event_bytes ({self._max_bytes})"
            )
        return None if payload is None else (event_id, payload)

    def _built(self, method: str, checked: dict[str, object], event_id: str) -> dict[str, object]:
        return events.build(method, checked, project_id=self._project_id, event_id=event_id, now=datetime.now(UTC))

    def _masked(self, event: dict[str, object]) -> bytes | None:
        """What `before_spool` gives back is checked again: it is the user's code, and the server will not forgive."""
        if self._mask is None:
            return events.encode(event)
        before = event["id"], event["projectId"]
        masked = self._mask(event)
        if masked is None:
            return None
        events.parse(masked)
        if (masked["id"], masked["projectId"]) != before:
            raise ValidationError("before_spool must leave the event's id and projectId as they are")
        return events.encode(masked)
