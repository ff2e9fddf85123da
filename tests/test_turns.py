"""The end of a turn: what the words say, and how long the policy waits."""

from __future__ import annotations

import pytest

from agent_worker.hearing.completeness import Completeness, asks_for_dictation, judge
from agent_worker.hearing.turns import EndOfTurnPolicy, Waits
from tests.fake_clock import Clock

WAITS = Waits()


def policy_after(text: str, **known: object) -> tuple[EndOfTurnPolicy, Clock]:
    """A policy whose caller has said this, finally, and fell silent just now."""
    clock = Clock()
    policy = EndOfTurnPolicy(clock=clock)
    policy.speech_started()
    clock.now_s += 2
    policy.speech_ended()
    policy.heard(text, is_final=True, **known)  # type: ignore[arg-type]
    return policy, clock


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("what time is it", None, Completeness.FINISHED),
        ("what is two plus three", None, Completeness.FINISHED),
        ("How are you?", "en", Completeness.FINISHED),
        ("I live in Berlin.", "en-GB", Completeness.STATED),
        ("goodbye", None, Completeness.FINISHED),
        ("thank you", "en", Completeness.FINISHED),
        ("my name is alice", None, Completeness.PLAIN),
        ("i live in berlin", None, Completeness.PLAIN),
        ("i was born in 1990", None, Completeness.PLAIN),
        ("call me at five", None, Completeness.PLAIN),
        ("remember that my name is", None, Completeness.UNFINISHED),
        ("What is the", "en", Completeness.UNFINISHED),
        ("I would like to.", "en", Completeness.UNFINISHED),
        ("I like it and", "en", Completeness.UNFINISHED),
        ("Well, um...", "en", Completeness.UNFINISHED),
        ("On Monday,", "en", Completeness.UNFINISHED),
        ("let me think", "en", Completeness.UNFINISHED),
        ("", None, Completeness.UNFINISHED),
        ("my number is five five one", "en", Completeness.DICTATING),
        ("it's 555 12", "en", Completeness.DICTATING),
        ("it's a l i", "en", Completeness.DICTATING),
        ("A-L-I", "en", Completeness.DICTATING),
        ("alice at example dot", "en", Completeness.DICTATING),
        ("it is alice@example", "en", Completeness.DICTATING),
        ("it is alice@example.com", "en", Completeness.PLAIN),
        ("alice at example dot com", "en", Completeness.PLAIN),
        ("five five five one two three four five six seven", "en", Completeness.PLAIN),
        ("今天天气怎么样", None, Completeness.FINISHED),
        ("好的", "zh", Completeness.FINISHED),
        ("我想去北京。", "zh", Completeness.STATED),
        ("我想", None, Completeness.UNFINISHED),
        ("因为", "zh-CN", Completeness.UNFINISHED),
        ("我的电话是一三八", "zh", Completeness.DICTATING),
        ("帮我订一张票", "zh", Completeness.PLAIN),
        ("ich möchte", "de", Completeness.UNFINISHED),
        ("Wie spät ist es", "de", Completeness.FINISHED),
        ("null drei null", "de", Completeness.DICTATING),
        ("je voudrais", "fr", Completeness.UNFINISHED),
        ("quiero ir a", "es", Completeness.UNFINISHED),
        ("はい", "ja", Completeness.FINISHED),
        ("それで", "ja", Completeness.UNFINISHED),
    ],
)
def test_words_tell_whether_more_is_to_come(
    text: str, language: str | None, expected: Completeness
) -> None:
    assert judge(text, language=language) is expected


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("remember that my name is alice", "en"),
        ("set a timer for ten minutes", "en"),
        ("call maria", "en"),
        ("turn it off", "en"),
        ("repeat that please", "en"),
        ("um okay what time is it", "en"),
        ("at what time do you open", "en"),
        ("tell me what time it is", "en"),
        ("yes thank you bye", "en"),
        ("good morning", "en"),
        ("i hope so", "en"),
        ("schalte das licht aus", "de"),
        ("um wie viel uhr fährt der zug", "de"),
        ("können sie das noch einmal sagen", "de"),
        ("mach die tür zu", "de"),
        ("alles klar danke", "de"),
        ("allume la lumière du salon", "fr"),
        ("à quelle heure ouvrez-vous", "fr"),
        ("moi aussi", "fr"),
        ("répète s'il te plaît", "fr"),
        ("enciende la luz de la cocina", "es"),
        ("de dónde eres tú", "es"),
        ("creo que sí", "es"),
        ("a qué hora abren", "es"),
        ("好的谢谢", "zh"),
        ("关掉音乐吧", "zh"),
        ("附近有没有药店", "zh"),
        ("你们几点开门", "zh"),
    ],
)
def test_whole_commands_questions_and_answers_are_finished(text: str, language: str) -> None:
    assert judge(text, language=language) is Completeness.FINISHED


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("turn on", "en"),
        ("can you turn on", "en"),
        ("play", "en"),
        ("tell me", "en"),
        ("how much does it", "en"),
        ("okay and what about", "en"),
        ("i want to book a no wait", "en"),
        ("i was going to sorry", "en"),
        ("remind me to", "en"),
        ("i am", "en"),
        ("schalte das licht", "de"),
        ("kannst du das", "de"),
        ("ich hätte gern", "de"),
        ("ich möchte einen nein warte", "de"),
        ("est-ce que vous avez", "fr"),
        ("je voudrais un non attendez", "fr"),
        ("raconte-moi une", "fr"),
        ("llama a", "es"),
        ("quiero un no espera", "es"),
        ("cuéntame", "es"),
        ("帮我查一下", "zh"),
        ("附近有没有", "zh"),
        ("我想知道怎么", "zh"),
        ("打开客厅的", "zh"),
        ("请问", "zh"),
        ("我觉得", "zh"),
    ],
)
def test_what_lacks_its_object_or_starts_again_is_not_finished(text: str, language: str) -> None:
    assert judge(text, language=language) is Completeness.UNFINISHED
    assert judge(f"{text}.", language=language) is Completeness.UNFINISHED, "a full stop is cheap"


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("my order number is", "en"),
        ("my order number is one two", "en"),
        ("My order number is. One two.", "en"),
        ("my zip code is nine zero", "en"),
        ("my last name is spelled s m i", "en"),
        ("it's b as in bravo", "en"),
        ("five five um", "en"),
        ("the code is b seven", "en"),
        ("my e-mail is alice dot smith", "en"),
        ("my e-mail is alice at example", "en"),
        ("meine telefonnummer ist null drei", "de"),
        ("ich buchstabiere m e i", "de"),
        ("m wie martha", "de"),
        ("meine adresse ist anna ät beispiel", "de"),
        ("mon numéro est le zéro six", "fr"),
        ("ça s'écrit d u", "fr"),
        ("mon adresse mail est pierre arobase", "fr"),
        ("mi número es el seis uno", "es"),
        ("se escribe g a", "es"),
        ("mi correo es lucía arroba ejemplo", "es"),
        ("我的订单号是", "zh"),
        ("我的订单号是三四", "zh"),
        ("我的邮箱是 ming 艾特", "zh"),
        ("我的号码是138", "zh"),
    ],
)
def test_what_was_announced_is_waited_for(text: str, language: str) -> None:
    assert judge(text, language=language) is Completeness.DICTATING


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("the meeting is at five p m", "en"),
        ("what is nine minus four", "en"),
        ("what is two hundred fifty six", "en"),
        ("my pin is one two three four", "en"),
        ("my zip code is nine zero two one zero", "en"),
        ("my e-mail is alice dot smith at example dot com", "en"),
        ("qu'est-ce qu'il y a", "fr"),
        ("mon code postal est sept cinq zéro un un", "fr"),
        ("voy a a", "es"),
        ("meine postleitzahl ist eins null eins eins fünf", "de"),
        ("我要二十一", "zh"),
    ],
)
def test_quantities_abbreviations_and_whole_codes_are_not_waited_for(
    text: str, language: str
) -> None:
    assert judge(text, language=language) is not Completeness.DICTATING


