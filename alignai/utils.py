"""A type that the official SDK has under this import path."""

from __future__ import annotations

CustomProperties = dict[str, str]
"""Custom properties. The event methods accept any mapping."""
