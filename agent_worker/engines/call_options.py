"""What one caller asked for, and the settings that their call gets for it. No I/O.

The wishes come as JSON in the metadata of the job, where the page's token puts them:
``{"flow": ..., "character": ..., "voice": ..., "language": ...,
"economy": "on"}``, each one optional. Whoever may
dispatch an agent can write anything there, so a wish that is not on offer is passed over: a call
that is not quite as wanted is better than none.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, get_args

from agent_worker.language_tags import primary, same_language
from agent_worker.settings import ChoiceKind, Settings

from .choice import choose
from .chosen import Choices
from .languages import languages
from .offer import STANDARD
from .offers import EVERYONE, PERSONA, Offers
from .voices.registry import voice_engine

MAX_METADATA = 2048
"""Characters; four wishes stay well below it."""


@dataclasses.dataclass(frozen=True)
class CallOptions:
    """One caller's wishes; None = as the settings say."""

    flow: str | None = None
    character: str | None = None
    voice: str | None = None
    language: str | None = None
    economy: str | None = None
    """on or off."""


def read_options(metadata: str, offers: Offers) -> tuple[CallOptions, tuple[str, ...]]:
    """Reads a job's metadata.

    Returns:
        The wishes that are on offer, and what was wrong with the rest, in a few words which hold
        nothing of what was sent: they go into the log.
    """
    if not metadata:
        return CallOptions(), ()
    if len(metadata) > MAX_METADATA:
        return CallOptions(), ("the metadata is too long",)
    try:
        wishes: Any = json.loads(metadata)
    except (ValueError, RecursionError):
        return CallOptions(), ("the metadata is no JSON",)
    if not isinstance(wishes, dict):
        return CallOptions(), ("the metadata is no JSON object",)
    return pick(wishes, offers)


def pick(wishes: Mapping[str, Any], offers: Offers) -> tuple[CallOptions, tuple[str, ...]]:
    """Takes the wishes that are on offer; the rest is told as by `read_options`."""
    kinds: tuple[ChoiceKind, ...] = get_args(ChoiceKind)
    troubles = []
    if unknown := sum(key not in kinds for key in wishes):
        troubles.append(f"{unknown} unknown keys" if unknown > 1 else "an unknown key")
    taken: dict[str, str] = {}
    for kind in kinds:
        wish = wishes.get(kind)
        if wish is None or wish == "":
            continue
        if isinstance(wish, str) and wish in offers.of(kind):
            taken[kind] = wish
        else:
            troubles.append(f"this {kind} is not on offer")
    options = CallOptions(**taken)
    if options.voice is not None and options.language is not None:
        spoken = offers.of("voice")[options.voice].language
        if spoken and not same_language(spoken, options.language):
            troubles.append("this voice does not speak this language")
            options = dataclasses.replace(options, voice=None)
    return options, tuple(troubles)


def for_call(
    settings: Settings, choices: Choices, options: CallOptions
) -> tuple[Settings, Choices]:
    """The settings and engines of a call with these wishes."""
    if options == CallOptions():
        return settings, choices
    changes: dict[str, Any] = {}
    flow = options.flow
    if options.character is not None and flow is None:
        flow = PERSONA
    if flow is not None:
        changes["flow_id" if settings.llm == "remote" else "llm"] = flow
    if options.character is not None:
        alone = options.character != EVERYONE
        changes["persona_character"] = options.character if alone else None
    if options.economy is not None:
        changes["economy"] = options.economy == "on"
    changes |= _language(settings, choices, options)
    own = settings.model_copy(update=changes)
    return own, choose(own, choices.found)


def _language(settings: Settings, choices: Choices, options: CallOptions) -> dict[str, Any]:
    speaker = choices.tts.engine
    found = choices.found.voices_of(speaker)
    voice = None if options.voice == STANDARD else options.voice
    language = options.language
    if language is None and voice is not None:
        # a voice that speaks one language only brings it along
        language = found.voices.get(voice)
    if language is None or same_language(language, settings.language):
        return {} if voice is None else {"tts_voice": voice}
    known = languages().get(primary(language))
    changes: dict[str, Any] = {
        "language": language,
        "tts_voice": voice or voice_engine(speaker).voice_for(language, settings, found),
        # what the settings say is in the settings' own language
        "greeting": known.greeting if known and settings.greeting else "",
        "goodbye": known.goodbye if known else "",
    }
    if known is not None:
        changes["instructions"] = f"{settings.instructions}\nAnswer in {known.english}."
    return changes
