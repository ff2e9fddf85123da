"""One dialect in all of our packages, where a linter has no rule for it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.own_code import dotted, files

_TIME = re.compile(r"(^|_)(timeout|interval|delay|duration|patience|pause|period)$")
LIVEKITS_NAME = ("agent_worker.hearing.turn_taking", "timeout")
"""A parameter of a method that LiveKit calls by name."""
BY_PATH = "flows.studio"
"""LangGraph's own server loads it as a file, outside of any package."""


def _trees() -> Iterator[tuple[str, ast.Module]]:
    for path in files():
        yield dotted(path), ast.parse(path.read_text(encoding="utf-8"))


def _is_float(annotation: ast.expr | None) -> bool:
    return annotation is not None and bool(
        re.match(r"(NotGivenOr\[)?float\b", ast.unparse(annotation))
    )


def test_a_caught_exception_is_called_e() -> None:
    other = [
        f"{module}:{node.lineno} {node.name}"
        for module, tree in _trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler) and node.name not in (None, "e")
    ]
    assert not other


def test_seconds_end_in_s() -> None:
    without = []
    for module, tree in _trees():
        for node in ast.walk(tree):
            match node:
                case ast.arg(arg=name, annotation=annotation):
                    pass
                case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation):
                    pass
                case ast.AnnAssign(target=ast.Attribute(attr=name), annotation=annotation):
                    pass
                case _:
                    continue
            if _is_float(annotation) and _TIME.search(name) and (module, name) != LIVEKITS_NAME:
                without.append(f"{module}:{node.lineno} {name}")
    assert not without


def test_what_lies_in_the_same_folder_is_imported_relatively() -> None:
    absolute = []
    for module, tree in _trees():
        folder = module.rpartition(".")[0]
        absolute += [
            f"{module}:{node.lineno} {node.module}"
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            and node.level == 0
            and f"{node.module}.".startswith(f"{folder}.")
            and module != BY_PATH
        ]
    assert not absolute
