"""What README prints is what its code prints: words, and digits beyond rounding."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import numpy as np
import pytest

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
#: A residue of rounding, which is another on another processor.
RESIDUE = 1e-9


def printed_and_shown():
    """Output of each Python block, run one after the other, and the text that follows it."""
    names, found = {}, []
    for kind, text in BLOCK.findall(README):
        if kind == "python":
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(text, names)
            found.append([out.getvalue(), ""])
        else:
            found[-1][1] += text
    return found


@pytest.fixture(scope="module")
def blocks():
    return printed_and_shown()


@pytest.mark.parametrize("which", [0, 1])
def test_outputs_are_those_of_the_code(blocks, which):
    printed, shown = (" ".join(text.split()) for text in blocks[which])
    printed = printed[: len(shown)] if which else printed  # the tables after the verdict are left out
    assert NUMBER.sub("#", printed) == NUMBER.sub("#", shown)
    numbers = [[float(number) for number in NUMBER.findall(text)] for text in (printed, shown)]
    np.testing.assert_allclose(*numbers, rtol=1e-12, atol=RESIDUE)


def test_there_are_two_of_them(blocks):
    assert len(blocks) == 2
    assert all(len(shown) > 500 for _, shown in blocks)
