"""The engines of one call: those that the caller asked for, as far as they are to be had."""

from __future__ import annotations

import logging

from .call_options import for_call, read_options
from .choice import Choices
from .engines import EngineError, Engines, build_engines
from .offers import find_offers
from .settings import Settings

logger = logging.getLogger(__name__)


def engines_for_call(
    settings: Settings, choices: Choices, metadata: str
) -> tuple[Settings, Engines]:
    """Builds the engines of a call, and gives the settings that go with them.

    Args:
        settings: of the worker.
        choices: of the worker.
        metadata: of the job, with the caller's wishes; see `call_options`.

    Raises:
        EngineError: not even the worker's own engines can be built.
    """
    options, troubles = read_options(metadata, find_offers(settings, choices))
    for trouble in troubles:
        logger.warning("a wish of the caller is passed over", extra={"reason": trouble})
    own, chosen = for_call(settings, choices, options)
    try:
        return own, build_engines(own, chosen)
    except EngineError as e:
        if own is settings:
            raise
        logger.warning("the call is served without the caller's wishes: %s", e)
        return settings, build_engines(settings, choices)
