"""Numbers as R prints them, so that tables can be laid side by side with lme4's.

Place in the reading order: first of ``fit``; everything that prints uses it. Written from the behaviour
that R's help pages of ``format``, ``printCoefmat``, ``format.pval`` and ``abbreviate`` describe, checked
against R.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike

#: Width of a printed line.
LINE_WIDTH = 80
#: Below this R prints "<2e-16" for a p-value (the spacing of doubles at 1).
SMALLEST_P = 2.220446049250313e-16
STARS = ((0.001, "***"), (0.01, "**"), (0.05, "*"), (0.1, "."), (math.inf, ""))
STARS_LEGEND = "Signif. codes:  0 '***' 0.001 '**' 0.01 '*' 0.05 '.' 0.1 ' ' 1"


def _significant(x: float, digits: int) -> tuple[int, int]:
    """Decimal exponent and significant digits of x rounded to ``digits``, trailing zeros dropped."""
    mantissa, exponent = f"{abs(x):.{digits - 1}e}".split("e")
    return int(exponent), max(1, len(mantissa.replace(".", "").rstrip("0")))


def _layout(values: np.ndarray, digits: int) -> tuple[bool, int]:
    """(fixed notation?, decimals of the chosen notation) common to all finite values.

    The number that needs most decimals to show ``digits`` significant digits decides for all. Fixed notation
    unless it is wider than scientific.
    """
    values = values[values != 0.0]
    if not values.size:
        return True, 0
    shown = [_significant(x, digits) for x in values]
    decimals = max(max(0, n - 1 - exponent) for exponent, n in shown)
    whole = max(max(1, exponent + 1) + (x < 0) for (exponent, _), x in zip(shown, values, strict=True))
    most = max(n for _, n in shown)
    exponent_width = 5 if any(abs(exponent) >= 100 for exponent, _ in shown) else 4
    fixed_width = whole + (decimals + 1 if decimals else 0)
    scientific_width = bool(np.any(values < 0)) + (most + 1 if most > 1 else 1) + exponent_width
    return (True, decimals) if fixed_width <= scientific_width else (False, most - 1)


def format_numbers(values: ArrayLike, digits: int) -> list[str]:
    """Format numbers together, as R's ``format(x, digits=)``: common decimals, NaN as "NaN"; not padded.

    Parameters
    ----------
    values : array-like of float
    digits : int
        Significant digits that at least the "hardest" number shows.
    """
    x = np.atleast_1d(np.asarray(values, dtype=float)).ravel()
    fixed, decimals = _layout(x[np.isfinite(x)], digits)
    return [_one(v, fixed, decimals) for v in x]


def _one(x: float, fixed: bool, decimals: int) -> str:
    if math.isnan(x):
        return "NaN"
    if math.isinf(x):
        return "Inf" if x > 0 else "-Inf"
    text = f"{x:.{decimals}{'f' if fixed else 'e'}}"
    # R never prints a negative zero.
    return text[1:] if text.startswith("-") and float(text) == 0.0 else text


def format_p(p: ArrayLike, digits: int = 3) -> list[str]:
    """P-values as R's ``format.pval``: those shorter in fixed notation together, the rest scientific."""
    x = np.asarray(p, dtype=float)
    out = np.full(x.shape, "NaN", dtype=object)
    small = x < SMALLEST_P
    shown = np.isfinite(x) & ~small
    alone = [bool(ok) and _layout(np.array([v]), digits)[0] for v, ok in zip(x, shown, strict=True)]
    fixed = np.array(alone, dtype=bool)
    for group in (fixed, shown & ~fixed):
        if group.any():
            out[group] = format_numbers(x[group], digits)
    widest = max((len(text) for text in out[~small]), default=0)
    out[small] = "< 2e-16" if widest > len("<2e-16") else "<2e-16"
    return list(out)


def stars(p: ArrayLike) -> list[str]:
    """Significance stars of p-values; empty for NaN."""
    return [
        "" if math.isnan(v) else next(mark for bound, mark in STARS if v <= bound) for v in np.asarray(p, dtype=float)
    ]


def format_coefficients(estimate: ArrayLike, se: ArrayLike, digits: int = 4) -> tuple[list[str], list[str]]:
    """Estimates and standard errors with the decimals that both columns share, as ``printCoefmat``."""
    both = np.concatenate([np.asarray(estimate, dtype=float), np.asarray(se, dtype=float)])
    size = np.abs(both[np.isfinite(both) & (both != 0.0)])
    if size.size:
        # Not more decimals than the smallest number needs for `digits` significant digits.
        both = np.round(both, max(1, digits - 1 - math.floor(math.log10(size.min()))))
    text = format_numbers(both, digits)
    return text[: len(text) // 2], text[len(text) // 2 :]


def table(header: Sequence[str], rows: Iterable[Sequence[str]], left: Sequence[bool], *, indent: str = "") -> str:
    """Align cells in columns separated by one space; ``left`` says which columns are left-justified."""
    body = [list(header), *[list(row) for row in rows]]
    widths = [max(len(row[j]) for row in body) for j in range(len(header))]
    lines = [
        " ".join(c.ljust(w) if lj else c.rjust(w) for c, w, lj in zip(row, widths, left, strict=True)) for row in body
    ]
    return "\n".join(indent + line.rstrip() for line in lines)


def named_numbers(names: Sequence[str], text: Sequence[str], gap: int = 2) -> str:
    """Numbers under their names in columns of one width, wrapped, as R prints a named vector."""
    if not names:
        return ""
    width = max(len(t) for t in [*names, *text])
    per_line = max(1, LINE_WIDTH // (width + gap))
    lines = []
    for start in range(0, len(names), per_line):
        chunk = slice(start, start + per_line)
        lines += [(" " * gap).join(t.rjust(width) for t in part[chunk]) for part in (names, text)]
    return "\n".join(lines)


def abbreviate(names: Sequence[str], length: int) -> list[str]:
    """Shorten names to about ``length`` characters and keep them distinct, as R's ``abbreviate``.

    Lower-case vowels go first, then lower-case letters, then anything, each from the right; the first
    character stays. Names that collide are given one more character, until they do not.
    """
    out = [_abbreviate_one(name, length) for name in names]
    extra = length
    while len(set(out)) < len(set(names)) and extra < max(map(len, names)):
        extra += 1
        repeated = {text for text in out if out.count(text) > 1}
        out = [
            _abbreviate_one(name, extra) if text in repeated else text for name, text in zip(names, out, strict=True)
        ]
    return out


def _abbreviate_one(name: str, length: int) -> str:
    droppable: tuple[Callable[[str], bool], ...] = (
        lambda c: c == " ",
        lambda c: c in "aeiou",
        str.islower,
        lambda c: True,
    )
    text = name.strip()
    for may_go in droppable:
        for i in range(len(text) - 1, 0, -1):
            if len(text) <= length:
                return text
            if may_go(text[i]):
                text = text[:i] + text[i + 1 :]
    return text
