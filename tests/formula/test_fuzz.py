"""Whatever the text or table: only refglmm's own errors come out, and the caller's data stays as it was."""

from __future__ import annotations

import contextlib
import warnings

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from refglmm.errors import RefglmmError, RefglmmWarning
from refglmm.formula import Checks, build_design, build_frame, parse

QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
LOOSE = Checks(
    one_level="ignore",
    levels_vs_rows="ignore",
    effects_vs_rows="ignore",
    rank="drop",
    scale="ignore",
    no_random_effects="ignore",
    constant_response="ignore",
)

FRAME = pd.DataFrame(
    {
        "y": [1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0],
        "n": [3, 1, 4, 1, 5, 9, 2, 6],
        "x": [0.1, np.nan, 2.0, -3.0, 0.5, 1.5, 2.5, 4.0],
        "f": pd.Categorical(list("abcabcab"), categories=list("abcd")),
        "o": pd.Categorical(list("lmhlmhlm"), categories=list("lmh"), ordered=True),
        "s": ["u", "v", "u", None, "v", "u", "v", "u"],
        "b": [True, False] * 4,
        "silly name": [1, 1, 2, 2, 3, 3, 4, 4],
    },
    index=list("pqrstuvw"),
)
VALID = [
    "y ~ x + (1 | f)",
    "cbind(y, n) ~ f * o + (x || s)",
    "y ~ poly(x, 2):f + offset(n) + cs(0 + f | s, hom = TRUE)",
    "b ~ scale(x) + I(n^2) + (1 | f/s)",
    "y ~ . + (1 | `silly name`)",
    "factor(y > 0) ~ bs(n, df = 4) + (0 + o | b)",
    "y ~ (f + o + b)^2 - f:o + ar1(1 | s, hom = FALSE)",
    "y ~ 0 + s %in% f + ns(x, df = 2) + (b | f:s)",
]
ATOMS = st.sampled_from(
    [
        "x",
        "n",
        "f",
        "o",
        "s",
        "b",
        "`silly name`",
        "1",
        "0",
        ".",
        "y",
        "2",
        "I(x^2)",
        "log(n)",
        "factor(n > 2)",
        "poly(x, 2)",
        "poly(x, 9)",
        "scale(x)",
        "offset(n)",
        "offset(f)",
        "'a'",
        "TRUE",
        "nope",
        "mean(x)",
        "bs(n, df = 4)",
        "bs(f)",
        "(1 | f)",
        "(x || s)",
        "(0 + f | s/b)",
        "cs(o | f)",
        "diag(1 | s, hom = TRUE)",
        "c(1, 2)",
        "x == 1",
        "!b",
    ]
)
OPERATORS = st.sampled_from([" + ", " - ", " * ", ":", "/", "^", " %in% ", " | ", " || ", " ~ ", " == ", ", ", " = "])


def nest(inner):
    pair = st.tuples(inner, OPERATORS, inner).map("".join)
    return st.one_of(pair, inner.map(lambda t: f"({t})"), inner.map(lambda t: f"-{t}"), inner.map(lambda t: f"I({t})"))


RIGHT_SIDES = st.recursive(ATOMS, nest, max_leaves=7)
LEFT_SIDES = st.sampled_from(
    ["y", "cbind(y, n)", "b", "s", "x", "o", "", "log(n)", "f == 'a'", "nope", "cbind(y)", "."]
)


@st.composite
def mutated(draw):
    text = draw(st.sampled_from(VALID))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        end = min(len(text), at + draw(st.integers(0, 3)))
        text = text[:at] + draw(st.text("xyfosb~|()+-*/:^%,'`=. 012&!<>\\", max_size=3)) + text[end:]
    return text


