"""
Runs one job in the environment whose interpreter runs this: a JSON object on stdin, figures as JSON on stdout.

It is run as a script, so that nothing but this folder is added to the import path: in one of the environments `alignai`
is the vendor's.
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
