"""The policy on people's pauses as Whisper base wrote them; the texts are typed in, no audio."""

from __future__ import annotations

import itertools

import pytest

from bench.pauses import GAPS_S, STOCK_WAIT_S, Pause, Said, Turn, figures, gap_s, played

# language, before the pause inside the sentence, after it, the sentence behind it
HEARD = (
    ("en", "to decrease the audio volume.", "from other participants.", "The line is busy now."),
    ("en", "Please enter your conference number", "followed by the pound key", "It is locked."),
    ("en", "You have entered an", "invalid option.", "You have been removed."),
    ("es", "ha sido expulsado por el sistema.", "de esta conferencia.", "La sala está cerrada."),
    ("fr", "Vous êtes présentement le", "seul participant ici.", "Ce message est enregistré."),
    ("it", "Attualmente sei l'unica persona", "in questa conferenza.", "La sala è bloccata."),
)


def turns_with(gaps_s: tuple[float, float], *, probability: float | None = None) -> list[Turn]:
    return [
        Turn(
            language=language,
            half=Said(half, probability),
            rest=Said(rest, probability),
            whole=Said(f"{half} {rest}", probability),
            more=Said(more, probability),
            gaps_s=gaps_s,
            lengths_s=(1.5, 1.2, 2.0),
        )
        for language, half, rest, more in HEARD
    ]


def test_a_pause_behind_a_cheap_full_stop_is_no_longer_taken_for_the_end() -> None:
    short = list(played(turns_with((0.35, 0.42)), with_model=False))
    assert [pause.kind for pause in short] == ["inside", "between", "end"] * len(HEARD)
    assert not any(pause.cut_off for pause in short)


def test_only_a_full_stop_before_it_lets_a_long_pause_cut_a_sentence_in_two() -> None:
    long = [p for p in played(turns_with((1.1, 0.3)), with_model=False) if p.kind == "inside"]
    cut = [half for pause, (_, half, _, _) in zip(long, HEARD, strict=True) if pause.cut_off]
    assert cut == [half for _, half, _, _ in HEARD if half.endswith(".")]


@pytest.mark.parametrize("probability", [None, 0.55])
def test_these_speakers_are_cut_off_less_and_answered_no_later_than_by_the_stock_rule(
    probability: float | None,
) -> None:
    made = [
        turn
        for number in range(7)
        for turn in turns_with((gap_s(2 * number), gap_s(2 * number + 1)), probability=probability)
    ]
    found = figures(list(played(made, with_model=probability is not None)))
    assert found["cut_off_ratio"] <= 0.75
    assert found["wait_ms_mean"] <= 1000 * STOCK_WAIT_S


def test_pauses_lie_evenly_between_the_shortest_and_the_longest() -> None:
    gaps = sorted(gap_s(number) for number in range(100))
    assert GAPS_S[0] <= gaps[0] < gaps[-1] <= GAPS_S[1]
    assert max(after - before for before, after in itertools.pairwise(gaps)) < 0.02


def test_the_figures_set_the_policy_beside_the_stock_rule() -> None:
    pauses = [
        Pause("inside", "en", 0.6, 0.5),
        Pause("between", "en", 0.5, 0.55),
        Pause("inside", "en", 1.0, 1.2),
        Pause("end", "en", None, 0.44),
    ]
    found = figures(pauses)
    assert (found["pauses"], found["ends"]) == (3, 1)
    assert (found["cut_off"], found["cut_off_stock"]) == (0.333, 0.667)
    assert found["cut_off_ratio"] == 0.5
    assert (found["wait_ms_mean"], found["wait_ratio"]) == (440, 0.8)
