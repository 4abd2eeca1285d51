"""The benchmark suite: `python -m benchmarks`. See README.md beside this file."""
