"""Two formulas as one: what mixed_model() makes of ``fixed`` and ``random``, and what it refuses."""

from __future__ import annotations

import pytest

from refglmm.errors import ArgumentError, NotAvailableError
from refglmm.formula.grammar import parse
from refglmm.formula.grouped import grouped_formula, read_random, zero_part_formula


@pytest.mark.parametrize(
    ("random", "term"),
    [
        ("~ 1 | id", "(1 | id)"),
        ("~time|id", "(time | id)"),
        ("~ time || id", "diag(time | id)"),
        ("~ 0 + f + log(time + 1) || a:b", "diag(0 + f + log(time + 1) | a:b)"),
    ],
)
def test_terms(random, term):
    part = read_random("random", random)
    assert part.term(part.diagonal) == term
    assert len(parse(grouped_formula("y ~ x", part)).random) == 1


@pytest.mark.parametrize("random", ["time | id", "~ time", "~ | id", "y ~ time | id", 3, "~ a | b | c"])
def test_what_is_no_random_formula(random):
    with pytest.raises(ArgumentError, match="random must be"):
        read_random("random", random)


@pytest.mark.parametrize(
    ("random", "groups"), [("~ 1 | a/b", "b:a, a"), ("~ (1 | a) + (1 | b)", "a, b"), ("~ (x | a) + (1 | b)", "a, b")]
)
def test_several_grouping_factors_are_named_and_sent_to_glmer(random, groups):
    with pytest.raises(NotAvailableError, match=rf"2 grouping factors \({groups}\).*use glmer\(\)"):
        read_random("random", random)


@pytest.mark.parametrize("fixed", ["~ x", "x", 3, "y ~ x + (1 | g)"])
def test_what_is_no_fixed_formula(fixed):
    with pytest.raises(ArgumentError, match="fixed"):
        grouped_formula(fixed, read_random("random", "~ 1 | id"))


def test_zero_part():
    part = read_random("random", "~ 1 | id")
    assert zero_part_formula("~ x", None, part) == "~ x"
    assert zero_part_formula("~ x", read_random("zi_random", "~ z | id"), part) == "~ x + (z | id)"
    diagonal = read_random("random", "~ 1 || id")
    assert zero_part_formula("~ x", read_random("zi_random", "~ z | id"), diagonal) == "~ x + diag(z | id)"
    with pytest.raises(ArgumentError, match="zi_random groups by 'g' and random by 'id'"):
        zero_part_formula("~ x", read_random("zi_random", "~ 1 | g"), part)
    with pytest.raises(ArgumentError, match="zi_fixed must be a one-sided formula"):
        zero_part_formula("y ~ x", None, part)
