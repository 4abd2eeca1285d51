"""
A recording of the events that the vendor's own SDK sends: `python -m tests.support.vendor`.

It is installed from PyPI into an environment of its own. It makes every call of `tests.support.vendor_calls` against a
Connect server. The events which that server decodes are written to a file. With `--check` they are compared with it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

from tests.support import vendor_calls
from tests.support.servers.connect import ConnectServer

VENDOR = "alignai==0.3.2"
RECORDED = Path(__file__).parents[1] / "data" / "vendor_events.json"

_RUN = """
import runpy, sys
from alignai import AlignAI
from alignai.config import Config

sdk = AlignAI(project_id="TEFSZ16", api_key="KEY", api_host=sys.argv[1], config=Config(flush_interval_ms=10))
for method, arguments in runpy.run_path(sys.argv[2])["CALLS"]:
    getattr(sdk, method)(**arguments)
sdk.close()
"""


def comparable(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the events without their ids and times of recording, which differ between runs."""
    return [{key: value for key, value in event.items() if key not in {"id", "createTime"}} for event in events]


def record() -> list[dict[str, Any]]:
    """The events that the vendor's SDK makes of the calls, as a server decodes them."""
    with tempfile.TemporaryDirectory() as folder, ConnectServer() as server:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin" / "python"
        # Isolated and in another folder, since `alignai` in this one is not the vendor's.
        subprocess.run([python, "-I", "-m", "pip", "install", "--quiet", VENDOR], check=True, cwd=folder)
        subprocess.run([python, "-I", "-c", _RUN, server.url, vendor_calls.__file__], check=True, cwd=folder)
        return comparable(server.events())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.support.vendor", description=f"Record what {VENDOR} sends.")
    parser.add_argument("--check", action="store_true", help="compare with what was recorded, and write nothing")
    check = parser.parse_args().check
    text = json.dumps(record(), indent=1, ensure_ascii=True, sort_keys=True) + "\n"
    if check:
        same = text == RECORDED.read_text(encoding="ascii")
        print("the same as recorded" if same else f"{VENDOR} sends something else than {RECORDED}")  # noqa: T201
        return 0 if same else 1
    RECORDED.write_text(text, encoding="ascii")
    return 0


if __name__ == "__main__":
    sys.exit(main())
