"""The client that uploads, under the vendor's import path."""

from alignai._transport.api_client import APIClient

__all__ = ["APIClient"]
