"""The words of each language that tell how a turn ends, from `turns.toml`."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent_worker.toml_beside import toml_beside


@dataclass(frozen=True)
class Lexicon:
    """What is known of one language; the file says what each list means."""

    open_words: frozenset[str]
    closed_ends: frozenset[str]
    fillers: frozenset[str]
    openers: frozenset[str]
    closers: frozenset[str]
    starts: Mapping[str, int]
    particles: Mapping[str, frozenset[str]]
    needs_particle: frozenset[str]
    clause_words: frozenset[str]
    final_verbs: frozenset[str]
    subjects: frozenset[str]
    objects: frozenset[str]
    question_words: frozenset[str]
    question_leads: frozenset[str]
    question_ends: frozenset[str]
    question_particles: frozenset[str]
    not_questions: frozenset[str]
    auxiliaries: frozenset[str]
    answers: frozenset[str]
    numbers: frozenset[str]
    quantities: frozenset[str]
    announcers: frozenset[str]
    mail_announcers: frozenset[str]
    lengths: Mapping[str, int]
    links: frozenset[str]
    spelled_like: frozenset[str]
    not_spelled: frozenset[str]
    at_words: frozenset[str]
    email: frozenset[str]
    domains: frozenset[str]


@functools.cache
def _tables() -> dict[str, dict[str, Any]]:
    return toml_beside(__file__, "turns.toml")


@functools.cache
def asks_dictation() -> tuple[str, ...]:
    """What an agent asks for that is answered in digits or letters; any language."""
    return tuple(_tables()["any"]["asks_dictation"])


@functools.cache
def lexicon(language: str) -> Lexicon:
    """The lists of a language, together with those of every language.

    Args:
        language: A primary language tag; an unknown one has only what all share.
    """
    common, own = _tables()["any"], _tables().get(language, {})

    def words(name: str) -> frozenset[str]:
        return frozenset(own.get(name, ())) | frozenset(common.get(name, ()))

    def numbers(name: str) -> dict[str, int]:
        return dict(own.get(name, {}))

    return Lexicon(
        open_words=words("open_words"),
        closed_ends=words("closed_ends"),
        fillers=words("fillers"),
        openers=words("openers"),
        closers=words("closers"),
        starts=numbers("starts"),
        particles={
            verb: frozenset(ends.split()) for verb, ends in own.get("particles", {}).items()
        },
        needs_particle=words("needs_particle"),
        clause_words=words("clause_words"),
        final_verbs=words("final_verbs"),
        subjects=words("subjects"),
        objects=words("objects"),
        question_words=words("question_words"),
        question_leads=words("question_leads"),
        question_ends=words("question_ends"),
        question_particles=words("question_particles"),
        not_questions=words("not_questions"),
        auxiliaries=words("auxiliaries"),
        answers=words("answers"),
        numbers=words("numbers"),
        quantities=words("quantities"),
        announcers=words("announcers"),
        mail_announcers=words("mail_announcers"),
        lengths=numbers("lengths"),
        links=words("links"),
        spelled_like=words("spelled_like"),
        not_spelled=words("not_spelled"),
        at_words=words("at_words"),
        email=words("email"),
        domains=words("domains"),
    )
