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
SLOW = {"dataclasses", "hashlib", "inspect", "logging", "pathlib", "shutil", "socket", "tempfile", "urllib.parse"}
"""Modules of the standard library that take longer to import than all of `inspect` does."""
SCRIPT = """
import sys
from alignai.cli import main
assert main(sys.argv[1:]) == 0
print(*sys.modules)
"""

PARSING = "import sys, argparse, sqlite3; argparse.ArgumentParser(prog='x').parse_args([]); print(*sys.modules)"
"""Since Python 3.14, argparse imports dataclasses when it parses."""


def run_python(script: str, *arguments: object) -> list[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()[-1].split()


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_inspect_loads_neither_the_client_nor_a_library(spool: Spool, path: Path, option: list[str]) -> None:
    needed_anyway = set(run_python(PARSING))
    modules = set(run_python(SCRIPT, "inspect", *option, path))

    assert "alignai.spool.inspection" in modules
    assert (modules - needed_anyway) & {*HEAVY, *SLOW, "alignai.client", "alignai.cli.purge"} == set()


@pytest.mark.parametrize("command", [["requeue"], ["purge", "--state", "sent", "--yes"]])
def test_changing_a_spool_loads_no_library(spool: Spool, path: Path, command: list[str]) -> None:
    assert set(run_python(SCRIPT, *command, path)) & (HEAVY | {"alignai.client"}) == set()
