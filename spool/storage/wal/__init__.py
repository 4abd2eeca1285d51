"""The WAL as it lies on the disk: parsed, rescued and renewed without SQLite."""
