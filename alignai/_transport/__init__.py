"""HTTP: one upload within a deadline, and the meaning of the response."""
