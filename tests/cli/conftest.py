from __future__ import annotations

import sys

import pytest


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ALIGNAI_SPOOL_PATH", "ALIGNAI_PROJECT_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(params=[True, False], ids=["with rich", "without rich"])
def table(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A terminal that shows no styles, so that every character in the output is the command's."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    if not request.param:
        monkeypatch.setitem(sys.modules, "rich.console", None)
