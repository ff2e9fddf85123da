"""A text made of nothing but keyterms: was it said, or only repeated?

Whisper writes the words that it was given beforehand into silence, hum and music, and is sure of
them: with two names as keyterms, base did so in more than half of all sounds without words, at a
mean log probability of -0.3 to -0.8. What it writes there without the hints tells: it is sure of
nothing (-0.9 to -3.5), or takes the sound for silence, thanks nobody, or loops. Of real words it is
mostly sure still, or at least hears a voice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from .gates import Gates, reason_to_reject
from .inventions import is_echo
from .job import SAMPLE_RATE, Decoded, Job
from .soundness import Doubt
from .words import Word

_OWN_WORDS = 0.3
"""Mean probability of the words, which the alignment gives without the hints, above which the model
would have written them by itself."""
_GATES = Gates()


def judged_without_hints(job: Job, result: Decoded, decode: Callable[[Job], Decoded]) -> Decoded:
    """Returns a result that has the evidence for real words, whatever was hinted.

    A final that only echoes its hints is run again without them. If nobody said what comes of that,
    nothing was said; else it keeps its text, and how sure the model is comes from the second run. A
    partial that does is emptied at once: its successor will tell.

    Args:
        job: What was decoded.
        result: What came out.
        decode: Runs a job.
    """
    hints = (job.prompt, *job.keyterms)
    if not is_echo(result.text, hints) or _by_itself(result.words) > _OWN_WORDS:
        return result
    if not job.is_final:
        return replace(result, words=())
    bare = decode(replace(job, prompt="", keyterms=()))
    if _is_invented(bare, job):
        # A wider window may hear what was said all the same, but no third one.
        return replace(result, words=(), doubt=Doubt.WEAK)
    return replace(
        result,
        mean_log_probability=min(result.mean_log_probability, bare.mean_log_probability),
        no_speech_probability=max(result.no_speech_probability, bare.no_speech_probability),
    )


def _is_invented(bare: Decoded, job: Job) -> bool:
    """Tells whether the model writes without hints what it writes where nobody speaks."""
    voice = job.voice or ((0.0, len(job.samples) / SAMPLE_RATE),)
    evidence = bare.evidence(sum(end - start for start, end in voice))
    return evidence.is_silence_too(_GATES) or reason_to_reject(evidence, _GATES) is not None


def _by_itself(words: Sequence[Word]) -> float:
    """Mean probability of the different words: a repetition is sure of itself."""
    first = {word.key: word.probability for word in reversed(words)}
    return sum(first.values()) / len(first) if first else 0.0
