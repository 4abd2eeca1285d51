"""Text of a server, made fit to be logged: on one line, without control characters and without secrets."""

from __future__ import annotations

import re
from typing import Final

from alignai._console import printable

_CREDENTIALS: Final = re.compile(r"//[^/\s@]*@")
_MASK: Final = "***"


def sanitize(text: str, secret: str, length: int) -> str:
    """Return *text* on one line, without control characters, the API key or a proxy's password, cut to *length*."""
    text = _key_pattern(secret).sub(_MASK, printable(text))
    text = _CREDENTIALS.sub(f"//{_MASK}@", text)
    return text if len(text) <= length else f"{text[: length - 3]}..."


def _key_pattern(secret: str) -> re.Pattern[str]:
    """Match *secret* as it is, or as in an address, in which any of its characters may be percent-encoded."""
    return re.compile("".join(f"(?:%{ord(char):02x}|{re.escape(printable(char))})" for char in secret), re.IGNORECASE)
