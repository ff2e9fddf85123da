"""The clients of `examples/` for phones: parsed, for what builds them is not at hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import tree_sitter_dart
import tree_sitter_kotlin
import tree_sitter_swift
from tree_sitter import Language, Node, Parser

from .front_end import PACKAGE, install, run

CLIENTS = Path(__file__).parents[1] / "examples/clients"
GRAMMARS = {
    "Talk.swift": tree_sitter_swift,
    "Talk.kt": tree_sitter_kotlin,
    "talk.dart": tree_sitter_dart,
}


def faults(name: str, source: bytes) -> list[str]:
    """The lines that are not of the language."""
    tree = Parser(Language(GRAMMARS[name].language())).parse(source)

    def of(node: Node) -> list[str]:
        if node.type == "ERROR" or node.is_missing:
            return [f"{node.start_point[0] + 1}: {node.text!r}"]
        return [fault for child in node.children for fault in of(child)]

    return of(tree.root_node)


@pytest.mark.parametrize("name", GRAMMARS)
def test_a_client_is_of_its_language(name: str) -> None:
    source = (CLIENTS / name).read_bytes()
    assert faults(name, source) == []
    assert faults(name, source.replace(b"api/token", b"'api\"/token")) != []


@pytest.mark.parametrize("name", ["Talk.swift", "Talk.kt", "talk.dart", "Talk.native.tsx"])
def test_a_client_asks_for_its_token_where_the_page_gives_it(name: str) -> None:
    source = (CLIENTS / name).read_text()
    for word in ("api/token", "server_url", "participant_token"):
        assert word in source, word


@pytest.mark.timeout(360)
def test_the_client_for_react_native_is_typescript() -> None:
    install()
    esbuild = PACKAGE / "node_modules/.bin/esbuild"
    run(esbuild, CLIENTS / "Talk.native.tsx", "--jsx=automatic", cwd=PACKAGE)
