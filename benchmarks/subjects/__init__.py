"""The subjects, a module each. `measure(job)` does the work, and returns figures."""
