"""The environments of the suite: one for this package, the other queues and the plots, one for the official alignai."""

from __future__ import annotations

import configparser
import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
FOLDER = Path(__file__).parent / ".envs"
VENDOR = "alignai==0.3.2"
OURS = "ours"
VENDORS = "vendor"

_VERSIONS = """
import importlib.metadata, json, platform, sqlite3
known = {each.metadata["Name"]: each.version for each in importlib.metadata.distributions()}
print(json.dumps({"Python": platform.python_version(), "SQLite": sqlite3.sqlite_version, **known}))
"""


def make() -> dict[str, Path]:
    """Return the interpreters by environment, without the official alignai's if that cannot be installed."""
    pythons = {OURS: _environment(OURS, requirements(), REPOSITORY)}
    try:
        pythons[VENDORS] = _environment(VENDORS, [VENDOR], None)
    except subprocess.CalledProcessError:
        print(f"{VENDOR} cannot be installed, and is left out")
    return pythons


def versions_in(python: Path) -> str:
    """Return the versions of all packages in an environment, as JSON."""
    return subprocess.run([python, "-I", "-c", _VERSIONS], check=True, capture_output=True, text=True).stdout


def variables() -> dict[str, str]:
    """Return the environment's variables, without those that the SDK and Python read."""
    unwanted = ("ALIGNAI_", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    return {**kept, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


def requirements() -> list[str]:
    """Return the requirements of this package and of the other queues, from setup.cfg."""
    options = configparser.ConfigParser()
    options.read(REPOSITORY / "setup.cfg", encoding="utf-8")
    needed = options["options"]["install_requires"] + options["options.extras_require"]["bench"]
    return needed.split("\n")[1:]


def _environment(name: str, requirements: list[str], checkout: Path | None) -> Path:
    """
    Make the environment *name*, unless it exists.

    The checkout is put on its path instead of being installed. An editable install would slow down every start of the
    interpreter, and a normal one would measure old code.
    """
    folder = FOLDER / name
    python = folder / "bin" / "python"
    stamp = folder / "made-of"
    made_of = hashlib.sha256(repr((sys.version, requirements)).encode()).hexdigest()
    if not stamp.exists() or stamp.read_text(encoding="ascii") != made_of:
        print(f"making the environment {name!r}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True)
        # Isolated, and from another folder: in the checkout, `alignai` is this package.
        subprocess.run([python, "-I", "-m", "pip", "install", "-qq", *requirements], check=True, cwd=folder)
        if checkout:
            next(folder.glob("lib/python*/site-packages")).joinpath("checkout.pth").write_text(f"{checkout}\n")
        stamp.write_text(made_of, encoding="ascii")
    return python
