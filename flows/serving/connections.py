"""How the flow server is run: for clients that are not waited for without end."""

from __future__ import annotations

from typing import Any

import uvicorn

from bounded_http.patience import patient_http


def server_config(app: Any, *, patience_s: float = 20.0, **options: Any) -> uvicorn.Config:
    """How this server is run.

    Args:
        app: The ASGI application.
        patience_s: Seconds for which a client may owe a request's head, or reading.
        options: More of `uvicorn.Config`.
    """
    defaults: dict[str, Any] = {
        "http": patient_http(patience_s),
        "ws": "none",
        "access_log": False,
        "lifespan": "on",
        "timeout_graceful_shutdown": 2,
    }
    return uvicorn.Config(app, **(defaults | options))
