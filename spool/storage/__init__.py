"""Storage: one SQLite file in WAL mode, held safely by many processes."""