@pytest.mark.parametrize("text", ["five", "alice at example", "b"])
def test_the_first_digits_of_what_was_asked_for_are_no_turn(text: str) -> None:
    assert asks_for_dictation("What is your e-mail address?")
    assert not asks_for_dictation("What would you like to eat?")
    assert judge(text, expects_dictation=True) is Completeness.DICTATING
    assert judge(text) is Completeness.PLAIN


def test_the_wait_is_short_when_all_agree_and_long_in_doubt() -> None:
    waits = {
        text: policy_after(text)[0].wait_s()
        for text in ("what time is it", "my name is alice", "and then", "five five one")
    }
    assert waits["what time is it"] == WAITS.agreed_s
    assert waits["my name is alice"] == WAITS.plain_s
    assert waits["and then"] == WAITS.doubt_s
    assert waits["five five one"] == WAITS.dictating_s


def test_without_any_words_there_is_doubt() -> None:
    clock = Clock()
    policy = EndOfTurnPolicy(clock=clock)
    policy.speech_started()
    policy.speech_ended()
    assert policy.wait_s() == WAITS.doubt_s


def test_the_deadline_counts_from_the_end_of_speech_not_from_when_it_was_noticed() -> None:
    clock = Clock()
    policy = EndOfTurnPolicy(clock=clock)
    policy.speech_started()
    assert policy.deadline is None
    clock.now_s += 2
    policy.heard("what time is it", is_final=True)
    policy.speech_ended(clock.now_s - 0.2)
    assert policy.deadline == pytest.approx(clock.now_s - 0.2 + WAITS.agreed_s)


