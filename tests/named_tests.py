"""Tests that a page names are there."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]


@cache
def _functions_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def is_there(test: str) -> bool:
    """Whether `tests/some/test_file.py::test_name` is a test of this repository."""
    path, _, name = test.partition("::")
    return (ROOT / path).is_file() and name.startswith("test_") and name in _functions_in(path)
