"""What callers may choose on this machine: flow, character, voice and language of their call.

The page shows it, and the worker takes nothing else. Both derive it from the same settings, so a
page that is served apart from the worker shows what the worker takes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from agent_worker.language_tags import primary
from agent_worker.settings import ChoiceKind, Settings

from .cast import whole_cast
from .choice import choose
from .chosen import Choices
from .languages import languages
from .offer import Offer
from .voices.registry import voice_engine

EVERYONE = "everyone"
"""All characters of the persona flow, who take turns."""
PERSONA = "persona"

_FLOWS = {
    "assistant": ("Assistant", "talks about anything, has tools"),
    "router": ("Office desk", "orders, customers, IT help"),
    PERSONA: ("Characters", "each with a voice"),
    "offline": ("Basics", "time, sums, timers, no model"),
}
_RULES_KNOW = frozenset({"en", "zh"})
_BUNDLED_HEARS = frozenset({"en", "zh"})


@dataclasses.dataclass(frozen=True)
class Offers:
    """All lists; the first entry of each is what a call gets that asks for nothing.

    A list that would have one entry is empty: there is nothing to choose.
    """

    flows: tuple[Offer, ...] = ()
    characters: tuple[Offer, ...] = ()
    """Of the persona flow."""
    voices: tuple[Offer, ...] = ()
    languages: tuple[Offer, ...] = ()
    economy: tuple[Offer, ...] = ()
    """Full or short answers, of flows with a model."""

    def of(self, kind: ChoiceKind) -> Mapping[str, Offer]:
        """One of the lists, by id."""
        lists: dict[ChoiceKind, tuple[Offer, ...]] = {
            "flow": self.flows,
            "character": self.characters,
            "voice": self.voices,
            "language": self.languages,
            "economy": self.economy,
        }
        return {offer.id: offer for offer in lists[kind]}


def find_offers(settings: Settings, choices: Choices) -> Offers:
    """What callers may choose with these settings and engines."""
    if choices.problems:
        return Offers()
    may = settings.caller_may_choose
    speaker = voice_engine(choices.tts.engine)
    voices = choices.found.voices_of(choices.tts.engine)
    flows = _flows(settings, choices) if "flow" in may else ()
    remote = choices.llm.engine == "remote"
    # a flow server has characters of its own
    talks = set() if remote else {choices.llm.engine, *(flow.id for flow in flows)}
    return Offers(
        flows=_several(flows),
        characters=_several(
            _characters(settings) if "character" in may and PERSONA in talks else ()
        ),
        voices=_several(speaker.offers(settings, choices.tts, voices) if "voice" in may else ()),
        languages=_several(_languages(settings, choices) if "language" in may else ()),
        economy=_economy(settings) if "economy" in may and talks != {"offline"} else (),
    )


def _economy(settings: Settings) -> tuple[Offer, ...]:
    full, short = Offer("off", "Full answers"), Offer("on", "Short answers")
    return (short, full) if settings.economy else (full, short)


def _several(offers: Iterable[Offer]) -> tuple[Offer, ...]:
    found = tuple(offers)
    return found if len(found) > 1 else ()


def _flows(settings: Settings, choices: Choices) -> tuple[Offer, ...]:
    default = choices.llm.engine
    if default == "remote":
        ids = sorted(choices.found.remote_flows, key=lambda flow: flow != settings.flow_id)
        # the first is what a call gets that asks for nothing
        known = ids[:1] == [settings.flow_id]
        return tuple(Offer(flow, *_FLOWS.get(flow, (flow, ""))) for flow in ids) if known else ()

    def can_run(flow: str) -> bool:
        own = settings.model_copy(update={"llm": flow})
        return not choose(own, choices.found).llm.problem and (
            flow != PERSONA or bool(whole_cast(settings))
        )

    ids = [default, *(flow for flow in _FLOWS if flow != default and can_run(flow))]
    return tuple(Offer(flow, *_FLOWS[flow]) for flow in ids)


def _characters(settings: Settings) -> tuple[Offer, ...]:
    offers = [
        Offer(EVERYONE, "Everyone", "they take turns"),
        *(Offer(character.name, character.name) for character in whole_cast(settings)),
    ]
    if len(offers) == 2:
        return ()
    # a stable sort: the one of the settings first, the others as they stand
    return tuple(
        sorted(offers, key=lambda offer: offer.id != (settings.persona_character or EVERYONE))
    )


def _languages(settings: Settings, choices: Choices) -> tuple[Offer, ...]:
    speaker = voice_engine(choices.tts.engine)
    found = choices.found.voices_of(choices.tts.engine)
    own = settings.language
    known = languages()
    tags = [
        tag
        for tag in known
        if tag != primary(own)
        and _hears(choices.stt.detail, tag)
        and speaker.speaks(tag, found)
        and (choices.llm.engine != "offline" or tag in _RULES_KNOW)
    ]
    name = known[primary(own)].name if primary(own) in known else own
    return (
        Offer(own, "Detected" if own == "auto" else name),
        *(Offer(tag, known[tag].name) for tag in tags),
    )


def _hears(model: str, tag: str) -> bool:
    if model == "bundled":
        return tag in _BUNDLED_HEARS
    name = model.rstrip("/").rpartition("/")[2]
    if name.endswith(".en") or name.startswith("distil-"):
        return tag == "en"
    # any other Whisper knows every language of the list
    return True
