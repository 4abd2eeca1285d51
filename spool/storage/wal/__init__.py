"""The write-ahead log as it lies on the disk: parsed, rescued and renewed without SQLite."""
