"""Where things are kept unless the settings say otherwise. Light, for those settings."""

DEFAULT_DATABASE_URL = "sqlite:///~/.local/share/livekit-agent-worker/flows.sqlite3"
"""One for the worker and the flow server, so that both know the same callers."""

DEFAULT_DOCUMENTS_INDEX = "~/.local/share/livekit-agent-worker/documents.sqlite3"
