"""The package's version, its one home."""

__version__ = "1.0.0"
