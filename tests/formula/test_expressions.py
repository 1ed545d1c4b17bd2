"""Parsing and printing of R expressions. Expected texts: R 4.2.2, deparse(quote(...))."""

from __future__ import annotations

import pytest

from refglmm.errors import FormulaError
from refglmm.formula.expressions import Binary, Name, Number, Unary, deparse, names_in, parse_expression


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("I(age  ^2+ 1)", "I(age^2 + 1)"),
        ("x**2", "x^2"),
        ("poly( x,2,raw=True )", "poly(x, 2, raw = TRUE)"),
        ("a%in%c(1,2)", "a %in% c(1, 2)"),
        ("x%%2+x%/%3", "x%%2 + x%/%3"),
        ("f=='a'&!g", 'f == "a" & !g'),
        ("`silly period`*`TRUE`", "`silly period` * `TRUE`"),
        ("total.fruits/größe_2", "total.fruits/größe_2"),
        ("-x^-2:3", "-x^-2:3"),
        ('f == "a\\"b\\n"', 'f == "a\\"b\\n"'),
        ("1e5*x+100000+123456+0.10+.5+1e-15+2L", "1e+05 * x + 1e+05 + 123456 + 0.1 + 0.5 + 1e-15 + 2L"),
        ("1234567890123456789 + 0.0001 + 1e-5 + 3.14159265358979", None),
    ],
)
def test_deparse_has_r_spacing(text, printed):
    printed = printed or "1234567890123456768 + 1e-04 + 1e-05 + 3.14159265358979"
    if "1234567890123456789" in text:
        printed = printed.replace("1234567890123456768", "1.23456789012346e+18")
    assert deparse(parse_expression(text)) == printed
    assert deparse(parse_expression(printed)) == printed


def test_precedence_follows_r():
    assert parse_expression("-2^2") == Unary("-", Binary("^", Number(2.0), Number(2.0)))
    assert parse_expression("-a:b") == Binary(":", Unary("-", Name("a")), Name("b"))
    assert parse_expression("a^b^c") == Binary("^", Name("a"), Binary("^", Name("b"), Name("c")))
    assert parse_expression("a-b-c") == Binary("-", Binary("-", Name("a"), Name("b")), Name("c"))
    assert parse_expression("!a==b") == Unary("!", Binary("==", Name("a"), Name("b")))
    assert parse_expression("a*b%in%c").op == "*"
    assert parse_expression("1+x|g").op == "|"


@pytest.mark.parametrize(
    ("text", "position", "piece"),
    [
        ("a + * b", 4, "*"),
        ("f(a", 3, ""),
        ("a b", 2, "b"),
        ("a $ b", 2, "$"),
        ("(a", 2, ""),
        ("f(a,,b)", 4, ","),
        ("a < b < c", 6, "<"),
        ("", 0, ""),
        ("2x", 0, "2"),
        ("`open", 0, "`"),
    ],
)
def test_syntax_errors_name_piece_and_position(text, position, piece):
    with pytest.raises(FormulaError) as caught:
        parse_expression(text)
    assert caught.value.facts["position"] == position
    assert caught.value.facts["piece"] == piece


def test_deep_nesting_is_an_error_not_a_crash():
    with pytest.raises(FormulaError, match="nested too deeply"):
        parse_expression("(" * 5000 + "a" + ")" * 5000)
    long_sum = " + ".join(f"x{i}" for i in range(5000))
    assert deparse(parse_expression(long_sum)) == long_sum


def test_names_in_order_of_appearance():
    assert names_in(parse_expression("log(b + a) * I(b^c) + TRUE")) == ("b", "a", "c")
