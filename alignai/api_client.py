"""The uploading client, under the import path of the official SDK."""

from alignai._transport.api_client import APIClient

__all__ = ["APIClient"]
