"""The names and defaults of the SDK: first those of the official SDK, then the new ones."""

from __future__ import annotations

from typing import Final


class EventTypes:
    """The types of events: the `type` of each on the wire."""

    SESSION_OPEN: Final = "session_open"
    SESSION_CLOSE: Final = "session_close"
    USER_RECOGNIZE: Final = "user_recognize"
    MESSAGE_CREATE: Final = "message_create"
    FEEDBACK_CREATE: Final = "feedback_create"


ROLE_USER: Final = "user"
ROLE_ASSISTANT: Final = "assistant"
DEFAULT_ASSISTANT_ID: Final = "DEFAULT"

FEEDBACK_THUMBS_UP: Final = "thumbs_up"
FEEDBACK_THUMBS_DOWN: Final = "thumbs_down"

FLUSH_INTERVAL_MS: Final = 3000
FLUSH_BATCH_SIZE: Final = 50
FLUSH_TIMEOUT_SECONDS: Final = 5
MAX_BUFFER_SIZE: Final = 200
API_MAX_RETIRES: Final = 3  # spelled as in the official SDK, whose users import it

SERVER_BASE_URL: Final = "https://api.impaction.ai"
COLLECT_EVENTS_PATH: Final = "/ingestion.v1alpha.IngestionService/CollectEvents"

MAX_SPOOL_BYTES: Final = 2**30
MAX_EVENT_BYTES: Final = 10 * 2**20
MAX_BATCH_BYTES: Final = 4 * 2**20
SENT_RETENTION_SECONDS: Final = 3600
REQUEST_TIMEOUT_SECONDS: Final = 10

ENV_PROJECT_ID: Final = "ALIGNAI_PROJECT_ID"
ENV_API_KEY: Final = "ALIGNAI_API_KEY"  # the name of the variable, not a key
ENV_HOST: Final = "ALIGNAI_HOST"
ENV_SPOOL_PATH: Final = "ALIGNAI_SPOOL_PATH"
ENV_DISABLED: Final = "ALIGNAI_DISABLED"
