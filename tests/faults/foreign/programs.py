"""Other programs that open a spool's file through SQLite to read, copy or change it."""

from __future__ import annotations

import subprocess
import sys

LOOK = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=20)
db.execute("SELECT count(*) FROM events").fetchone()
db.close()
"""
BACK_UP = """
import sqlite3, sys
db, copy = sqlite3.connect(sys.argv[1], timeout=20), sqlite3.connect(sys.argv[2])
db.backup(copy, pages=int(sys.argv[3]), sleep=0.001)
copy.close()
db.close()
"""
VACUUM_INTO = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=20)
db.execute("VACUUM INTO ?", (sys.argv[2],))
db.close()
"""
DELETE_MODE = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=20, isolation_level=None)
(mode,) = db.execute("PRAGMA journal_mode = DELETE").fetchone()
db.close()
sys.exit(mode != "delete")
"""
PAGE_SIZE = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=20, isolation_level=None)
db.execute("PRAGMA journal_mode = DELETE").fetchone()
db.execute(f"PRAGMA page_size = {sys.argv[2]}")
db.execute("VACUUM")
db.execute("PRAGMA journal_mode = WAL").fetchone()
db.close()
"""


def by_another_program(script: str, *arguments: object) -> bool:
    """Run a small program. Return False if it failed, as it may at the moment in which a WAL is deleted."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == 0
