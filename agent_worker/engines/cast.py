"""The characters of the persona flow, as the settings have them."""

from __future__ import annotations

from agent_worker.settings import Settings
from flows.persona_profiles import Character, ProfileError, default_profiles, load_profiles


def cast(settings: Settings) -> list[Character]:
    """Those of a call: all, or the one that it asked for.

    Raises:
        ProfileError: the file of the profiles can't be used.
        ValueError: there is no such character.
    """
    file = settings.persona_profiles
    characters = list(default_profiles() if file is None else load_profiles(file))
    name = settings.persona_character
    if name is None:
        return characters
    alone = [character for character in characters if character.name == name]
    if not alone:
        names = ", ".join(character.name for character in characters)
        raise ValueError(f"persona_character: there is no {name!r} among {names}")
    return alone


def whole_cast(settings: Settings) -> tuple[Character, ...]:
    """All of them, whichever a call asked for; none where the profiles can't be used."""
    try:
        return tuple(cast(settings.model_copy(update={"persona_character": None})))
    except ProfileError:
        return ()
