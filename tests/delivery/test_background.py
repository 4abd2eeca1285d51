"""The parts that the sender is made of: a moment, a wait that grows, a thread that does not die."""

from __future__ import annotations

import ctypes
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignai._delivery.background import BackgroundThread
from alignai._delivery.backoff import Backoff
from alignai.deadline import Deadline
from tests.support.strategies import UNHURRIED
from tests.support.waiting import BUSY_TIMEOUT_SECONDS, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = st.floats(0, 1e6)


def nothing() -> None:
    """Record the end of a loop."""


class Steps:
    """A step that counts its calls, raises `error` if it is set, and asks for the next call after *seconds*."""

    def __init__(self, seconds: float = 60.0) -> None:
        self.seconds = seconds
        self.count = 0
        self.error: BaseException | None = None

    def __call__(self) -> float:
        self.count += 1
        if self.error:
            raise self.error
        return self.seconds


@pytest.fixture
def steps() -> Steps:
    return Steps()


@pytest.fixture
def loop(steps: Steps) -> Iterator[BackgroundThread]:
    loop = BackgroundThread("steps", steps, nothing)
    yield loop
    loop.stop()
    assert loop.join(Deadline.after(BUSY_TIMEOUT_SECONDS))


# -- Deadline ----------------------------------------------------------------------------------------------------------


@UNHURRIED
@given(SECONDS)
def test_a_deadline_comes_after_its_seconds_and_not_before(seconds: float) -> None:
    deadline = Deadline.after(seconds)
    assert 0 <= deadline.remaining <= seconds + 1e-6
    assert deadline.expired == (deadline.remaining == 0)


@UNHURRIED
@given(SECONDS, SECONDS)
def test_the_sooner_of_two_deadlines_is_never_later(first: float, second: float) -> None:
    deadline = Deadline.after(first)
    sooner = deadline.sooner(second)
    assert sooner.at <= deadline.at
    assert sooner.remaining <= second + 1e-6


def test_a_deadline_of_the_past_is_now() -> None:
    deadline = Deadline.after(-1)
    assert (deadline.remaining, deadline.expired) == (0, True)


def test_an_endless_deadline_does_not_expire() -> None:
    assert Deadline.never().remaining == float("inf")
    assert Deadline.never().sooner(1).remaining <= 1


# -- Backoff -----------------------------------------------------------------------------------------------------------


@UNHURRIED
@given(st.floats(0.001, 10), st.floats(1, 100), SECONDS, st.integers(0, 40))
def test_a_wait_is_between_retry_after_and_a_doubling_ceiling(
    first: float, times: float, at_least: float, earlier: int
) -> None:
    backoff = Backoff(first, first * times)
    for _ in range(earlier):
        backoff.next()
    assert at_least <= backoff.next(at_least) <= at_least + min(first * 2**earlier, first * times)
    backoff.reset()
    assert backoff.next() <= first


def test_waits_are_spread_over_all_of_their_range() -> None:
    waits = [Backoff(first_seconds=1.0).next() for _ in range(1000)]
    assert min(waits) < 0.1
    assert max(waits) > 0.9


# -- Loop --------------------------------------------------------------------------------------------------------------


def test_a_loop_steps_when_it_is_woken(loop: BackgroundThread, steps: Steps) -> None:
    loop.start()
    wait_until(lambda: steps.count == 1)
    loop.wake()
    wait_until(lambda: steps.count == 2)


def test_a_loop_that_runs_is_not_started_twice(loop: BackgroundThread, steps: Steps) -> None:
    for _ in range(10):
        loop.start()
    wait_until(lambda: steps.count == 1)
    assert [thread.name for thread in threading.enumerate()].count("steps") == 1


def test_a_loop_ends_when_stopped_and_never_starts_again(loop: BackgroundThread, steps: Steps) -> None:
    loop.start()
    loop.stop()
    assert loop.join(Deadline.after(BUSY_TIMEOUT_SECONDS))
    loop.start()
    assert not loop.running


def test_a_loop_runs_its_end_on_its_own_thread() -> None:
    ends: list[str] = []
    loop = BackgroundThread("steps", Steps(), lambda: ends.append(threading.current_thread().name))
    loop.start()
    loop.stop()
    assert loop.join(Deadline.after(BUSY_TIMEOUT_SECONDS))
    assert ends == ["steps"]


def test_a_loop_that_never_ran_has_ended(loop: BackgroundThread) -> None:
    assert loop.join(Deadline.after(0))


def test_a_thread_cannot_wait_for_itself(steps: Steps) -> None:
    joined: list[bool] = []
    loop = BackgroundThread("steps", lambda: joined.append(loop.join(Deadline.never())) or 60.0, nothing)
    loop.start()
    wait_until(lambda: joined == [False])
    loop.stop()
    assert loop.join(Deadline.after(BUSY_TIMEOUT_SECONDS))


def test_an_error_is_logged_once_and_the_loop_goes_on(
    loop: BackgroundThread, steps: Steps, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alignai._delivery.background._AFTER_ERROR_SECONDS", 0.0)
    steps.error = OSError("no disk")
    loop.start()
    wait_until(lambda: steps.count >= 5)
    steps.error = None
    seen = steps.count
    wait_until(lambda: steps.count > seen)
    assert [record.getMessage() for record in caplog.records] == ["steps continues after an error (OSError: no disk)"]


def test_a_thread_that_died_starts_again_and_the_log_says_why(
    loop: BackgroundThread, steps: Steps, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alignai._delivery.background._AFTER_ERROR_SECONDS", 0.0)
    steps.error = SystemExit("someone called exit in it")
    loop.start()
    wait_until(lambda: steps.count >= 2)
    steps.error = None
    seen = steps.count
    wait_until(lambda: steps.count > seen)
    assert "steps died" in caplog.text
    assert "someone called exit in it" in caplog.text


def test_a_thread_killed_from_outside_starts_again(
    loop: BackgroundThread, steps: Steps, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alignai._delivery.background._AFTER_ERROR_SECONDS", 0.0)
    steps.seconds = 0.01
    loop.start()
    wait_until(lambda: steps.count >= 1)
    thread = next(thread for thread in threading.enumerate() if thread.name == "steps")
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit))
    wait_until(lambda: not thread.is_alive())
    seen = steps.count
    wait_until(lambda: steps.count > seen)
    assert "steps died" in caplog.text
