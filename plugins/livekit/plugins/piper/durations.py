"""When each phoneme of a sentence begins, from what a Piper voice tells of its ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def phoneme_starts(
    phonemes: Sequence[str], id_counts: Callable[[str], int], frames: Sequence[int]
) -> list[int] | None:
    """Frame at which each phoneme begins, and at the end the number of frames.

    Ids are laid out as Piper does it: a beginning mark and a pad, then each phoneme's ids and a
    pad, then an end mark. The marks count to the first and the last phoneme.

    Args:
        phonemes: Of one sentence.
        id_counts: How many ids a phoneme has; 0 for one that the voice does not know.
        frames: Duration of each id.

    Returns:
        None if the layout is another one.
    """
    counts = [count + 1 if (count := id_counts(phoneme)) else 0 for phoneme in phonemes]
    if 2 + sum(counts) + 1 != len(frames):
        return None
    starts: list[int] = []
    at, position = 2, int(sum(frames[:2]))
    for count in counts:
        starts.append(position)
        position += int(sum(frames[at : at + count]))
        at += count
    if starts:
        starts[0] = 0
    return [*starts, int(sum(frames))]
