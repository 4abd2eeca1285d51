"""The benchmark suite, run by `python -m benchmarks` and described in README.md beside this file."""
