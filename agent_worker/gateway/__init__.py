"""The WebSocket protocol ``/ws/s2s``, for clients without WebRTC."""

from .endpoint import Gateway, GatewayConfig

__all__ = ["Gateway", "GatewayConfig"]
