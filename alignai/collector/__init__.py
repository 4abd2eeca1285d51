"""A local ingestion server, for trying an integration without an account."""

from alignai.collector.collector import MAX_REQUEST_BYTES, Collector, Counts, Delivery, main

__all__ = ["MAX_REQUEST_BYTES", "Collector", "Counts", "Delivery", "main"]
