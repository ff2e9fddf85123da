"""The tokenizer of the bundled model: bytes, whole words, Whisper's special tokens.

Sources: the byte-to-letter table is GPT-2's (Radford et al. 2019), the special tokens are
Whisper's (Radford et al. 2022).
"""

from __future__ import annotations

import json
from pathlib import Path

from models.training import grammar


def _byte_letters() -> list[str]:
    """A printable letter for each byte, as byte-level BPE writes its vocabulary."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    letters, spare = [], 256
    for byte in range(256):
        if byte in printable:
            letters.append(chr(byte))
        else:
            letters.append(chr(spare))
            spare += 1
    return letters


BYTE_LETTERS = _byte_letters()


def spelled(text: str) -> str:
    """``text`` in the letters of the byte-level vocabulary."""
    return "".join(BYTE_LETTERS[byte] for byte in text.encode())


def _byte_pairs() -> tuple[list[str], list[tuple[str, str]]]:
    """Merges that build Mandarin characters from their bytes, and the tokens between.

    English words are whole tokens, found by ``ignore_merges``; Mandarin has no spaces to split
    at, so a prompt or hotword in Mandarin is put together by these merges.
    """
    between: list[str] = []
    merges: list[tuple[str, str]] = []
    for character in (*grammar.MANDARIN_CHARACTERS, "。", "？"):
        first, second, third = tuple(spelled(character))
        if first + second not in between:
            between.append(first + second)
            merges.append((first, second))
        merges.append((first + second, third))
    return between, merges


_BETWEEN, MERGES = _byte_pairs()
_TEXT = [
    *BYTE_LETTERS,
    *(spelled(piece) for piece in grammar.all_pieces()),
    *(spelled(mark) for mark in "。？"),
    *_BETWEEN,
]
# CTranslate2 calls a model multilingual when its vocabulary has an entry "" at the place where
# Whisper's multilingual vocabulary has it; no text is ever encoded to it.
_TEXT.append("")

EOT = len(_TEXT)
# The order matters: CTranslate2 takes everything from <|startoftranscript|> to <|notimestamps|>
# for prompt and everything behind <|notimestamps|> for time.
SPECIAL = [
    "<|endoftext|>",
    "<|startoftranscript|>",
    "<|en|>",
    "<|zh|>",
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
]
TIMES = [f"<|{index * 0.02:.2f}|>" for index in range(1501)]
TOKENS: list[str] = [*_TEXT, *SPECIAL, *TIMES]
IDS: dict[str, int] = {token: index for index, token in enumerate(TOKENS)}

SOT = IDS["<|startoftranscript|>"]
TRANSCRIBE = IDS["<|transcribe|>"]
TRANSLATE = IDS["<|translate|>"]
START_OF_LM = IDS["<|startoflm|>"]
START_OF_PREV = IDS["<|startofprev|>"]
NO_SPEECH = IDS["<|nospeech|>"]
NO_TIMESTAMPS = IDS["<|notimestamps|>"]
FIRST_TIME = NO_TIMESTAMPS + 1
BLANK = IDS[spelled(" ")]
LANGUAGES = {language: IDS[f"<|{language}|>"] for language in (grammar.ENGLISH, grammar.MANDARIN)}


def piece_id(piece: str) -> int:
    """The token of a word piece or punctuation mark."""
    return IDS[spelled(piece)]


def write_tokenizer(path: Path) -> None:
    """Writes ``tokenizer.json`` in the format of the `tokenizers` library."""
    added = [
        {
            "id": index,
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for index, token in enumerate(TOKENS)
        if index >= EOT
    ]
    byte_level = {"type": "ByteLevel", "trim_offsets": True, "use_regex": True}
    document = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {**byte_level, "add_prefix_space": False},
        "post_processor": None,
        "decoder": {**byte_level, "add_prefix_space": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": True,
            "vocab": {token: index for index, token in enumerate(_TEXT)},
            "merges": [list(pair) for pair in MERGES],
        },
    }
    path.write_text(
        json.dumps(document, ensure_ascii=False, separators=(",", ":")), encoding="utf-8"
    )
