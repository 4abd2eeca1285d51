"""The structure is as designed: import rules, one importer for each library, small files."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SDK = sorted(file for file in (ROOT / "alignai").rglob("*.py") if (ROOT / "alignai" / "spool") not in file.parents)
SPOOL = sorted((ROOT / "spool").rglob("*.py"))

IMPORTERS = {
    "marshmallow": {f"alignai/_events/{each}.py" for each in ("fields", "schemas")},
    "requests": {f"alignai/_transport/{each}.py" for each in ("http", "interception", "urllib3_adapter")},
    "urllib3": {f"alignai/_transport/{each}.py" for each in ("http", "interception", "urllib3_adapter")},
    "filelock": {"spool/lease.py"},
    "platformdirs": {"alignai/_spool_path.py"},
    "rich": {"alignai/_console.py"},
}
"""The only files that import a library."""

SDK_BASE = {"_exclusive", "clock", "constants", "exception", "validate", "deadline", "results", "_version", "_plain"}
SDK_BASE |= {"_interruption", "_safe_logging"}
ALLOWED = {
    "spool.clock": set(),
    "spool.interruption": set(),
    "spool.errors": {"interruption"},
    "spool.records": set(),
    "spool.ledger": {"errors", "records"},
    "spool.storage": {"clock", "errors", "records", "ledger", "interruption"},
    "spool.lease": {"clock", "errors", "storage", "interruption"},
    "spool.group_commit": {"clock", "errors", "storage", "interruption"},
    "spool.salvage": {"errors", "ledger", "storage", "interruption"},
    "alignai.config": {"constants", "exception", "_plain", "_interruption"},
    "alignai._spool_path": {"constants", "exception", "_interruption"},
    "alignai._settings": {"constants", "exception", "config", "_events", "_spool_path", "_interruption"},
    "alignai._events": {"constants", "exception", "validate", "_plain", "_interruption"},
    "alignai._transport": {
        "_exclusive",
        "clock",
        "constants",
        "deadline",
        "exception",
        "_console",
        "_version",
        "_interruption",
    },
    "alignai._delivery": {*SDK_BASE, "config", "_settings", "_transport", "spool"},
    "alignai._recorder": {*SDK_BASE, "config", "_settings", "_events", "_delivery", "spool"},
    "alignai.collector": {*SDK_BASE, "_events"},
    "alignai.demo": {*SDK_BASE, "", "collector", "_console", "_events"},
}
"""The modules of its own package that each package or module may import, by name."""


def name(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def module(file: Path) -> str:
    """The name by which *file* is imported."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join((("alignai",) if parts[0] == "spool" else ()) + parts).removesuffix(".__init__")


@cache
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


def test_both_packages_are_read() -> None:
    assert {"alignai/client.py", "spool/engine.py"} <= {name(file) for file in [*SDK, *SPOOL]}


@pytest.mark.parametrize("library", IMPORTERS)
def test_each_library_is_imported_by_its_own_module(library: str) -> None:
    assert importers(library) <= IMPORTERS[library]
    assert importers(library)


def test_only_the_spool_knows_sqlite() -> None:
    assert [each for each in importers("sqlite3") if not each.startswith("spool/")] == []


def test_nothing_else_is_imported_from_outside_the_standard_library() -> None:
    import sys

    known = {*sys.stdlib_module_names, *IMPORTERS, "alignai", ""}
    assert {root for file in [*SDK, *SPOOL] for root in roots(file)} - known == set()


def test_only_the_entry_point_of_the_spool_imports_the_sdk() -> None:
    assert {name(file) for file in SPOOL if "alignai" in roots(file)} == {"spool/__main__.py"}
    assert {each for each in imports(ROOT / "spool" / "__main__.py") if each.startswith("alignai")} == {"alignai.cli"}


def test_the_sdk_imports_the_public_names_of_the_spool() -> None:
    """The command line also imports the modules of its commands. None of them imports SQL."""
    inside = {name(file): {each for each in imports(file) if each.startswith("alignai.spool.")} for file in SDK}

    assert {file for file, modules in inside.items() if modules and not file.startswith("alignai/cli/")} == set()
    assert set().union(*inside.values()) == {f"alignai.spool.{each}" for each in ("inspection", "records", "salvage")}


