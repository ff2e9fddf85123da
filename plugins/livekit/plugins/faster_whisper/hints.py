"""A text made of nothing but keyterms: was it said, or only repeated?

Whisper writes the words that it was given beforehand into silence, hum and music, and is sure of
them: with two names as keyterms, base did so in more than half of all sounds without words, at a
mean log probability of -0.3 to -0.8. Without the hints it is sure of nothing there (-1.1 to -3.5),
but of real words it still is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from .inventions import is_echo
from .job import Decoded, Job

_OWN_WORDS = 0.3
"""Mean probability of the words, which the alignment gives without the hints, above which the model
would have written them by itself."""


def judged_without_hints(job: Job, result: Decoded, decode: Callable[[Job], Decoded]) -> Decoded:
    """Returns a result that has the evidence for real words, whatever was hinted.

    A final that only echoes its hints keeps its text, but how sure the model is comes from a second
    run without them. A partial that does is emptied: its successor will tell.

    Args:
        job: What was decoded.
        result: What came out.
        decode: Runs a job.
    """
    hints = (job.prompt, *job.keyterms)
    if not is_echo(result.text, hints) or _mean(w.probability for w in result.words) > _OWN_WORDS:
        return result
    if not job.is_final:
        return replace(result, words=())
    bare = decode(replace(job, prompt="", keyterms=()))
    return replace(
        result,
        mean_log_probability=min(result.mean_log_probability, bare.mean_log_probability),
        no_speech_probability=max(result.no_speech_probability, bare.no_speech_probability),
        doubt=result.doubt or (bare.doubt if bare.repeated else None),
    )


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found) if found else 0.0
