"""Background delivery: when to upload, which batch, and how long to wait after a failure."""
