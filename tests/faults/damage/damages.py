"""Kinds of damage to the files of a spool."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from tests.support.spool_file import shm, wal

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path

    Damage = Callable[[Path, Path, random.Random], None]
    """Damages the first spool. The second is another one, to take parts from."""

PAGE = 4096


def damage_one(spool: Path, rng: random.Random, harm: Callable[[bytearray], None]) -> None:
    """Change the contents of one of the files, chosen at random."""
    files = [each for each in (spool, spool, wal(spool), wal(spool), shm(spool)) if each.exists()]
    file = rng.choice([each for each in files if each.stat().st_size] or [spool])
    content = bytearray(file.read_bytes())
    if content:
        harm(content)
    file.write_bytes(content)


def _somewhere(content: bytearray, rng: random.Random) -> int:
    """Return an offset. Half of all offsets are in the most sensitive part of a file, the header of a page."""
    at = rng.randrange(len(content))
    return at - at % PAGE + rng.randrange(min(120, len(content) - (at - at % PAGE))) if rng.random() < 0.5 else at


def flip(spool: Path, _: Path, rng: random.Random) -> None:
    def harm(content: bytearray) -> None:
        for _ in range(rng.choice([1, 1, 2, 10, 100])):
            at = _somewhere(content, rng)
            content[at] ^= rng.choice([1 << rng.randrange(8), rng.randrange(1, 256)])

    damage_one(spool, rng, harm)


def overwrite(spool: Path, _: Path, rng: random.Random) -> None:
    """Overwrite a range, as happens to sectors of a disk."""

    def harm(content: bytearray) -> None:
        size = rng.choice([8, 100, 512, 512, PAGE, 3 * PAGE])
        at = rng.randrange(len(content)) // rng.choice([1, 512, PAGE]) * 1
        at -= at % rng.choice([1, 512, PAGE])
        size = min(size, len(content) - at)
        content[at : at + size] = rng.choice([bytes(size), b"\xff" * size, rng.randbytes(size)])

    damage_one(spool, rng, harm)


def move_page(spool: Path, _: Path, rng: random.Random) -> None:
    """Write a page to a wrong place, or swap two pages."""

    def harm(content: bytearray) -> None:
        one, two = (rng.randrange(max(1, len(content) // PAGE)) * PAGE for _ in range(2))
        kept = bytes(content[one : one + PAGE])
        if rng.random() < 0.5:
            content[one : one + PAGE] = content[two : two + PAGE]
        content[two : two + PAGE] = kept

    damage_one(spool, rng, harm)


def cut(spool: Path, _: Path, rng: random.Random) -> None:
    def harm(content: bytearray) -> None:
        del content[rng.randrange(len(content)) :]

    damage_one(spool, rng, harm)


def empty(spool: Path, _: Path, rng: random.Random) -> None:
    damage_one(spool, rng, bytearray.clear)


def remove(spool: Path, _: Path, rng: random.Random) -> None:
    rng.choice([wal(spool), shm(spool)]).unlink(missing_ok=True)


def swap(spool: Path, other: Path, rng: random.Random) -> None:
    """Replace one of the files by that of another spool."""
    of = rng.choice([lambda path: path, wal, shm])
    if of(other).exists():
        shutil.copy(of(other), of(spool))


def foreign_database(spool: Path, _: Path, rng: random.Random) -> None:
    _forget(spool)
    with closing(sqlite3.connect(spool)) as other:
        other.execute(f"PRAGMA journal_mode = {rng.choice(['delete', 'wal'])}")
        other.execute("CREATE TABLE precious (value)")
        other.execute("INSERT INTO precious VALUES ('keep')")
        other.commit()


def text(spool: Path, _: Path, rng: random.Random) -> None:
    spool.write_text("This is no database.\n" * rng.randrange(1, 1000))


def folder(spool: Path, _: Path, rng: random.Random) -> None:
    _forget(spool)
    spool.mkdir()


def newer(spool: Path, _: Path, rng: random.Random) -> None:
    with closing(sqlite3.connect(spool)) as changed:
        changed.execute(f"PRAGMA user_version = {rng.randrange(2, 900)}")


def nothing(spool: Path, _: Path, rng: random.Random) -> None:
    """Change nothing. This is the control: an undamaged spool is found complete."""


def _forget(spool: Path) -> None:
    for each in (spool, wal(spool), shm(spool)):
        each.unlink(missing_ok=True)


DAMAGES: dict[str, tuple[Damage, int]] = {
    "flipped": (flip, 40),
    "overwritten": (overwrite, 25),
    "moved": (move_page, 10),
    "cut": (cut, 12),
    "emptied": (empty, 3),
    "removed": (remove, 3),
    "swapped": (swap, 5),
    "foreign": (foreign_database, 2),
    "text": (text, 1),
    "folder": (folder, 1),
    "newer": (newer, 2),
    "undamaged": (nothing, 2),
}
"""Each kind of damage by its name, with its share in percent."""


def contents(folder: Path) -> dict[str, bytes]:
    """Return the contents of every file of a folder."""
    return {each.name: each.read_bytes() for each in sorted(folder.iterdir()) if each.is_file()}


def copied(spool: Path, folder: Path) -> Path:
    """Return a copy of a spool that no process has open, with the files beside it."""
    folder.mkdir()
    for each in (spool, wal(spool), shm(spool)):
        if each.is_dir():
            (folder / each.name).mkdir()
        elif each.exists():
            shutil.copy(each, folder / each.name)
            os.utime(folder / each.name)
    return folder / spool.name