def test_a_partial_that_still_changes_is_not_believed() -> None:
    clock = Clock()
    policy = EndOfTurnPolicy(clock=clock)
    policy.speech_started()
    policy.speech_ended()
    clock.now_s += 0.3
    policy.heard("what time")
    policy.heard("what time is it")
    assert policy.wait_s() == pytest.approx(0.4)
    policy.heard("What time is it?")
    assert policy.wait_s() == pytest.approx(0.4), "punctuation alone changes nothing"
    policy.heard("What time is it?", is_final=True)
    assert policy.wait_s() == WAITS.agreed_s


def test_parts_of_a_turn_are_judged_together() -> None:
    policy, clock = policy_after("my phone number is")
    policy.speech_started()
    clock.now_s += 1
    policy.speech_ended()
    policy.heard("five five", is_final=True)
    assert policy.text == "my phone number is five five"
    policy.agent_said("What is your phone number?")
    assert policy.wait_s() == WAITS.dictating_s


def test_a_missing_full_stop_means_something_once_the_recogniser_sets_them() -> None:
    policy, clock = policy_after("I live in Berlin.")
    policy.committed()
    clock.now_s += 5
    policy.speech_started()
    policy.speech_ended()
    policy.heard("I would rather live in Paris")
    clock.now_s += 0.2
    assert WAITS.plain_s < policy.wait_s() < WAITS.doubt_s, "the final may end with one"
    policy.heard("I would rather live in Paris", is_final=True)
    assert policy.wait_s() == WAITS.doubt_s


def test_who_often_pauses_is_waited_for_less_behind_the_word_that_was_looked_for() -> None:
    policy, clock = policy_after("I live in.")

    def says(text: str, *, after_s: float) -> None:
        clock.now_s += after_s
        policy.speech_started()
        clock.now_s += 0.5
        policy.speech_ended()
        policy.heard(text, is_final=True)

    says("Berlin", after_s=1.1)
    policy.committed()
    policy.agent_finished()
    says("My name is", after_s=5)
    says("Alice", after_s=1.1)
    assert WAITS.stated_s < policy.wait_s() <= 0.7


@pytest.mark.parametrize(
    ("whole", "closing"), [("My name is Alice.", 0.77), ("My name is Alice", None)]
)
def test_what_was_looked_for_may_come_in_the_same_breath(whole: str, closing: float | None) -> None:
    policy, clock = policy_after("")
    policy.heard("My name is")
    clock.now_s += 0.4
    policy.speech_started()
    clock.now_s += 0.5
    policy.speech_ended()
    policy.heard(whole, is_final=True, closing_probability=closing)
    assert WAITS.stated_s <= policy.wait_s() < 0.5


