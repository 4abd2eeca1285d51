"""The demonstration: `python -m alignai.demo`."""
