"""A command imports nothing that it does without."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.processes import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from alignai.spool import Spool

HEAVY = {"marshmallow", "requests", "urllib3", "filelock", "platformdirs", "rich"}
SCRIPT = """
import sys
from alignai.cli import main
assert main(sys.argv[1:]) == 0
print(*sys.modules)
"""


def loaded(*arguments: object) -> set[str]:
    command = [sys.executable, "-c", SCRIPT, *map(str, arguments)]
    return set(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split())


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_inspect_loads_neither_the_client_nor_a_library(spool: Spool, path: Path, option: list[str]) -> None:
    modules = loaded("inspect", *option, path)

    assert "alignai.spool.inspection" in modules
    assert modules & {*HEAVY, "alignai.client", "alignai.cli.purge"} == set()


@pytest.mark.parametrize("command", [["requeue"], ["purge", "--state", "sent", "--yes"]])
def test_changing_a_spool_loads_no_library(spool: Spool, path: Path, command: list[str]) -> None:
    assert loaded(*command, path) & (HEAVY | {"alignai.client"}) == set()
