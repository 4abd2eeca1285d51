"""
Run one job in the environment of the interpreter: a JSON object on stdin, figures as JSON on stdout.

This file runs as a script, so that only its folder is added to the import path. In one of the environments `alignai` is
the official one.
"""

from __future__ import annotations

import importlib
import json
import sys


def main() -> None:
    job = json.load(sys.stdin)
    figures = importlib.import_module(f"subjects.{job['subject']}").measure(job)
    json.dump(figures, sys.stdout)


if __name__ == "__main__":
    main()