def test_nothing_but_the_entry_point_imports_the_command_line() -> None:
    users = {
        name(file) for file in [*SDK, *SPOOL] if any(f"{each}.".startswith("alignai.cli.") for each in imports(file))
    }

    assert {each for each in users if not each.startswith("alignai/cli/")} == {"spool/__main__.py"}


@cache
def imported(file: Path) -> set[str]:
    """Return the modules of this project that *file* imports, by their full names."""
    package = module(file).split(".")
    if file.name != "__init__.py":
        package.pop()
    whole = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            whole |= {f"{source}.{alias.name}" if is_package(source) else source for alias in node.names}
    return {each for each in whole if each.startswith("alignai")}


def is_package(module: str) -> bool:
    return (ROOT / module.replace(".", "/")).is_dir()


def part(module: str) -> tuple[str, str]:
    """Return the package (`alignai` or its `spool`) and the module or sub-package in it, "" for the package itself."""
    names = module.split(".")
    package = "spool" if names[:2] == ["alignai", "spool"] else "alignai"
    below = names[2 if package == "spool" else 1 :][:1]
    is_module = below and any((ROOT / package / f"{below[0]}{end}").exists() for end in ("", ".py"))
    return package, below[0] if is_module else ""


@pytest.mark.parametrize("file", [*SDK, *SPOOL], ids=name)
def test_modules_import_only_what_is_below_them(file: Path) -> None:
    package, own = part(module(file))
    if f"{package}.{own}" not in ALLOWED:
        return
    used = {
        "spool" if (package, other) == ("alignai", "spool") else target
        for other, target in map(part, imported(file))
        if (other, target) != (package, own)
    }

    assert used <= ALLOWED[f"{package}.{own}"]


@pytest.mark.parametrize("file", SPOOL, ids=name)
def test_inside_the_spool_imports_are_relative(file: Path) -> None:
    depth = len(file.relative_to(ROOT / "spool").parts)
    own = {each.stem for each in SPOOL} | {"spool"}

    assert {each.split(".")[0] for each in imports(file)} & own - {"inspect"} == set()
    assert all(len(each) - len(each.lstrip(".")) <= depth for each in imports(file))


def test_the_name_spool_is_never_imported_from_the_top() -> None:
    """It belongs to another project."""
    files = [*SDK, *SPOOL, *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
    ours = [file for file in files if "/.envs/" not in file.as_posix()]  # what the benchmarks have installed

    assert [name(file) for file in ours if "spool" in roots(file)] == []


@pytest.mark.parametrize("base", ["constants", "exception", "clock", "deadline", "results"])
def test_base_modules_import_only_each_other(base: str) -> None:
    ours = {each for each in imports(ROOT / "alignai" / f"{base}.py") if each.startswith(("alignai", "."))}

    assert ours <= {"alignai.spool", "alignai.clock"}


@pytest.mark.parametrize("file", [*SDK, *SPOOL], ids=name)
def test_waits_are_measured_by_a_clock_that_test_tools_leave_alone(file: Path) -> None:
    """While freezegun stops `time.monotonic`, a deadline by it never comes: use `monotonic` of `clock.py`."""
    if file.name not in {"clock.py", "demo.py", "scenario.py"}:
        assert not re.search(r"time(\.| import .*)(monotonic|perf_counter)", file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("file", [*SDK, *SPOOL], ids=name)
def test_no_file_has_more_than_250_lines(file: Path) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 250


@pytest.mark.parametrize("file", sorted((ROOT / "tests").rglob("test_*.py")), ids=name)
def test_test_names_have_at_most_70_characters(file: Path) -> None:
    names = re.findall(r"def (test_\w+)", file.read_text(encoding="utf-8"))

    assert [each for each in names if len(each) > 70] == []


def test_the_spool_is_part_of_the_package_through_a_relative_link() -> None:
    assert (ROOT / "alignai" / "spool").readlink() == Path("../spool")
