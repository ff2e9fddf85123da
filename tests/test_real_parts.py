"""The real weights and recordings that other tests stand on are there and are what they claim."""

from __future__ import annotations

import wave

import pytest

from bench import real_parts


def test_the_weights_are_there() -> None:
    assert (real_parts.whisper_base() / "model.bin").stat().st_size == 145_217_607
    assert real_parts.piper_joe().with_suffix(".onnx.json").is_file()
    assert real_parts.smollm2().is_file()
    assert {file.name for file in real_parts.kokoro().iterdir()} == {
        "kokoro-v1.0.int8.onnx",
        "voices-v1.0.bin",
    }


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("language", "at_least"), [("en", 500), ("fr", 500), ("ru", 500)])
def test_people_say_what_is_written(language: str, at_least: int) -> None:
    prompts = real_parts.prompts(language)
    assert len(prompts) >= at_least
    assert all(prompt.text for prompt in prompts)
    with wave.open(str(prompts[0].path)) as first:
        assert first.getframerate() == 8000


def test_a_package_that_is_missing_says_how_to_get_it() -> None:
    with pytest.raises(real_parts.PartMissingError, match="uv sync"):
        real_parts._package("no_such_weights")
