"""Who speaks next, and who said what: decisions for a conversation of several characters."""

import re
from collections.abc import Sequence

from .persona_profiles import Character

_EVERYBODY = re.compile(
    r"\b(?:everybody|everyone|all of you|both of you|you both|each of you|you all)\b|大家|你们"
)
_THE_OTHERS = re.compile(
    r"\b(?:the other one|the others?|somebody else|someone else|what about you)\b|另一个|别人"
)


def next_speakers(
    text: str, characters: Sequence[Character], last: str | None
) -> tuple[Character, ...]:
    """Who answers an utterance, in order.

    Those who are addressed by name, in the order of the names; all, if all are asked; the next in
    the round, if somebody else is asked for; otherwise whoever spoke last.

    Args:
        text: What the caller said.
        characters: All of them; the first one opens the conversation.
        last: Name of the character that spoke last.
    """
    lower = text.lower()
    named = sorted(
        (found.start(), place)
        for place, character in enumerate(characters)
        if (found := _name_pattern(character).search(lower))
    )
    if named:
        return tuple(characters[place] for _, place in named)
    if _EVERYBODY.search(lower):
        return tuple(characters)
    place = next((i for i, c in enumerate(characters) if c.name == last), None)
    if place is None:
        return (characters[0],)
    if _THE_OTHERS.search(lower):
        place = (place + 1) % len(characters)
    return (characters[place],)


def _name_pattern(character: Character) -> re.Pattern[str]:
    name = re.escape(character.name.lower())
    # Chinese is written without the spaces that a word boundary needs.
    return re.compile(rf"\b{name}\b" if character.name.isascii() else name)


def lines_in(heard: str, said: Sequence[tuple[str, str]]) -> list[tuple[str | None, str]]:
    """Split what was heard of an answer into the lines of its speakers.

    Args:
        heard: The answer as the caller heard it, maybe cut off, maybe of several speakers.
        said: Who said what in earlier turns, oldest first.

    Returns:
        Speaker and text; the speaker is None where nobody is known to have said it.
    """
    rest = heard.strip()
    lines: list[tuple[str | None, str]] = []
    while rest:
        for speaker, text in reversed(said):
            whole = text.strip()
            if whole and rest.startswith(whole):
                lines.append((speaker, whole))
                rest = rest[len(whole) :].strip()
                break
            if whole.startswith(rest.rstrip("…. ")) and len(rest) > 3:
                lines.append((speaker, rest))
                rest = ""
                break
        else:
            lines.append((None, rest))
            break
    return lines
