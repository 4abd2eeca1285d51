"""What the vendor's SDK has under this import path."""

from __future__ import annotations

CustomProperties = dict[str, str]
"""Custom properties; the event methods take any mapping."""
