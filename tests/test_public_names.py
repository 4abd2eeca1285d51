"""`import alignai` imports the client and its libraries at their first use, and nobody notices."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import alignai

ROOT = Path(__file__).parent.parent
MODULES = [
    "api_client",
    "client",
    "config",
    "constants",
    "exception",
    "logger",
    "results",
    "spool",
    "utils",
    "validate",
]


def in_a_new_process(script: str) -> str:
    return subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def test_importing_alignai_loads_no_client() -> None:
    loaded = in_a_new_process("import sys, alignai; print(*sys.modules)").split()

    assert {"alignai.client", "alignai.spool", "marshmallow", "requests"} & set(loaded) == set()


def test_a_star_import_binds_every_public_name() -> None:
    script = "from alignai import *; import alignai; print(set(alignai.__all__) - set(globals()))"

    assert in_a_new_process(script) == "set()\n"


@pytest.mark.parametrize("name", MODULES)
def test_a_public_module_is_an_attribute_of_the_package(name: str) -> None:
    assert in_a_new_process(f"import alignai; print(alignai.{name}.__name__)") == f"alignai.{name}\n"


def test_dir_lists_every_public_name_and_module() -> None:
    assert {*alignai.__all__, *MODULES, "APIClient"} <= set(dir(alignai))


def test_a_name_is_looked_up_once() -> None:
    assert alignai.AlignAI is vars(alignai)["AlignAI"]
