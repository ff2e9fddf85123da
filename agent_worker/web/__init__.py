"""The page that people join from, and the endpoint that gives them tokens."""

from .app import MAX_BODY_BYTES, WebConfig, create_app

__all__ = ["MAX_BODY_BYTES", "WebConfig", "create_app"]
