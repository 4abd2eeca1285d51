"""
A disk whose power is cut, and the possible states of writes that were not synced.

A sync puts a file on the medium. A sync of a folder does so with the names in it. Any other 512-byte sector may be on
the medium or not, in any order, since the disk and the kernel write at any time. A sector is written whole or not at
all, and no neighbouring byte is harmed, as SQLite expects too (https://sqlite.org/psow.html).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from tests.faults.power.recording import Step

SECTOR = 512


@dataclass(eq=False)
class _Change:
    """A write or a truncation that is not on the medium yet."""

    step: Step
    over: bool


@dataclass(eq=False)
class _File:
    medium: bytearray = field(default_factory=bytearray)
    unsynced: list[_Change] = field(default_factory=list)

    def apply(self, change: _Change) -> None:
        _apply(self.medium, change.step)


class Disk:
    """The contents of the medium, and the writes on their way to it."""

    def __init__(self) -> None:
        self._names: dict[str, _File] = {}
        self._names_on_medium: dict[str, _File] = {}
        self._renamings: list[tuple[Step, _File | None]] = []
        self._syncing: dict[int, tuple[_File | None, list[object]]] = {}

    def take(self, step: Step) -> None:
        """Apply one step of the recording."""
        if step.name in ("write", "truncate"):
            self._change(step)
        elif step.name == "sync":
            self._sync(step)
        elif step.begins is not True:
            self._rename(step)

    def _change(self, step: Step) -> None:
        file = self._names[step.path]
        if step.begins is not False:
            file.unsynced.append(_Change(step, over=step.begins is None))
            return
        for change in file.unsynced:
            change.over |= change.step.call == step.call

    def _sync(self, step: Step) -> None:
        """Settle the writes that were complete when the sync began."""
        if step.begins is not False:
            file = self._names.get(step.path)
            under_way: list[object] = [each for each in file.unsynced if each.over] if file else [*self._renamings]
            self._syncing[step.call] = file, under_way
        if step.begins is not True:
            file, synced = self._syncing.pop(step.call)
            if file:
                _settle(file.unsynced, synced, file.apply)
            else:
                _settle(self._renamings, synced, lambda each: _renamed(self._names_on_medium, *each))

    def _rename(self, step: Step) -> None:
        file = _File() if step.name == "make" else self._names.get(step.path)
        if step.name == "make" and step.path in self._names:
            return
        assert step.name in ("make", "unlink", "rename"), f"{step.name} {step.path}"
        _renamed(self._names, step, file)
        self._renamings.append((step, file))

    def now(self) -> dict[str, bytes]:
        """Return the files as every process sees them while the power is on."""
        return {Path(path).name: _all(file) for path, file in self._names.items()}

    def cut(self, rng: random.Random) -> dict[str, bytes]:
        """Return a possible state of the files after a power cut at this moment."""
        names = dict(self._names_on_medium)
        likely = rng.choice([0.0, 0.1, 0.5, 0.9, 1.0])
        for step, file in self._renamings:
            if rng.random() < likely:
                _renamed(names, step, file)
        keep = rng.choice([_nothing, _the_first, _some, _torn, _torn])
        return {Path(path).name: keep(file, rng) for path, file in names.items()}


def _settle(unsynced: list, synced: list[object], settle: Callable) -> None:  # type: ignore[type-arg]
    for each in synced:
        if each in unsynced:  # another sync may have settled it already
            settle(each)
            unsynced.remove(each)


def _renamed(names: dict[str, _File], step: Step, file: _File | None) -> None:
    if step.name != "make":
        names.pop(step.path, None)
    if file and step.name != "unlink":
        names[step.to or step.path] = file


def _apply(content: bytearray, step: Step, data: bytes | None = None, at: int | None = None) -> None:
    if step.name == "truncate":
        del content[step.offset :]
        content.extend(bytes(step.offset - len(content)))
        return
    data = step.data if data is None else data
    start = (len(content) if step.offset < 0 else step.offset) if at is None else at
    content.extend(bytes(max(0, start - len(content))))
    content[start : start + len(data)] = data


def _all(file: _File) -> bytes:
    return _the_first(file, None)


def _nothing(file: _File, rng: random.Random) -> bytes:
    return bytes(file.medium)


def _the_first(file: _File, rng: random.Random | None) -> bytes:
    """Apply all changes, or only the first ones."""
    content = bytearray(file.medium)
    for change in file.unsynced[: rng.randint(0, len(file.unsynced)) if rng else None]:
        _apply(content, change.step)
    return bytes(content)


def _some(file: _File, rng: random.Random) -> bytes:
    """Apply some of the writes and truncations."""
    content = bytearray(file.medium)
    likely = rng.random()
    for change in file.unsynced:
        if rng.random() < likely:
            _apply(content, change.step)
    return bytes(content)


def _torn(file: _File, rng: random.Random) -> bytes:
    """Apply some sectors of them. The new length of a grown file may be there without its new bytes."""
    content = bytearray(file.medium)
    likely = rng.choice([0.1, 0.5, 0.9, 0.99])
    for change in file.unsynced:
        step = change.step
        if step.name == "truncate" or step.offset < 0:
            if rng.random() < likely:
                _apply(content, step)
            continue
        for at, piece in _sectors(step):
            if rng.random() < likely:
                _apply(content, step, piece, at)
        if rng.random() < likely / 2:
            content.extend(bytes(max(0, step.offset + len(step.data) - len(content))))
    return bytes(content)


def _sectors(step: Step) -> list[tuple[int, bytes]]:
    """Split a write at the boundaries of sectors."""
    end = step.offset + len(step.data)
    edges = [step.offset, *range(step.offset // SECTOR * SECTOR + SECTOR, end, SECTOR), end]
    return [(a, step.data[a - step.offset : b - step.offset]) for a, b in pairwise(edges) if a < b]
