"""HTTP: one upload, within a deadline, and what the response means."""
