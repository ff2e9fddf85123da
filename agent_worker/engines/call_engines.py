"""The engines of one call: those that the caller asked for, as far as they are to be had."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Mapping

from pydantic import ValidationError

from agent_worker.settings import Settings

from .build import EngineError, Engines, build_engines
from .call_options import for_call, pick, read_options
from .chosen import Choices
from .offers import find_offers

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
    _tell(troubles)
    own, chosen = for_call(settings, choices, options)
    try:
        return own, build_engines(own, chosen)
    except EngineError as e:
        if own is settings:
            raise
        logger.warning("the call is served without the caller's wishes: %s", e)
        return settings, build_engines(settings, choices)


def engines_for_language(
    settings: Settings, choices: Choices, language: str | None, wishes: Mapping[str, object]
) -> tuple[Settings, Engines]:
    """The same for a client that names its language, and can be told when that is not served.

    Args:
        settings: of this process.
        choices: of this process.
        language: BCP 47 tag; None = the settings' own.
        wishes: the caller's others, by kind.

    Raises:
        ValueError: the language can't be served; the message is for the client.
    """
    offers = find_offers(settings, choices)
    on_offer = language in offers.of("language")
    options, troubles = pick({**wishes, "language": language if on_offer else None}, offers)
    _tell(troubles)
    if language is not None and not on_offer:
        if "language" not in settings.caller_may_choose and language != settings.language:
            raise ValueError(f"only {settings.language} is served here")
        try:
            # a copy would skip the check of the pattern
            Settings.model_validate({**settings.model_dump(), "language": language})
        except ValidationError as e:
            raise ValueError(f"{language!r} is no language code") from e
        options = dataclasses.replace(options, language=language)
    own, chosen = for_call(settings, choices, options)
    try:
        return own, build_engines(own, chosen)
    except EngineError as e:
        raise ValueError(str(e)) from e


def _tell(troubles: Iterable[str]) -> None:
    for trouble in troubles:
        logger.warning("a wish of the caller is passed over", extra={"reason": trouble})
