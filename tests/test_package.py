"""The wheel and the sdist hold `alignai` and `alignai.spool` and nothing else, and work if only they are installed."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.support.servers.connect import ConnectServer

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
SOURCES = ("alignai", "spool", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")
README = (ROOT / "README.md").read_text(encoding="utf-8")


def run(*command: object, **kwargs: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **kwargs)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    checkout = tmp_path_factory.mktemp("checkout")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, checkout / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, checkout / name)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", checkout / "dist", checkout)
    return checkout / "dist"


def needed(name: str) -> Iterator[metadata.Distribution]:
    """Return the distributions that *name* declares to need at run time."""
    for requirement in map(Requirement, metadata.requires(name) or []):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield metadata.distribution(requirement.name)
            yield from needed(requirement.name)


@pytest.fixture(scope="module")
def python(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a new environment with only the wheel and its declared requirements, made without a network."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home)
    python = home / "bin" / "python"
    (packages,) = home.glob("lib/python*/site-packages")
    for distribution in needed("alignai"):
        for file in distribution.files or []:
            source, target = Path(str(distribution.locate_file(file))), packages / file
            if source.is_file() and packages in target.parents and ".." not in file.parts:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, target)
    (wheel,) = dist.glob("*.whl")
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-index", "--no-deps", wheel)
    run(sys.executable, "-m", "pip", "--python", python, "check")
    return python


def test_the_wheel_holds_the_two_packages_and_nothing_else(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()

    sources = {*(ROOT / "alignai").rglob("*.py"), *(ROOT / "alignai" / "spool").rglob("*.py")}
    expected = {path.relative_to(ROOT).as_posix() for path in sources} | {"alignai/py.typed"}
    assert {name for name in names if ".dist-info/" not in name} == expected


def test_the_sdist_holds_the_sources_once(dist: Path) -> None:
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]

    assert "spool/engine.py" in names
    assert "alignai/client.py" in names
    assert {name.split("/")[0] for name in names if name.endswith(".py")} == {"alignai", "spool"}


def test_the_example_of_the_readme_runs_from_the_wheel(python: Path, tmp_path: Path) -> None:
    example = re.search(r"## Ten lines\n\n```python\n(.*?)```", README, re.DOTALL)
    assert example
    (tmp_path / "example.py").write_text(example[1])
    with ConnectServer() as server:
        environ = {"ALIGNAI_HOST": server.url, "ALIGNAI_SPOOL_PATH": str(tmp_path / "spool.db"), "HOME": str(tmp_path)}
        run(python, "example.py", cwd=tmp_path, env=environ)

        types = [event["type"] for event in server.events()]
    assert types == ["user_recognize", "session_open", "message_create", "message_create", "session_close"]


def test_the_demo_and_the_command_line_run_from_the_wheel(python: Path, tmp_path: Path) -> None:
    done = run(python, "-m", "alignai.demo", cwd=tmp_path, env=dict(os.environ) | {"HOME": str(tmp_path)})

    assert "events lost" in done.stdout
    helped = run(python, "-m", "alignai.spool", "--help", cwd=tmp_path)
    assert "inspect" in helped.stdout
    assert "inspect" in run(python.with_name("alignai-spool"), "--help", cwd=tmp_path).stdout


def test_the_package_is_typed_for_its_users(python: Path, tmp_path: Path) -> None:
    (tmp_path / "user.py").write_text(
        "from alignai import AlignAI, Config\n"
        "from alignai.spool import Spool\n"
        "def use(sdk: AlignAI, spool: Spool) -> str | None:\n"
        "    sdk.flush(timeout_seconds=1)\n"
        "    return sdk.close_session('s')\n"
    )
    run(sys.executable, "-m", "mypy", "--strict", "--python-executable", python, "user.py", cwd=tmp_path)


def test_readme_shows_every_command_and_every_setting() -> None:
    from dataclasses import fields

    from alignai.config import Config

    helped = run(sys.executable, "-m", "alignai.spool", "--help").stdout
    commands = re.findall(r"^    (\w+)\s", helped, re.MULTILINE)

    assert commands
    assert [name for name in commands if f"alignai.spool {name}" not in README] == []
    assert [field.name for field in fields(Config) if f"`{field.name}`" not in README] == []


def test_the_lowest_tested_versions_are_the_lowest_allowed() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    tested = dict(line.split("==") for line in (ROOT / "tests" / "lowest.txt").read_text().split())
    for requirement in map(Requirement, setup["options"]["install_requires"].split("\n")[1:]):
        (lowest,) = (Version(each.version) for each in requirement.specifier if each.operator == ">=")
        assert Version(tested[requirement.name]) == lowest