def test_behind_a_word_or_two_no_full_stop_is_missed() -> None:
    # "My name is …" "Alice": Whisper sets none behind most single words
    policy, clock = policy_after("My name is.")
    clock.now_s += 0.8
    policy.speech_started()
    clock.now_s += 0.5
    policy.speech_ended()
    policy.heard("Alice", is_final=True)
    assert policy.wait_s() == WAITS.stated_s, "that is what was looked for in the pause"
    policy.model_says(0.0)
    assert policy.wait_s() < WAITS.doubt_s, "a word alone has little of a melody"
    policy.model_says(0.5)
    policy.heard("Miller.", is_final=True, closing_probability=0.2)
    assert WAITS.stated_s < policy.wait_s() < WAITS.doubt_s, "an unsure one tells little more"
    policy.committed()
    policy.agent_said("Which day would suit you?")
    clock.now_s += 3
    policy.speech_started()
    clock.now_s += 0.5
    policy.speech_ended()
    policy.heard("Friday", is_final=True)
    assert policy.wait_s() == WAITS.plain_s, "it answers the agent's question"
    policy.committed()
    policy.agent_said("I see.")
    clock.now_s += 8
    policy.speech_started()
    policy.speech_ended()
    policy.heard("Friday", is_final=True)
    assert WAITS.stated_s < policy.wait_s() < WAITS.doubt_s, "it may be a beginning"


def test_a_full_stop_alone_is_not_taken_for_the_end_at_once() -> None:
    question, _ = policy_after("What time is it?")
    policy, clock = policy_after("to decrease the audio volume.")
    assert question.wait_s() == WAITS.agreed_s
    assert policy.wait_s() == WAITS.stated_s
    policy.model_says(0.9)
    assert policy.wait_s() == WAITS.stated_s
    policy.model_says(0.1)
    assert WAITS.stated_s < policy.wait_s() < WAITS.doubt_s
    clock.now_s += 0.4
    policy.speech_started()
    clock.now_s += 1
    policy.speech_ended()
    policy.heard("from other participants.", is_final=True)
    assert policy.wait_s() > WAITS.stated_s, "it paused and went on before"


def test_a_full_stop_counts_as_much_as_the_recogniser_is_sure_of_it() -> None:
    def wait_s(closing_probability: float | None) -> float:
        policy, _ = policy_after(
            "to decrease the audio volume.", closing_probability=closing_probability
        )
        return policy.wait_s()

    waits = [wait_s(probability) for probability in (1.0, 0.98, 0.9, 0.8, 0.7, 0.2)]
    assert waits[:2] == [WAITS.plain_s] * 2
    assert waits[-2:] == [WAITS.doubt_s] * 2
    assert waits == sorted(waits)
    assert len(set(waits)) == 4
    assert wait_s(None) == WAITS.stated_s, "not every recogniser tells"


def test_how_sure_a_full_stop_is_belongs_to_the_words_heard_last() -> None:
    policy, clock = policy_after("I live in Berlin.", closing_probability=0.3)
    assert policy.wait_s() == WAITS.doubt_s
    policy.heard("", is_final=True)
    assert policy.wait_s() == WAITS.doubt_s, "no word, nothing new"
    policy.heard("It is large.", is_final=True)
    assert policy.wait_s() == WAITS.stated_s, "this recogniser did not tell"
    policy.committed()
    clock.now_s += 5
    policy.speech_started()
    policy.speech_ended()
    policy.heard("To Paris.", is_final=True, closing_probability=0.99)
    assert policy.wait_s() == WAITS.plain_s


def test_who_pauses_between_sentences_is_waited_for_until_they_stop_doing_so() -> None:
    policy, clock = policy_after("I live in Berlin.", closing_probability=0.99)
    assert policy.wait_s() == WAITS.plain_s

    def goes_on(after_s: float) -> float:
        clock.now_s += after_s
        policy.speech_started()
        clock.now_s += 1
        policy.speech_ended()
        policy.heard("It is large.", is_final=True, closing_probability=0.99)
        return policy.wait_s()

    assert goes_on(0.5) == pytest.approx(1.1 * 0.5), "it paused in this turn"
    policy.committed()
    assert goes_on(0.9) == pytest.approx(1.1 * 0.5), "it was cut off: of two pauses the shorter"
    policy.committed()
    assert goes_on(0.9) == pytest.approx(0.7), "the habit is believed up to there"
    whole = []
    for _ in range(4):
        policy.committed()
        whole.append(goes_on(6.0))
    assert whole == sorted(whole, reverse=True)
    assert whole[-1] == WAITS.plain_s


