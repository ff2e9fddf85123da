from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st

from livekit.plugins.piper.engine import Engine, SpeechOptions
from livekit.plugins.piper.graph import SplitVoice, WholeVoice
from livekit.plugins.piper.split import CannotSplitError, split_graph
from livekit.plugins.piper.voices import find_voice
from livekit.plugins.piper.windows import FIRST_FRAMES, MOST_FRAMES, plan_windows
from tests import tiny_piper

TEXT = "The quick brown fox jumps over the lazy dog, while the old clock strikes twelve times."


def loaded(path: Path) -> Engine:
    engine = Engine(find_voice(path), num_threads=1)
    engine.load()
    return engine


def whole_sentence(path: Path, engine: Engine, options: SpeechOptions) -> npt.NDArray[Any]:
    """The sentence from the file as it is, without anything of the plugin's graph work."""
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (sentence,) = engine.phonemize(TEXT)
    audio: npt.NDArray[Any] = session.run(None, engine._inputs(sentence.ids, options))[0]
    return audio.reshape(-1)


def decibels(error: npt.NDArray[Any], signal: npt.NDArray[Any]) -> float:
    power = float((signal.astype(np.float64) ** 2).mean())
    return 10 * float(np.log10(max(float((error.astype(np.float64) ** 2).mean()), 1e-30) / power))


@pytest.mark.parametrize(("speakers", "speaker"), [(1, None), (3, None), (3, 2)])
def test_audio_in_windows_equals_the_whole_sentence(
    tmp_path: Path, speakers: int, speaker: int | None
) -> None:
    path = tiny_piper.build(tmp_path / "voice.onnx", speakers=speakers)
    engine = loaded(path)
    options = SpeechOptions(speaker=speaker, noise_scale=0.0, noise_w_scale=0.0)
    expected = whole_sentence(path, engine, options)
    (sentence,) = engine.phonemize(TEXT)
    utterance = engine.begin(sentence, options)
    parts = [part() for part in utterance.parts]
    assert len(parts) > 3
    assert len(parts[0]) == FIRST_FRAMES * tiny_piper.HOP
    audio = np.concatenate(parts)
    assert audio.shape == expected.shape
    assert decibels(audio - expected, expected) < -100
    assert utterance.frames is not None
    assert sum(utterance.frames) * utterance.hop == len(expected)


def test_no_jump_at_a_window_border_is_larger_than_elsewhere(tmp_path: Path) -> None:
    engine = loaded(tiny_piper.build(tmp_path / "voice.onnx"))
    (sentence,) = engine.phonemize(TEXT)
    parts = [part() for part in engine.begin(sentence, SpeechOptions()).parts]
    jumps = np.abs(np.diff(np.concatenate(parts)))
    borders = np.cumsum([len(part) for part in parts])[:-1] - 1
    # A frame's own border is a jump in this voice, window or not; so compare with those.
    frames = np.arange(tiny_piper.HOP - 1, len(jumps), tiny_piper.HOP)
    assert jumps[borders].max() <= jumps[np.setdiff1d(frames, borders)].max()


def test_the_context_is_as_long_as_the_decoder_looks(tmp_path: Path) -> None:
    path = tiny_piper.build(tmp_path / "voice.onnx")
    split = split_graph(onnx.load(str(path)))
    decoder = ort.InferenceSession(split.decoder, providers=["CPUExecutionProvider"])
    latent = np.random.default_rng(1).normal(size=(1, tiny_piper.LATENT, 60)).astype(np.float32)

    def decode(first: int, last: int) -> npt.NDArray[Any]:
        audio: npt.NDArray[Any] = decoder.run(None, {split.carried[0]: latent[:, :, first:last]})[0]
        return audio.reshape(-1)

    middle = slice(30 * split.hop, 31 * split.hop)
    expected = decode(0, 60)[middle]
    for context, enough in ((split.context, True), (split.context // 2, False)):
        first = 30 - context
        audio = decode(first, 31 + context)[(30 - first) * split.hop : (31 - first) * split.hop]
        assert np.allclose(audio, expected, atol=1e-6) is enough
    assert (split.hop, split.durations is not None) == (256, True)


def test_a_voice_that_does_not_split_speaks_whole_sentences_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tiny_piper.build(tmp_path / "voice.onnx", splittable=False)
    engine = loaded(path)
    engine.load()
    options = SpeechOptions(noise_scale=0.0)
    (sentence,) = engine.phonemize(TEXT)
    (part,) = engine.begin(sentence, options).parts
    assert np.allclose(part(), whole_sentence(path, engine, options))
    assert [r.name for r in caplog.records if "whole sentences" in r.message] == [
        "livekit.plugins.piper"
    ]


def test_a_graph_without_a_decoder_is_not_cut() -> None:
    node = onnx.helper.make_node("Relu", ["input"], ["output"])
    value = onnx.helper.make_tensor_value_info
    ends = [[value(n, onnx.TensorProto.FLOAT, [1])] for n in ("input", "output")]
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", *ends))
    with pytest.raises(CannotSplitError, match="no upsampling"):
        split_graph(model)


def test_the_models_file_is_not_changed_by_the_cut(tmp_path: Path) -> None:
    path = tiny_piper.build(tmp_path / "voice.onnx")
    model = onnx.load(str(path))
    before = model.SerializeToString(deterministic=True)
    split_graph(model)
    assert model.SerializeToString(deterministic=True) == before


def test_threads_of_inference_are_capped(tmp_path: Path) -> None:
    engine = loaded(tiny_piper.build(tmp_path / "voice.onnx"))
    assert isinstance(engine._graph, SplitVoice)
    for session in (engine._graph._encoder, engine._graph._decoder):
        assert session.get_session_options().intra_op_num_threads == 1
    whole = WholeVoice(tmp_path / "voice.onnx", 256, engine._open_session)
    assert whole._session.get_session_options().intra_op_num_threads == 1


@given(frames=st.integers(0, 3000), context=st.integers(1, 40))
def test_windows_cover_the_frames_once_with_context_around_them(frames: int, context: int) -> None:
    windows = list(plan_windows(frames, context))
    assert [w.start for w in windows] == [0, *(w.end for w in windows)][: len(windows)]
    assert (windows[-1].end if windows else 0) == frames
    for window in windows:
        assert window.first == max(0, window.start - context)
        assert window.last == min(frames, window.end + context)
        assert window.end - window.start <= MOST_FRAMES + context
        assert window.end == frames or frames - window.end >= context
