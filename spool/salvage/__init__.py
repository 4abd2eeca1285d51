"""Salvage: read what can be read of a damaged spool into a new one."""

from .rebuild import Salvaged, salvage

__all__ = ["Salvaged", "salvage"]