def test_a_short_answer_to_the_agents_question_is_taken_at_once() -> None:
    policy, _ = policy_after("To Berlin.")
    assert policy.wait_s() == WAITS.stated_s
    policy.agent_said("Where would you like to go?")
    assert policy.wait_s() == WAITS.agreed_s
    policy.agent_said("I see.")
    assert policy.wait_s() == WAITS.stated_s


def test_the_audio_model_moves_the_wait_between_the_limits() -> None:
    policy, _ = policy_after("my name is alice")
    policy.model_says(0.5)
    assert policy.wait_s() == pytest.approx(WAITS.plain_s), "it has no opinion"
    policy.model_says(1.0)
    assert policy.wait_s() == pytest.approx(WAITS.agreed_s)
    policy.model_says(0.0)
    assert policy.wait_s() == pytest.approx(WAITS.doubt_s)
    finished, _ = policy_after("what time is it")
    finished.model_says(0.1)
    assert finished.wait_s() > WAITS.agreed_s
    unfinished, _ = policy_after("and then")
    unfinished.model_says(0.95)
    assert WAITS.plain_s < unfinished.wait_s() < WAITS.doubt_s
    unfinished.speech_started()
    unfinished.speech_ended()
    assert unfinished.wait_s() == WAITS.doubt_s, "it spoke about another silence"


def test_a_caller_who_pauses_long_is_given_time() -> None:
    policy, clock = policy_after("and")
    for _ in range(4):
        clock.now_s += 0.7
        policy.speech_started()
        clock.now_s += 1
        policy.speech_ended()
    policy.heard("my name is alice", is_final=True)
    assert policy.wait_s() == pytest.approx(1.1 * 0.7)


def test_groups_of_digits_are_waited_for_in_their_rhythm() -> None:
    policy, clock = policy_after("My order number is.")
    for pause_s, group in ((0.7, "One two."), (0.5, "Three four.")):
        assert policy.wait_s() == WAITS.dictating_s
        clock.now_s += pause_s
        policy.speech_started()
        clock.now_s += 1
        policy.speech_ended()
        policy.heard(group, is_final=True)
    assert policy.wait_s() == pytest.approx(2 * 0.7)


def test_a_caller_who_was_cut_off_is_given_more_time_for_a_while() -> None:
    policy, clock = policy_after("what time is it")
    assert policy.wait_s() == WAITS.agreed_s

    def turn(gap_s: float) -> float:
        policy.committed()
        clock.now_s += gap_s
        policy.speech_started()
        clock.now_s += 1
        policy.speech_ended()
        policy.heard("what time is it", is_final=True)
        return policy.wait_s()

    cut_off = turn(0.2)
    assert cut_off > WAITS.agreed_s
    later = [turn(8.0) for _ in range(6)]
    assert later == sorted(later, reverse=True)
    assert later[-1] < cut_off


def test_speech_after_a_whole_answer_is_no_sign_of_a_cut_off() -> None:
    policy, clock = policy_after("what time is it")
    policy.committed()
    policy.agent_finished()
    clock.now_s += 0.5
    policy.speech_started()
    policy.speech_ended()
    policy.heard("what time is it", is_final=True)
    assert policy.wait_s() == WAITS.agreed_s


def test_an_echo_right_after_a_turn_is_no_sign_of_a_cut_off() -> None:
    policy, clock = policy_after("what time is it")
    policy.committed()
    clock.now_s += 0.5
    policy.speech_started()
    policy.dropped()
    policy.heard("what time is it", is_final=True)
    assert policy.wait_s() == WAITS.agreed_s


def test_what_was_dropped_is_not_part_of_the_turn() -> None:
    policy, _ = policy_after("mhm")
    policy.dropped()
    assert policy.text == ""
    assert policy.deadline is None
