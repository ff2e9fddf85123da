"""What the user can set: one frozen model, read once from the environment and a TOML file.

This is the only module that knows the environment. The order, first wins: keyword arguments (the
command line), environment variables (``AGENT_WORKER_<FIELD>``; ``LIVEKIT_URL``,
``LIVEKIT_API_KEY`` and ``LIVEKIT_API_SECRET`` under LiveKit's names too), the TOML file, the
defaults.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from pydantic import AliasChoices, BaseModel, Field, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings.exceptions import SettingsError as UnreadableError

from .setting_groups.checks import ENV_PREFIX, empty_is_unset
from .setting_groups.conversation import ConversationSettings
from .setting_groups.hearing import HearingSettings
from .setting_groups.page import PageSettings
from .setting_groups.room import RoomSettings
from .setting_groups.speaking import SpeakingSettings, TtsEngine
from .setting_groups.thinking import ThinkingSettings
from .setting_groups.turns import ChoiceKind, TurnSettings
from .setting_words import allowed, shown, tables_hint, what_is_wrong, without_password

__all__ = [
    "CONFIG_FILE_VARIABLE",
    "DEFAULT",
    "DEFAULT_HUB",
    "ENV_PREFIX",
    "ChoiceKind",
    "Explained",
    "Settings",
    "SettingsError",
    "TtsEngine",
    "default_environment",
    "explain_settings",
    "export_environment",
    "load_settings",
    "proxy_for",
]

CONFIG_FILE_VARIABLE = f"{ENV_PREFIX}CONFIG"
DEFAULT_CONFIG_FILE = Path("agent-worker.toml")
DEFAULT_HUB = "https://huggingface.co"


class SettingsError(Exception):
    """A setting is unknown or has a bad value. The message is advice, line by line."""


def _cache_dir() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")  # noqa: TID251 - this module is the environment's door
    return (Path(base) if base else Path.home() / ".cache") / "livekit-agent-worker"


def _runtime_dir() -> Path:
    """For what need not outlive a restart of the machine: in memory where the system has that."""
    base = os.environ.get("XDG_RUNTIME_DIR")  # noqa: TID251 - this module is the environment's door
    return (Path(base) / "livekit-agent-worker") if base else _cache_dir()


class Settings(
    PageSettings,
    TurnSettings,
    SpeakingSettings,
    ThinkingSettings,
    HearingSettings,
    ConversationSettings,
    RoomSettings,
    BaseSettings,
):
    """Every setting of the worker.

    Raises:
        SettingsError: from `load_settings`, when a key is unknown or a value bad.
    """

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, frozen=True, extra="forbid")

    calls_dir: Path | None = Field(
        default_factory=lambda: _runtime_dir() / "calls",
        description="Folder in which what is said is kept until the call ends, so that another "
        "agent can take over; empty = nowhere.",
    )
    cache_dir: Path = Field(
        default_factory=_cache_dir, description="Where the LiveKit server and voices are kept."
    )
    model_hub: str = Field(
        DEFAULT_HUB,
        validation_alias=AliasChoices("model_hub", f"{ENV_PREFIX}MODEL_HUB", "HF_ENDPOINT"),
        description="Where models are fetched from: the hub, a mirror of it, or a folder with "
        "them as OWNER/NAME/FILE.",
    )

    _files_unset = field_validator("calls_dir", mode="before")(empty_is_unset)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, _TomlSource(settings_cls)

    @property
    def spoken_language(self) -> str:
        """The language that the agent speaks: English where the caller's is detected."""
        return "en" if self.language == "auto" else self.language

    def embeddings_dir(self) -> Path:
        """Folder of downloaded embedding models."""
        return self.cache_dir / "embeddings"

    def own_fault_words(self) -> dict[str, str]:
        """The words for when something breaks that are set, by their names without the prefix."""
        return {
            name.removeprefix("words_"): getattr(self, name)
            for name in Settings.model_fields
            if name.startswith("words_") and getattr(self, name) is not None
        }

    def voices_dir(self) -> Path:
        """Folder of downloaded Piper voices."""
        return self.cache_dir / "voices"

    def kokoro_dir(self) -> Path:
        """Folder of Kokoro's model and voices."""
        return self.voices_dir() / "kokoro"


class _TomlSource(InitSettingsSource):
    """The TOML file, if there is one. Its keys are the field names; tables are not used."""

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        path = _config_file()
        values = _read_toml(path)
        if hint := tables_hint(values, Settings.model_fields):
            raise SettingsError(f"{path}: {hint}")
        super().__init__(settings_cls, values)


def _config_file() -> Path | None:
    named = os.environ.get(CONFIG_FILE_VARIABLE)  # noqa: TID251
    if named:
        return Path(named)
    return DEFAULT_CONFIG_FILE if DEFAULT_CONFIG_FILE.is_file() else None


def _read_toml(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"{path}: no such file (named by {CONFIG_FILE_VARIABLE})") from None
    except (OSError, UnicodeDecodeError) as e:
        raise SettingsError(f"{path}: can't be read: {e}") from e
    except tomllib.TOMLDecodeError as e:
        raise SettingsError(f"{path}: not valid TOML: {e}") from e


