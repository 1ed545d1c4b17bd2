"""The text of a function or class of the library as it stands in the source, without its docstring."""

from __future__ import annotations

import ast
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[2]
DEFINITIONS = (ast.FunctionDef, ast.ClassDef)


def find(path: Path, qualified: list[str]) -> tuple[str, int]:
    """Text of a definition without docstrings, and its first line's number.

    Raises
    ------
    LookupError
        If the file has no such definition.
    """
    text = path.read_text(encoding="utf-8")
    body: list[ast.stmt] = ast.parse(text).body
    for name in qualified:
        found = [node for node in body if isinstance(node, DEFINITIONS) and node.name == name]
        if not found:
            raise LookupError(f"{path.relative_to(ROOT)} has no {'.'.join(qualified)}")
        node = found[-1]
        body = node.body
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    left_out = {line for inner in ast.walk(node) for line in docstring_lines(inner)}
    lines = text.splitlines()
    kept = [lines[k - 1] for k in range(first, (node.end_lineno or first) + 1) if k not in left_out]
    return dedent("\n".join(kept)), first


def docstring_lines(node: ast.AST) -> range:
    """Numbers of the lines of a definition's docstring."""
    if isinstance(node, DEFINITIONS) and ast.get_docstring(node) is not None and len(node.body) > 1:
        return range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)
    return range(0)
