"""A signal handler's exception of any kind leaves a call unchanged, and no lock is held after it."""

from __future__ import annotations

import shutil
import signal
import socket
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from alignai.spool import Lease, Spool, is_interruption, is_refusal
from alignai.spool.inspection import inspect
from alignai.spool.salvage import salvage
from tests.support.interrupts import HandlerError, guarded_lines, interrupt
from tests.support.memory import in_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType


# -- the source of the error -------------------------------------------------------------------------------------------


def late() -> None:
    raise HandlerError("late")


def plain(_number: int, _frame: FrameType | None) -> None:
    late()


class Handler:
    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        late()

    def method(self, *_: object) -> None:
        late()


@pytest.fixture(params=[plain, lambda *_: late(), Handler(), Handler().method, partial(plain)])
def handled(request: pytest.FixtureRequest) -> Iterator[signal.Signals]:
    """A signal with a handler."""
    before = signal.signal(signal.SIGUSR1, request.param)
    yield signal.SIGUSR1
    signal.signal(signal.SIGUSR1, before)


def test_what_a_handler_raises_is_an_interruption(handled: signal.Signals) -> None:
    with pytest.raises(HandlerError) as raised:
        signal.raise_signal(handled)

    assert is_interruption(raised.value)
    assert not is_refusal(raised.value)


def test_what_the_system_or_code_raises_is_none(tmp_path: Path, handled: signal.Signals) -> None:
    def refused(frame: FrameType) -> OSError:
        assert frame
        try:
            signal.raise_signal(handled)
        except HandlerError:
            with pytest.raises(OSError) as raised:  # noqa: PT011 - of any kind
                (tmp_path / "absent").open()
        return raised.value

    error = refused(sys._getframe().f_back or sys._getframe())
    assert not is_interruption(error)
    assert is_refusal(error)
    assert not is_refusal(TimeoutError("timed out"))


# -- every line in which errors are caught -----------------------------------------------------------------------------


class Place:
    """A copy of a spool with events in each state."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "spool.db"
        self.lease = Lease(self.path)
        self.spools: list[Spool] = []

    def open(self) -> Spool:
        self.spools.append(Spool(self.path, project_id="project"))
        return self.spools[-1]

    def opened(self, act: Callable[[Spool], object]) -> Callable[[], object]:
        return partial(act, self.open())

    def held(self, act: Callable[[], object]) -> Callable[[], object]:
        assert self.lease.acquire()
        return act

    def is_held(self) -> bool:
        self.lease._touched_at = -1e9
        return self.lease.held

    def other(self, name: str) -> Place:
        """Return a path at which nothing exists yet. Nothing is checked at the end."""
        return Place(self.path.parent / name)

    def end(self) -> None:
        """See that nothing is held, and close all."""
        self.lease.release()
        other = Lease(self.path)
        assert other.acquire()
        other.release()
        for spool in self.spools:
            spool.close()


@pytest.fixture
def template() -> Iterator[Path]:
    """The folder of the spool that is copied."""
    with tempfile.TemporaryDirectory(dir=in_memory()) as folder:
        make_template(Path(folder) / "template")
        yield Path(folder) / "template"


def make_template(folder: Path) -> None:
    spool = Place(folder).open()
    for _ in range(9):
        spool.append(b"event" * 50)
    for settle in (lambda batch: spool.mark_rejected(batch, "reason", "summary"), spool.mark_sent):
        batch = spool.next_batch(3, 1 << 20)
        assert batch
        settle(batch)
    spool.note_lease(socket.gethostname())
    spool.close()


ACTS: dict[str, Callable[[Place], Callable[[], object]]] = {
    "make": lambda place: place.other("new").open,
    "construct": lambda place: place.open,
    "close": lambda place: place.opened(Spool.close),
    "stats": lambda place: place.opened(Spool.stats),
    "requeue": lambda place: place.opened(Spool.requeue),
    "purge": lambda place: place.opened(lambda spool: spool.purge(spool.select("pending"))),
    "maintain": lambda place: place.opened(Spool.maintain),
    "acquire": lambda place: place.lease.acquire,
    "held": lambda place: place.held(place.is_held),
    "release": lambda place: place.held(place.lease.release),
    "inspect": lambda place: place.held(partial(inspect, str(place.path))),
    "salvage": lambda place: partial(salvage, place.path, place.path.with_name("new.db")),
}


# Between its opening and the line that keeps it, a connection can only be closed by the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")
@pytest.mark.parametrize("name", ACTS)
def test_the_exception_of_a_handler_comes_out_of_every_line(name: str, template: Path) -> None:
    begin = ACTS[name]

    def copy(number: int) -> Place:
        return Place(shutil.copytree(template, template.with_name(str(number))))

    lines = guarded_lines(begin(copy(0)))
    for at in lines[:: 1 + len(lines) // 40]:
        place = copy(at)
        interrupt(begin(place), at, HandlerError)
        place.end()