def attempt(text, data=FRAME, **kwargs):
    """Go all the way; swallow what refglmm says on purpose, and nothing else."""
    with contextlib.suppress(RefglmmError), warnings.catch_warnings():
        warnings.simplefilter("ignore", RefglmmWarning)
        frame = build_frame(text, data, **kwargs)
        design = build_design(frame, control=LOOSE)
        assert design.X.shape == (frame.n, len(design.names))
        assert np.isfinite(design.X).all()
        assert design.Zt().shape == (design.q, frame.n)
        assert frame.data.shape[0] == frame.n
        np.testing.assert_allclose(design.fixed_matrix(data)[frame.kept], design.X, atol=1e-9, rtol=1e-9)
        for term in design.terms:
            codes, Z = design.random_matrix(term, data)
            np.testing.assert_array_equal(codes[frame.kept], term.codes)
            np.testing.assert_allclose(Z[frame.kept], term.Z, atol=1e-9, rtol=1e-9)


def round_trip(text):
    with contextlib.suppress(RefglmmError):
        formula = parse(text)
        assert parse(str(formula)) == formula
        assert str(parse(str(formula))) == str(formula)
        assert formula.variables == parse(str(formula)).variables


@QUICK
@given(st.text(max_size=40))
@example("~")
@example("y ~ (1|\x00)")
@example("y~x%")
def test_any_text(text):
    round_trip(text)
    attempt(text, binomial=False)


@QUICK
@given(mutated(), st.booleans())
def test_mutated_formulas(text, binomial):
    round_trip(text)
    before = FRAME.copy(deep=True)
    attempt(text, binomial=binomial)
    pd.testing.assert_frame_equal(FRAME, before)


@QUICK
@given(LEFT_SIDES, RIGHT_SIDES, st.booleans(), st.sampled_from(["omit", "exclude", "pass", "fail"]))
def test_generated_formulas(left, right, binomial, na_action):
    text = f"{left} ~ {right}"
    round_trip(text)
    before = FRAME.copy(deep=True)
    attempt(text, binomial=binomial, na_action=na_action)
    pd.testing.assert_frame_equal(FRAME, before)


VALUES = st.one_of(
    st.none(),
    st.floats(),
    st.integers(-(2**70), 2**70),
    st.booleans(),
    st.text(max_size=3),
    st.complex_numbers(),
    st.binary(max_size=2),
    st.lists(st.integers(), max_size=2),
)
COLUMNS = st.one_of(
    st.lists(VALUES, min_size=0, max_size=6),
    st.lists(st.floats(), min_size=4, max_size=4),
    st.lists(st.text(max_size=2), min_size=4, max_size=4),
    st.lists(st.integers(0, 2), min_size=4, max_size=4),
)


@QUICK
@given(
    st.fixed_dictionaries({"y": COLUMNS, "x": COLUMNS, "g": COLUMNS}),
    st.sampled_from(["y ~ x + (1|g)", "cbind(y, x) ~ (1|g)", "x ~ poly(y, 2) + (y|g)", "y ~ factor(x) + (1|x:g)"]),
    st.booleans(),
    COLUMNS,
)
def test_any_columns(columns, text, binomial, extra):
    attempt(text, columns, binomial=binomial)
    attempt(text, columns, binomial=binomial, weights=extra, na_action="pass")
    with contextlib.suppress(RefglmmError):
        build_frame(text, FRAME.assign(g=FRAME.s), binomial=binomial, subset=extra)


@QUICK
@given(st.permutations(range(8)), st.sampled_from(VALID))
def test_row_order_does_not_matter(order, text):
    data = FRAME.assign(n=[3, 1, 4, 2, 5, 9, 2, 6], x=[0.1, 1, 2.0, -3.0, 0.5, 1.5, 2.5, 4.0], s=list("uvuwvuvu"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RefglmmWarning)
        one, other = (
            build_design(build_frame(text, rows, binomial=True), control=LOOSE)
            for rows in (data, data.iloc[list(order)])
        )
    assert one.all_names == other.all_names
    np.testing.assert_allclose(
        other.matrix.build(other.frame.columns.__getitem__, 8),
        one.matrix.build(one.frame.columns.__getitem__, 8)[list(order)],
        atol=1e-9,
    )
    for a, b in zip(one.terms, other.terms, strict=True):
        assert list(a.levels) == list(b.levels)
        np.testing.assert_array_equal(b.codes, a.codes[list(order)])
