"""Malformed and hostile messages against the servers, and how they took them."""

from .report import Report
from .rounds import attack

__all__ = ["Report", "attack"]
