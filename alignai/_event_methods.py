"""The event methods of a client: their arguments and promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alignai.constants import DEFAULT_ASSISTANT_ID

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime


class EventMethods:
    """Records what happens in AI conversations, with one method for each kind of event."""

    _record: Callable[[str, dict[str, object]], str | None]
    """Commits one event, given the name of its method and all arguments by name. Returns the event's id."""

    def identify_user(
        self,
        user_id: str,
        display_name: str | None = None,
        email: str | None = None,
        ip: str | None = None,
        country_code: str | None = None,
        create_time: datetime | None = None,
        custom_properties: dict[str, str] | None = None,
        *,
        event_id: str | None = None,
    ) -> str | None:
        """
        Record who a user is.

        Args:
            user_id: Your id of the user, 1 to 64 characters.
            display_name: Shown on the dashboard, at most 64 characters.
            email: At most 256 characters.
            ip: IPv4 address. If a country code is given too, the server uses that.
            country_code: ISO alpha-2, in upper or lower case.
            create_time: When the user was created. UTC if it has no time zone.
            custom_properties: At most 10. A key is a letter and up to 63 letters, digits or _. A value has at most 256
                characters.
            event_id: 1 to 64 of `A-Za-z0-9_-`, for callers that repeat their own jobs, or a call that was ended by the
                exception of a signal handler. None for a new one.

        Returns:
            The id of the event, which is committed. None if `before_spool` dropped it, or if it could not be recorded
            and `on_spool_error` is "log".

        Raises:
            ValidationError: An argument is invalid. All errors are listed, by argument.
            SpoolError: The event could not be committed. Nothing of it was recorded.
            ClosedError: `close` has been called.
        """
        return self._record(
            "identify_user",
            {
                "user_id": user_id,
                "display_name": display_name,
                "email": email,
                "ip": ip,
                "country_code": country_code,
                "create_time": create_time,
                "custom_properties": custom_properties,
                "event_id": event_id,
            },
        )

    def open_session(
        self,
        session_id: str,
        user_id: str,
        assistant_id: str = DEFAULT_ASSISTANT_ID,
        custom_properties: dict[str, str] | None = None,
        *,
        session_title: str | None = None,
        create_time: datetime | None = None,
        event_id: str | None = None,
    ) -> str | None:
        """
        Record that a session begins.

        Args:
            session_id: Your id of the session, 1 to 64 characters.
            user_id: The user of the session, 1 to 64 characters.
            assistant_id: The assistant that answers, at most 64 characters.
            custom_properties: As in `identify_user`.
            session_title: At most 256 characters.
            create_time: When the session began, for past conversations. UTC if it has no time zone.
            event_id: As in `identify_user`.

        Returns:
            As `identify_user`.

        Raises:
            ValidationError, SpoolError, ClosedError: As `identify_user`.
        """
        return self._record(
            "open_session",
            {
                "session_id": session_id,
                "user_id": user_id,
                "assistant_id": assistant_id,
                "custom_properties": custom_properties,
                "session_title": session_title,
                "create_time": create_time,
                "event_id": event_id,
            },
        )

    def create_message(
        self,
        session_id: str,
        message_index: int,
        role: str,
        content: str,
        custom_properties: dict[str, str] | None = None,
        *,
        create_time: datetime | None = None,
        event_id: str | None = None,
    ) -> str | None:
        """
        Record a message of a session.

        Args:
            session_id: The session, 1 to 64 characters.
            message_index: The position of the message in the session, 1 to 2147483647, unique in the session.
            role: `ROLE_USER` or `ROLE_ASSISTANT` of `alignai.constants`.
            content: The text. Not empty, and at most so long that the whole event keeps within `max_event_bytes`.
            custom_properties: As in `identify_user`.
            create_time: When the message was sent, for past conversations. UTC if it has no time zone.
            event_id: As in `identify_user`.

        Returns:
            As `identify_user`.

        Raises:
            ValidationError, SpoolError, ClosedError: As `identify_user`.
        """
        return self._record(
            "create_message",
            {
                "session_id": session_id,
                "message_index": message_index,
                "role": role,
                "content": content,
                "custom_properties": custom_properties,
                "create_time": create_time,
                "event_id": event_id,
            },
        )

    def close_session(self, session_id: str, *, event_id: str | None = None) -> str | None:
        """
        Record that a session ends. The server ends one by itself after 30 minutes without a message.

        Args:
            session_id: The session, 1 to 64 characters.
            event_id: As in `identify_user`.

        Returns:
            As `identify_user`.

        Raises:
            ValidationError, SpoolError, ClosedError: As `identify_user`.
        """
        return self._record("close_session", {"session_id": session_id, "event_id": event_id})

    def create_session_feedback(
        self, session_id: str, feedback_type: str, *, event_id: str | None = None
    ) -> str | None:
        """
        Record feedback on a session.

        Args:
            session_id: The session, 1 to 64 characters.
            feedback_type: `FEEDBACK_THUMBS_UP` or `FEEDBACK_THUMBS_DOWN` of `alignai.constants`.
            event_id: As in `identify_user`.

        Returns:
            As `identify_user`.

        Raises:
            ValidationError, SpoolError, ClosedError: As `identify_user`.
        """
        return self._record(
            "create_session_feedback",
            {"session_id": session_id, "feedback_type": feedback_type, "event_id": event_id},
        )

    def create_message_feedback(
        self, session_id: str, message_index: int, feedback_type: str, *, event_id: str | None = None
    ) -> str | None:
        """
        Record feedback on a message.

        Args:
            session_id: The session, 1 to 64 characters.
            message_index: The position of the message in the session, 1 to 2147483647.
            feedback_type: `FEEDBACK_THUMBS_UP` or `FEEDBACK_THUMBS_DOWN` of `alignai.constants`.
            event_id: As in `identify_user`.

        Returns:
            As `identify_user`.

        Raises:
            ValidationError, SpoolError, ClosedError: As `identify_user`.
        """
        return self._record(
            "create_message_feedback",
            {
                "session_id": session_id,
                "message_index": message_index,
                "feedback_type": feedback_type,
                "event_id": event_id,
            },
        )
