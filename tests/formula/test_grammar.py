"""Formulas without data: expansion, structures, offsets, messages."""

from __future__ import annotations

import pytest

from refglmm.errors import FormulaError
from refglmm.formula import Formula, RandomTerm, parse, update_formula


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("cbind(s,n-s)~period+(1|herd)", "cbind(s, n - s) ~ period + (1 | herd)"),
        ("y ~ (1|g)", "y ~ 1 + (1 | g)"),
        ("y ~ 0+(1|g)", "y ~ 0 + (1 | g)"),
        ("y ~ (1|g) - 1", "y ~ -1 + (1 | g)"),
        ("y ~ x + (1|a/b)", "y ~ x + (1 | b:a) + (1 | a)"),
        ("y ~ (1|a/b/c)", "y ~ 1 + (1 | c:b:a) + (1 | b:a) + (1 | a)"),
        ("y ~ (1|a*b)", "y ~ 1 + (1 | a) + (1 | b) + (1 | a:b)"),
        ("y ~ (x|a+b)", "y ~ 1 + (x | a) + (x | b)"),
        ("y ~ (1|a:a)", "y ~ 1 + (1 | a)"),
        ("y ~ (1|a %in% b)", "y ~ 1 + (1 | a:b)"),
        ("y ~ x + (Days||Subject)", "y ~ x + (1 | Subject) + (0 + Days | Subject)"),
        ("y ~ (x*f||g)", "y ~ 1 + (1 | g) + (0 + x | g) + (0 + f | g) + (0 + x:f | g)"),
        ("y ~ (0+x||g)", "y ~ 1 + (0 + x | g)"),
        ("y ~ (x||a/b)", "y ~ 1 + (1 | b:a) + (1 | a) + (0 + x | b:a) + (0 + x | a)"),
        ("y ~ cs(x|a/b)", "y ~ 1 + cs(x | b:a) + cs(x | a)"),
        ("y ~ us(x|g) + diag(x|h)", "y ~ 1 + (x | g) + diag(x | h)"),
        ("y ~ ar1(0+t|g, hom=FALSE)", "y ~ 1 + ar1(0 + t | g, hom = FALSE)"),
        ("y ~ ar1(0+t|g, hom=True)", "y ~ 1 + ar1(0 + t | g)"),
        ("y ~ cs(0+t|g, TRUE)", "y ~ 1 + cs(0 + t | g, hom = TRUE)"),
        ("y ~ offset(log(t)) + x + offset(z) + (1|g)", "y ~ x + offset(log(t)) + offset(z) + (1 | g)"),
        ("y ~ ((1|g) + x)", "y ~ x + (1 | g)"),
        ("y ~ I(a|b) + (1|g)", "y ~ I(a | b) + (1 | g)"),
        ("y ~ x == 1", "y ~ (x == 1)"),
        ("~ x", "~ x"),
        ("y ~ -(a:b) + c", "y ~ -(a:b) + c"),
        ("y ~ (1|factor(x > 4))", "y ~ 1 + (1 | factor(x > 4))"),
        ("y ~ (1|x > 4)", "y ~ 1 + (1 | (x > 4))"),
        ("`my y` ~ `silly period` + (1|`silly herd`)", "`my y` ~ `silly period` + (1 | `silly herd`)"),
    ],
)
def test_expansion_and_round_trip(text, expanded):
    formula = parse(text)
    assert formula.expanded == str(formula) == expanded
    assert parse(expanded) == formula
    assert parse(expanded).expanded == expanded


def test_structures_and_default_hom():
    terms = parse("y ~ us(1|a) + diag(1|b) + cs(1|c) + ar1(1|d) + diag(1|e, hom=TRUE)").random
    assert [(t.structure, t.hom) for t in terms] == [
        ("us", False), ("diag", False), ("cs", False), ("ar1", True), ("diag", True)
    ]  # fmt: skip


def test_double_bar_as_diag():
    assert parse("y ~ (x + f || g)", double_bar="diag").random == (RandomTerm("x + f", "g", "diag", False),)


def test_parts_and_variables():
    formula = parse("log(y) ~ a:b + offset(t) + (poly(x, 2) | g:h)")
    assert (formula.response, formula.fixed, formula.offsets) == ("log(y)", "a:b", ("t",))
    assert formula.variables == ("y", "a", "b", "t", "x", "g", "h")
    assert formula.without_random().expanded == "log(y) ~ a:b + offset(t)"
    assert parse(formula) is formula


def test_dot_is_all_other_columns():
    columns = ["y", "a", "b c", "g", "t"]
    assert parse("y ~ . + offset(t) + (1|g)").resolve_dot(columns).fixed == "a + `b c`"
    assert parse("y ~ .^2 - a:`b c` + (1|g)").resolve_dot(columns).fixed == "(a + `b c` + t)^2 - a:`b c`"
    assert parse("log(y) ~ .").resolve_dot(["y", "x"]).fixed == "x"
    assert parse("y ~ x").resolve_dot(columns) == parse("y ~ x")
    with pytest.raises(FormulaError, match="there are none"):
        parse("y ~ .").resolve_dot(["y"])
    many = [f"x{i}" for i in range(3000)]
    assert len(parse("y ~ .").resolve_dot(["y", *many]).variables) == 3001


