"""Character profiles, as they stand in a TOML file."""

import tomllib
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator


class ProfileError(ValueError):
    """The profiles can't be used; the message is one line of advice."""


class Character(BaseModel):
    """Somebody who can speak."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=60)
    description: str = Field(min_length=1)
    """Who this is and how he or she talks; goes into the prompt."""
    voice: str | None = None
    """Name of the TTS voice; None leaves the session's own."""
    sound: str = ""
    """What the voice sounds like, in words, for a speech model that is told so (Higgs Audio)."""
    reference: Path | None = None
    """A recording of the voice, a WAV, for a speech model that clones it."""
    reference_text: str = ""
    """What is said in that recording."""
    speaker: str = ""
    """Tag of the speaker in transcripts; the name if not set."""

    @property
    def tag(self) -> str:
        """The speaker tag."""
        return self.speaker or self.name

    @property
    def voice_name(self) -> str | None:
        """What the voice side is told: the voice, or whose voice it is where that is described."""
        return self.voice or (self.name if self.sound or self.reference else None)

    @model_validator(mode="after")
    def _reference_has_its_text(self) -> "Character":
        if self.reference is not None and not self.reference_text:
            raise ValueError("reference needs reference_text: the words that are said in it")
        return self


class Profiles(BaseModel):
    """All characters of a conversation; the first one opens it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    character: tuple[Character, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_unique(self) -> "Profiles":
        names = [character.name.lower() for character in self.character]
        tags = [character.tag.lower() for character in self.character]
        if len(set(names)) < len(names) or len(set(tags)) < len(tags):
            raise ValueError("two characters have the same name or speaker tag")
        return self


def load_profiles(path: Path) -> tuple[Character, ...]:
    """Read the characters of a TOML file, a `[[character]]` table for each.

    Raises:
        ProfileError: The file is missing, is not TOML, or a profile is not right.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        characters = Profiles.model_validate(data).character
        return tuple(_with_reference_beside(path, character) for character in characters)
    except OSError as e:
        raise ProfileError(f"The profiles {path} can't be read: {e.strerror}") from e
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise ProfileError(f"The profiles {path} are not valid TOML: {e}") from e
    except ValidationError as e:
        first = e.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "file"
        raise ProfileError(f"The profiles {path} are not right at {place}: {first['msg']}") from e


def _with_reference_beside(path: Path, character: Character) -> Character:
    """A reference is named as seen from the file that names it."""
    if character.reference is None:
        return character
    return character.model_copy(update={"reference": path.parent / character.reference})


def default_profiles() -> Sequence[Character]:
    """The two characters that come along."""
    return load_profiles(Path(__file__).parent / "graphs" / "personas.toml")
