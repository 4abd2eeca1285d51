"""
Bad input: every public method is called with any arguments.

Either the call raises `ValidationError` (or `TypeError` if the signature does not allow the call) and nothing of it is
spooled, or the event is recorded and a real Connect server decodes the arguments from it.
"""

from __future__ import annotations

import inspect
import tempfile
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from alignai import AlignAI, Config
from alignai.exception import ConfigError
from alignai.spool import Spool
from alignai.validate import ValidationError
from tests.faults.input.any_call import Call, any_calls, any_names, any_options, any_timeouts
from tests.faults.input.expected_event import decoded, expected
from tests.support.clients import PROJECT, client
from tests.support.servers.connect import ConnectServer

if TYPE_CHECKING:
    from hypothesis import strategies as st

    from tests.faults.scenario import Run, Trial

EXAMPLES = 2000
_FLUSHES = 0.02
_SETTINGS = 0.1
_PATIENCE = 60.0


def run(run: Run) -> None:
    """Call the methods of one client after another."""
    for trial in run.trials():
        call_often(run, trial, EXAMPLES)


def call_often(run: Run, trial: Trial, examples: int) -> None:
    """Make *examples* calls of event methods on a new client, and some of every other public method."""
    with tempfile.TemporaryDirectory() as folder, ConnectServer() as server:
        path = Path(folder) / "spool.db"
        sdk, spool = client(server.url, path), Spool(path, project_id=PROJECT)
        try:
            caller = _Caller(trial, sdk, spool)
            caller.drive(any_calls(), examples, caller.calls)
            caller.drive(any_timeouts(), round(examples * _FLUSHES), caller.flush)
            caller.drive(any_options(), round(examples * _SETTINGS), caller.configure)
            caller.drive(any_names(), round(examples * _SETTINGS), caller.construct)
            caller.compare(server)
        finally:
            sdk.close(_PATIENCE)
            spool.close()
    run.count(**caller.seen)


class _Caller:
    """Calls methods and checks the promises of each."""

    def __init__(self, trial: Trial, sdk: AlignAI, spool: Spool) -> None:
        self.seen: Counter[str] = Counter()
        self._trial = trial
        self._sdk = sdk
        self._spool = spool
        self._recorded: list[tuple[str, dict[str, Any], str]] = []
        self._began = datetime.now(UTC)

    def drive(self, values: st.SearchStrategy[Any], examples: int, judge: Any) -> None:
        """Try *examples* values. The smallest that breaks a promise is reported."""
        test = settings(
            max_examples=max(1, examples),
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
            print_blob=False,
        )(given(values)(lambda value: judge(value)))  # noqa: PLW0108 - hypothesis takes no method
        seed(self._trial.rng.randrange(2**32))(test)()

    def calls(self, calls: list[Call]) -> None:
        for call in calls:
            self.call(call)

    def call(self, call: Call) -> None:
        method = getattr(self._sdk, call.method)
        self.seen["calls"] += 1
        try:
            event_id = method(*call.positional, **call.named)
        except ValidationError as error:
            self.seen["refused"] += 1
            self._check(f"the error says what is wrong: {error}", call, holds=bool(error.errors))
            self._check("it fits the signature", call, holds=_fits(method, call))
        except TypeError:
            self.seen["misspelt"] += 1
            self._check("only a wrong signature is a TypeError", call, holds=not _fits(method, call))
        except Exception as error:  # noqa: BLE001 - any other exception is a finding
            self._trial.fail(f"{type(error).__name__} raised by {call}")
        else:
            bound = inspect.signature(method).bind(*call.positional, **call.named)
            bound.apply_defaults()
            self._recorded.append((call.method, bound.arguments, event_id))
        spooled = self._spool.last_seq()
        self._check("a refused event is not spooled", call, holds=spooled == len(self._recorded))

    def flush(self, timeout: object) -> None:
        self.seen["flushes"] += 1
        with suppress(ValidationError):
            result = self._sdk.flush(timeout)  # type: ignore[arg-type]
            valid = timeout is None or (isinstance(timeout, int | float) and timeout >= 0)
            self._check("only a number of at least 0 is a timeout", timeout, holds=valid)
            self._check("a flush with time sends everything", timeout, holds=bool(result) or timeout in range(10))
            return
        with suppress(ValidationError):
            self._sdk.close(timeout)  # type: ignore[arg-type]
            self._trial.fail(f"close took {timeout!r}, which flush refused")

    def configure(self, options: dict[str, Any]) -> None:
        self.seen["configs"] += 1
        with suppress(ConfigError):
            Config(**options)

    def construct(self, names: tuple[Any, Any, Any]) -> None:
        self.seen["constructions"] += 1
        with suppress(ConfigError):
            AlignAI(*names, Config(disabled=True)).close()

    def compare(self, server: ConnectServer) -> None:
        """Check that the server has the recorded events, in order."""
        self._trial.check("everything is sent", holds=bool(self._sdk.flush(_PATIENCE)))
        events = server.events()
        self._trial.check("nothing is missing and nothing is twice", holds=len(events) == len(self._recorded))
        for event, (method, arguments, event_id) in zip(events, self._recorded, strict=True):
            given = {name: value for name, value in arguments.items() if name != "event_id"}
            self._check(
                "it has the arguments of the call", (method, arguments), holds=decoded(event) == expected(method, given)
            )
            wanted = arguments["event_id"] or event_id
            ids = (event["id"], event_id, event["projectId"])
            self._check("it has its ids", (method, arguments), holds=ids == (wanted, wanted, PROJECT))
            at = datetime.fromisoformat(event["createTime"])
            self._check("it has its time", at, holds=self._began <= at <= self._began + timedelta(days=1))
        self.seen["recorded"] += len(events)

    def _check(self, what: str, value: object, *, holds: bool) -> None:
        if not holds:
            self._trial.fail(f"broken: {what}; {value!r}")


def _fits(method: Any, call: Call) -> bool:
    try:
        inspect.signature(method).bind(*call.positional, **call.named)
    except TypeError:
        return False
    return True