@pytest.mark.parametrize(
    ("text", "message", "piece"),
    [
        ("y", "no '~'", "y"),
        ("y ~ x ~ z", "more than one '~'", "~"),
        ("y ~ x | g", "needs parentheses", "x | g"),
        ("y ~ x * (1|g)", "can only be added", "x * (1 | g)"),
        ("y ~ x - (1|g)", "cannot be subtracted", "(1 | g)"),
        ("y ~ (1|g|h)", "cannot be nested", "1 | g | h"),
        ("y ~ (0|g)", "no random effects left of the bar", "0 | g"),
        ("y ~ (1|1)", "not a grouping factor", "1"),
        ("y ~ (1|a - b)", "not a grouping factor", "a - b"),
        ("y ~ (.|g)", "no meaning inside a random term", ". | g"),
        ("y ~ cs(x||g)", "'||' inside cs()", "cs(x || g)"),
        ("y ~ cs(x|g, hom=T)", "must be TRUE or FALSE", "T"),
        ("y ~ cs(x|g, hom=1)", "must be TRUE or FALSE", "1"),
        ("y ~ us(x|g, hom=TRUE)", "no further argument", "us(x | g, hom = TRUE)"),
        ("y ~ ar1(x|g, rho=TRUE)", "one further argument", "ar1(x | g, rho = TRUE)"),
        ("y ~ x^2.5", "whole number", "2.5"),
        ("y ~ x^z", "whole number", "z"),
        ("y ~ 2*x", "not a model term", "2"),
        ("y ~ x + TRUE", "not a model term", "TRUE"),
        ("y ~ x + y", "also stands on the right-hand side", "y"),
        ("1 ~ x", "the response cannot be 1", "1"),
        ("y ~ offset(a, b)", "one argument", "offset(a, b)"),
    ],
)  # fmt: skip
def test_errors_name_the_piece(text, message, piece):
    with pytest.raises(FormulaError) as caught:
        parse(text)
    assert message in str(caught.value)
    assert caught.value.facts["piece"] == piece


@pytest.mark.parametrize("text", [3, None, b"y ~ x", ["y ~ x"]])
def test_formula_must_be_text(text):
    with pytest.raises(FormulaError, match="is text"):
        parse(text)


def test_explosions_are_refused():
    letters = [f"v{i}" for i in range(30)]
    for text in (f"y ~ {'*'.join(letters)}", f"y ~ ({'+'.join(letters)})^12", f"y ~ (1|{'*'.join(letters)})"):
        with pytest.raises(FormulaError, match="more than 10000"):
            parse(text)
    assert isinstance(parse("y ~ a^1000000"), Formula)
    with pytest.raises(FormulaError, match="too deeply or too long"):
        parse("y ~ " + ":".join(f"x{i}" for i in range(20_000)))


@pytest.mark.parametrize(
    ("change", "expanded"),
    [
        # the fixed parts are those of R's update(log(y) ~ a * b, ...), its "1 - 1" being our "0"
        (". ~ . + w", "log(y) ~ a + b + w + a:b + offset(t) + (x | g) + (1 | h)"),
        ("~ . - a:b - (1 | h)", "log(y) ~ a + b + offset(t) + (x | g)"),
        ("~ . - a - b - a:b - offset(t) - (x | g)", "log(y) ~ 1 + (1 | h)"),
        ("~ . - a", "log(y) ~ b + a:b + offset(t) + (x | g) + (1 | h)"),
        ("~ . - 1 - offset(t)", "log(y) ~ a + b + a:b - 1 + (x | g) + (1 | h)"),
        ("~ . - a - b - a:b - 1", "log(y) ~ 0 + offset(t) + (x | g) + (1 | h)"),
        ("~ . - nothing", "log(y) ~ a + b + a:b + offset(t) + (x | g) + (1 | h)"),
        ("~ . + I(a - b) - log(a + 1)", "log(y) ~ a + b + I(a - b) + a:b + offset(t) + (x | g) + (1 | h)"),
        ("sqrt(.) ~ . - offset(t)", "sqrt(log(y)) ~ a + b + a:b + (x | g) + (1 | h)"),
        ("z ~ 1 + (1 | g)", "z ~ 1 + (1 | g)"),
        (". ~ .^2 + (1 | k/h)", "log(y) ~ a + b + a:b + (1 | h:k) + (1 | k)"),
    ],
)
def test_update(change, expanded):
    old = parse("log(y) ~ a * b + offset(t) + (x | g) + (1 | h)")
    new = update_formula(old, change)
    assert new.expanded == expanded
    assert parse(new.expanded) == new


@pytest.mark.parametrize(
    ("change", "message"), [(". + w", "an update is"), (3, "an update is"), ("~ . - (1 | q)", "not have it")]
)
def test_update_errors(change, message):
    with pytest.raises(FormulaError, match=message):
        update_formula(parse("y ~ x + (1 | g)"), change)
