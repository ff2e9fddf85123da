"""How the engine's faults look to its callers: as LiveKit's errors, with the cause kept."""

from __future__ import annotations

from livekit.agents import APIConnectionError, APIError

from .device_faults import DeviceError
from .models import ModelNotFoundError


class PartialDropped(Exception):  # noqa: N818 - an outcome, not a fault
    """A partial gave way to a newer one or to finals."""


def closed_error(name: str) -> APIError:
    """Returns what a request to a closed engine ends with."""
    return APIConnectionError(f"the engine of Whisper model {name} was closed", retryable=False)


def load_error(name: str, cause: Exception) -> APIError:
    """Returns what everybody gets from a model that can't be loaded."""
    advice = str(cause) if isinstance(cause, ModelNotFoundError | DeviceError) else f"{cause!r}"
    error = APIConnectionError(
        f"Whisper model {name} could not be loaded: {advice}", retryable=False
    )
    error.__cause__ = cause
    return error


def decode_error(name: str, cause: Exception) -> APIError:
    """Returns what a caller gets whose request made the model fail."""
    # Wrong arguments stay wrong, and so does a device that nothing could take over from.
    retryable = not isinstance(cause, ValueError | TypeError | DeviceError)
    error = APIConnectionError(f"Whisper model {name} failed: {cause}", retryable=retryable)
    error.__cause__ = cause
    return error
