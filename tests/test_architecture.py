"""The house is as it was designed: one library, one door; two rooms; small files."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SDK = sorted((ROOT / "alignai").glob("*.py"))
SPOOL = sorted((ROOT / "spool").glob("*.py"))

DOORS = {
    "marshmallow": {"alignai/schemas.py"},
    "requests": {"alignai/interception.py", "alignai/transport.py", "alignai/urllib3_adapter.py"},
    "urllib3": {"alignai/interception.py", "alignai/transport.py", "alignai/urllib3_adapter.py"},
    "filelock": {"spool/lease.py"},
    "platformdirs": {"alignai/_settings.py"},
    "rich": {"alignai/demo.py", "alignai/rehearsal.py", "spool/cli.py"},
}
"""Which library is imported where, and nowhere else."""


def name(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def imports(file: Path) -> set[str]:
    """Every module that *file* imports, wherever in it, relative ones with their dots."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add("." * node.level + (node.module or ""))
    return found


def roots(file: Path) -> set[str]:
    return {each.split(".")[0] for each in imports(file)}


def importers(library: str) -> set[str]:
    return {name(file) for file in [*SDK, *SPOOL] if library in roots(file)}


def test_both_rooms_are_read() -> None:
    assert {"alignai/client.py", "spool/engine.py"} <= {name(file) for file in [*SDK, *SPOOL]}


@pytest.mark.parametrize("library", DOORS)
def test_each_library_has_its_door(library: str) -> None:
    assert importers(library) <= DOORS[library]
    assert importers(library)


def test_only_the_spool_knows_sqlite() -> None:
    assert {each.split("/")[0] for each in importers("sqlite3")} == {"spool"}


def test_nothing_else_is_imported_from_outside_the_standard_library() -> None:
    import sys

    known = {*sys.stdlib_module_names, *DOORS, "alignai", ""}
    assert {root for file in [*SDK, *SPOOL] for root in roots(file)} - known == set()


def test_the_spool_knows_nothing_of_the_sdk_but_in_its_command_line() -> None:
    assert {name(file) for file in SPOOL if "alignai" in roots(file)} <= {"spool/cli.py"}


def test_inside_the_spool_imports_are_relative() -> None:
    own = {file.stem for file in SPOOL} | {"spool"}
    absolute = {each for file in SPOOL for each in imports(file) if each.split(".")[0] in own}
    deep = {each for file in SPOOL for each in imports(file) if each.startswith("..")}

    assert absolute - {"inspect"} == set()
    assert deep == set()
    assert {each for file in SPOOL for each in imports(file) if each.startswith("alignai.spool")} == set()


def test_the_name_spool_is_never_imported_from_the_top() -> None:
    """It belongs to another project."""
    files = [*SDK, *SPOOL, *sorted((ROOT / "tests").rglob("*.py")), *sorted((ROOT / "benchmarks").rglob("*.py"))]

    assert [name(file) for file in files if "spool" in roots(file)] == []


@pytest.mark.parametrize("base", ["constants", "exception", "clock", "deadline", "backoff"])
def test_the_foundations_import_nothing_of_ours_but_each_other(base: str) -> None:
    ours = {each for each in imports(ROOT / "alignai" / f"{base}.py") if each.startswith(("alignai", "."))}

    assert ours <= ({"alignai.spool"} if base == "exception" else {"alignai.clock"})


@pytest.mark.parametrize("file", [*SDK, *SPOOL], ids=name)
def test_waits_are_measured_by_a_clock_that_test_tools_leave_alone(file: Path) -> None:
    """While freezegun stops `time.monotonic`, a deadline by it never comes: use `monotonic` of `clock.py`."""
    if file.name not in {"clock.py", "demo.py", "rehearsal.py"}:
        assert not re.search(r"time(\.| import .*)(monotonic|perf_counter)", file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("file", [*SDK, *SPOOL], ids=name)
def test_no_file_is_long(file: Path) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 400


def test_the_spool_is_part_of_the_package_through_a_relative_link() -> None:
    assert (ROOT / "alignai" / "spool").readlink() == Path("../spool")


def test_http_is_not_loaded_before_a_client_is_made() -> None:
    """Whoever only looks at a spool, on call, does not wait for it."""
    script = "import sys, alignai, alignai.spool.cli; print('requests' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=ROOT)

    assert ran.stdout == "False\n"
