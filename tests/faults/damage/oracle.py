"""The events that must survive damage, found by comparing files with their undamaged versions page by page."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from alignai.spool.salvage.btree import values
from alignai.spool.salvage.image import DatabaseImage
from tests.faults.damage.damages import PAGE, contents, copied
from tests.faults.damage.worker import payload
from tests.support.spool_file import wal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_WAL_HEADER_SIZE, _FRAME_HEADER_SIZE = 32, 24
_FRAME = _FRAME_HEADER_SIZE + PAGE

PageAt = tuple[str, int]
"""A file, and the offset of a page in it."""


@dataclass
class Base:
    """A spool whose copies are damaged, and the facts about its events."""

    path: Path
    unsent: list[str]
    sent: list[str]
    rejected: list[str]
    sizes: dict[str, int]

    def __post_init__(self) -> None:
        self.files = contents(self.path.parent)

    def content(self, event_id: str) -> bytes:
        """Return the payload of an event."""
        return payload(event_id, self.sizes[event_id])

    @cached_property
    def known(self) -> set[str]:
        """Return the payload of every event that was ever recorded."""
        return {self.content(event_id).decode() for event_id in self.sizes}

    @cached_property
    def homes(self) -> dict[str, list[set[PageAt]]]:
        """Return the sets of pages of each event. Any one of the sets, if intact, holds the whole event."""
        file, wal_file = self.path.open("rb"), wal(self.path).open("rb") if wal(self.path).exists() else None
        with file:
            places = list(_rows(DatabaseImage(file, wal_file)))
            if wal_file:
                wal_file.close()
        homes: dict[str, list[set[PageAt]]] = {each: [] for each in [*self.unsent, *self.rejected]}
        for event_id, place in places:
            if event_id in homes:
                home = (self.path.name, place) if place >= 0 else (wal(self.path).name, -place)
                homes[event_id].append({home} if self._fits(event_id) else self._all_pages_of(event_id))
        return homes

    def _fits(self, event_id: str) -> bool:
        return len(self.content(event_id)) < 4000

    def _all_pages_of(self, event_id: str) -> set[PageAt]:
        name = event_id.encode()
        return {page for page in self._pages() if name in self._page(page, self.files)}

    def _pages(self) -> Iterator[PageAt]:
        yield from ((self.path.name, at) for at in range(0, len(self.files[self.path.name]), PAGE))
        content = self.files.get(wal(self.path).name, b"")
        yield from (
            (wal(self.path).name, at + _FRAME_HEADER_SIZE)
            for at in range(_WAL_HEADER_SIZE, len(content) - _FRAME + 1, _FRAME)
        )

    @staticmethod
    def _page(page: PageAt, files: dict[str, bytes]) -> bytes:
        name, at = page
        return files.get(name, b"")[at : at + PAGE]

    def intact(self, files: dict[str, bytes]) -> set[str]:
        """Return the events that can be read, with or without the rest of the files."""
        last = self._last_commit(files)
        return {
            event_id
            for event_id, homes in self.homes.items()
            if any(all(self._is_intact(page, files, last) for page in home) for home in homes)
        }

    def has_its_last_commit(self, files: dict[str, bytes]) -> bool:
        """Return True if the last commit of the WAL is intact."""
        return self._last_commit(files) == self._last_commit(self.files)

    def _is_intact(self, page: PageAt, files: dict[str, bytes], last: int) -> bool:
        in_wal = page[0] != self.path.name
        if in_wal and page[1] > last:
            return False
        return self._page(page, self.files) == self._page(page, files)

    def _last_commit(self, files: dict[str, bytes]) -> int:
        """Return the offset of the last frame that ends a commit. The WAL is not read beyond it."""
        before, now = self.files.get(wal(self.path).name, b""), files.get(wal(self.path).name, b"")
        salts, last, matching = before[16:24], 0, 0
        for at in range(_WAL_HEADER_SIZE, len(now) - _FRAME + 1, _FRAME):
            head = now[at : at + _FRAME_HEADER_SIZE]
            matching += head[8:16] == salts
            if head[8:16] == salts and any(head[4:8]) and head == before[at : at + _FRAME_HEADER_SIZE]:
                last = at + _FRAME_HEADER_SIZE
        matching += now[16:24] == salts
        return last if matching > 1 else 0


def _rows(image: DatabaseImage) -> Iterator[tuple[str, int]]:
    for place in image.page_versions():
        for cell in image.cells(place):
            for record in image.records(cell):
                row = values(record)
                if row and isinstance(row[-1], bytes):
                    yield row[-1][7:39].decode(errors="replace"), place


def damaged_copy(base: Base, folder: Path) -> Path:
    """Return another copy of the same files."""
    shutil.rmtree(folder, ignore_errors=True)
    return copied(base.path, folder)