def load_settings(**overrides: Any) -> Settings:
    """Reads the settings once.

    Args:
        overrides: values from the command line; they win over everything else.

    Raises:
        SettingsError: one clear line for each key that is unknown or whose value is bad.
    """
    lines = [
        _unknown(name, name.removeprefix(ENV_PREFIX).lower())
        for name in sorted(os.environ)  # noqa: TID251
        if name.startswith(ENV_PREFIX)
        and name != CONFIG_FILE_VARIABLE
        and name.removeprefix(ENV_PREFIX).lower() not in Settings.model_fields
    ]
    if lines:
        raise SettingsError("\n".join(lines))
    try:
        return Settings(**overrides)
    except ValidationError as e:
        # a setting that takes one of several kinds fails once for each of them
        found = {_field_of(error["loc"]): error for error in reversed(e.errors())}
        lines = [_line(name, error, name in overrides) for name, error in found.items()]
        raise SettingsError("\n".join(sorted(lines))) from None
    except UnreadableError as e:
        name = next((n for n in Settings.model_fields if f'"{n}"' in str(e)), "settings")
        example = _JSON_EXAMPLES.get(name, '["one", "two"]')
        said = f"{name}: must be JSON in the environment, such as {example}"
        raise SettingsError(f"{said} (from {_variable_of(name)})") from None


_JSON_EXAMPLES = {
    "tts_speakers": '{"SPEAKER0": "a calm man of sixty"}',
    "mcp_servers": '[{"name": "files", "command": ["program", "argument"]}]',
    "caller_may_choose": '["voice", "language"]',
}


def _field_of(location: tuple[int | str, ...]) -> str:
    """The setting's own name, whichever of its names was used."""
    key = str(location[0]) if location else "settings"
    name = key.lower().removeprefix(ENV_PREFIX.lower())
    return name if name in Settings.model_fields else key


def _line(name: str, error: Any, given: bool) -> str:
    field = Settings.model_fields.get(name)
    if field is None:
        return _unknown(name, name)
    got = error["input"]
    # A secret's value must not come back in an error; tables hold keys now and then.
    secret = field.annotation is SecretStr or isinstance(got, dict)
    told = [] if secret else [f"got {without_password(repr(got))}"]
    source = "" if given else _source(name)
    if source not in ("", DEFAULT):
        told.append(f"from {source}")
    about = f" ({', '.join(told)})" if told else ""
    return f"{name}: {what_is_wrong(name, field, error)}{about}"


def _unknown(shown: str, key: str) -> str:
    close = difflib.get_close_matches(key, Settings.model_fields, n=1)
    hint = f"; did you mean {close[0]}?" if close else "; `agent-worker settings` lists them all"
    return f"{shown}: unknown setting{hint}"


DEFAULT = "default"


@dataclasses.dataclass(frozen=True)
class Explained:
    """One setting, for people."""

    name: str
    value: str
    """As it would stand in a file; secrets are hidden."""
    source: str
    """Where it comes from: a variable of the environment, the file's name, or "default"."""
    allowed: str
    description: str


def explain_settings(settings: Settings) -> list[Explained]:
    """Every setting with its value, where that comes from, and what it may be."""
    return [
        Explained(
            name,
            shown(getattr(settings, name)),
            _source(name),
            allowed(name, field),
            field.description or "",
        )
        for name, field in Settings.model_fields.items()
    ]


def _source(name: str) -> str:
    if variable := _variable_of(name):
        return variable
    path = _config_file()
    return str(path) if path is not None and name in _read_toml(path) else DEFAULT


def _variable_of(name: str) -> str:
    """The environment variable that a setting is taken from; empty where none is set."""
    alias = Settings.model_fields[name].validation_alias if name in Settings.model_fields else None
    names = [f"{ENV_PREFIX}{name}"]
    if isinstance(alias, AliasChoices):
        names = [str(choice) for choice in alias.choices]
    by_name = {variable.upper(): variable for variable in os.environ}  # noqa: TID251
    return next((by_name[n.upper()] for n in names if n.upper() in by_name), "")


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, SecretStr):
        return ""
    return "" if value is None else str(value)


def export_environment(settings: Settings, *, inherit: bool = False) -> dict[str, str]:
    """The settings as environment variables, for a worker that runs in a process of its own.

    Args:
        inherit: lay them over this process's environment.
    """
    out = dict(os.environ) if inherit else {}  # noqa: TID251
    for name in Settings.model_fields:
        value = getattr(settings, name)
        if value is None:
            if not _default(Settings.model_fields[name]):
                continue
            value = ""
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        if isinstance(value, bool):
            value = str(value).lower()
        if isinstance(value, dict):
            value = json.dumps(value)
        if isinstance(value, tuple):
            value = json.dumps(
                [item.model_dump() if isinstance(item, BaseModel) else item for item in value]
            )
        text = str(value)
        out[ENV_PREFIX + name.upper()] = text
        if name.startswith("livekit_"):
            # for LiveKit's own code; what this process inherited must not win over either
            out[name.upper()] = text
    return out


def proxy_for(url: str) -> str | None:
    """The proxy that the environment names for an address, if it does not except its host."""
    parts = urlsplit(url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or not parts.hostname or proxy_bypass(parts.hostname):
        return None
    return proxy


def default_environment(**variables: str) -> None:
    """Sets variables that a library reads from the environment, unless the user has set them."""
    for name, value in variables.items():
        os.environ.setdefault(name, value)  # noqa: TID251
