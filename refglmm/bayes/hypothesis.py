r"""Hypotheses: expressions of reported quantities, their posterior, and the probability that they hold.

Place in the reading order: after ``effects``. ``"b[talk] - b[perf] > 0"`` is read as the quantity
:math:`d = (left) - (right)` and a direction. Of its draws there are mean, standard deviation and interval, and

.. math:: P = \Pr(d > 0 \mid y),\qquad \text{evidence ratio} = \frac{P}{1 - P},\qquad
          \mathrm{pd} = \max\{\Pr(d > 0), \Pr(d < 0)\},\qquad \Pr(low < d < high \mid y)

the last for a region of practical equivalence. An expression is parsed by Python's own ``ast``; only numbers, labels,
``+ - * / **``, parentheses and the functions of :data:`FUNCTIONS` are let through; nothing is ever evaluated as code.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.bayes.draws import unknown
from refglmm.bayes.parameters import check_probability
from refglmm.effects import tables
from refglmm.errors import ArgumentError

FloatArray = NDArray[np.float64]

FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "abs": np.abs,
    "tanh": np.tanh,
    "plogis": lambda x: 1.0 / (1.0 + np.exp(-x)),
}
BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
#: A label in an expression: a name, with something in brackets or without.
_LABEL = re.compile(r"[A-Za-z_][\w.]*(?:\[[^\[\]]*(?:\[[^\[\]]*\][^\[\]]*)*\])?")


@dataclass(frozen=True, eq=False, repr=False)
class Hypotheses(tables.Tabled):
    """What the posterior says of some expressions.

    Attributes
    ----------
    prob : float
        Of the intervals.
    rope : (low, high) or None
    table : DataFrame
        Columns hypothesis, estimate, se, lower, upper, probability (that the inequality holds; NaN without one),
        evidence_ratio, pd and, with a region of practical equivalence, rope.
    samples : DataFrame
        Draws of left minus right of each, chains one after the other.
    """

    prob: float
    rope: tuple[float, float] | None
    _samples: pd.DataFrame
    _table: pd.DataFrame

    @property
    def samples(self) -> pd.DataFrame:
        """Draws of each expression (a copy)."""
        return self._samples.copy()

    def _notes(self) -> tuple[str, ...]:
        region = "" if self.rope is None else f"rope: probability of ({self.rope[0]:g}, {self.rope[1]:g})"
        return (f"estimates are left minus right; {self.prob:g} intervals from {len(self._samples)} draws", region)

    def _shown(self) -> pd.DataFrame:
        """The table for people: without what is said of inequalities where there is none."""
        if self._table["probability"].isna().all():
            return self._table.drop(columns=["probability", "evidence_ratio"])
        texts = {"probability": "{:.4f}".format, "evidence_ratio": "{:.4g}".format}
        cells = {name: ["" if np.isnan(v) else f(v) for v in self._table[name]] for name, f in texts.items()}
        return self._table.assign(**cells)

    def __str__(self) -> str:
        return tables.text(("Hypotheses",), self._shown(), self._notes())

    def _repr_html_(self) -> str:
        return tables.html(("Hypotheses",), self._shown(), self._notes())


def hypothesis(fit: Any, hypotheses: Any, *, prob: float = 0.95, rope: tuple[float, float] | None = None) -> Hypotheses:
    """Judge expressions of the parameters; see :meth:`.after.AfterFit.hypothesis`."""
    prob, rope = check_probability(prob), _check_rope(rope)
    names, values = fit.reported_draws
    columns = {name: values[:, j] for j, name in enumerate(names)}
    rows, samples = [], {}
    for name, text in _named(hypotheses).items():
        draws, direction = parsed(text, columns)
        samples[name] = draws
        rows.append({"hypothesis": name, **_judged(draws, direction, prob, rope)})
    return Hypotheses(prob, rope, pd.DataFrame(samples), pd.DataFrame(rows))


def _check_rope(rope: Any) -> tuple[float, float] | None:
    if rope is None:
        return None
    try:
        low, high = (float(end) for end in rope)
    except (TypeError, ValueError):
        raise ArgumentError(f"rope must be two numbers (low, high), not {rope!r}") from None
    if not low < high:
        raise ArgumentError(f"rope must be (low, high) with low < high, not {rope!r}")
    return low, high


def _named(hypotheses: Any) -> dict[str, str]:
    """Expressions by the names they are shown under."""
    if isinstance(hypotheses, str):
        hypotheses = [hypotheses]
    if not isinstance(hypotheses, Mapping):
        if not isinstance(hypotheses, Sequence) or not all(isinstance(text, str) for text in hypotheses):
            raise ArgumentError(f"a hypothesis is text such as 'b[x] > 0', or several of them, not {hypotheses!r}")
        hypotheses = {text: text for text in hypotheses}
    if not hypotheses:
        raise ArgumentError("no hypothesis is given")
    return {str(name): str(text) for name, text in hypotheses.items()}


def _judged(draws: FloatArray, direction: int, prob: float, rope: tuple[float, float] | None) -> dict[str, float]:
    """Numbers of one line."""
    lower, upper = np.quantile(draws, [0.5 - 0.5 * prob, 0.5 + 0.5 * prob])
    above, below = float(np.mean(draws > 0.0)), float(np.mean(draws < 0.0))
    holds = {1: above, -1: below, 0: np.nan}[direction]
    out = {"estimate": float(draws.mean()), "se": float(draws.std(ddof=1)), "lower": lower, "upper": upper}
    out |= {"probability": holds, "evidence_ratio": np.inf if holds == 1.0 else holds / (1.0 - holds)}
    out["pd"] = max(above, below)
    if rope is not None:
        out["rope"] = float(np.mean((draws > rope[0]) & (draws < rope[1])))
    return out


# -- reading an expression --------------------------------------------------------------------------------------------


def parsed(text: str, columns: Mapping[str, FloatArray]) -> tuple[FloatArray, int]:
    """Draws of left minus right, and 1 for ">", -1 for "<", 0 for neither."""
    plain, labels = _without_labels(text, columns)
    try:
        node = ast.parse(plain.strip(), mode="eval").body
    except SyntaxError:
        raise ArgumentError(f"cannot read the hypothesis {text!r}; write it as 'b[x] - b[z] > 0'", text=text) from None
    direction = 0
    if isinstance(node, ast.Compare):
        if len(node.ops) != 1 or not isinstance(node.ops[0], ast.Gt | ast.Lt):
            raise ArgumentError(
                f"a hypothesis has one '<' or '>', or neither: {text!r} (a point has no posterior probability; see "
                "bayes_factor(fixed=...))",
                text=text,
            )
        direction = 1 if isinstance(node.ops[0], ast.Gt) else -1
        node = ast.BinOp(node.left, ast.Sub(), node.comparators[0])
    if not labels:
        raise ArgumentError(f"the hypothesis {text!r} names no parameter; there are: {', '.join(columns)}", text=text)
    with np.errstate(all="ignore"):
        draws = np.broadcast_to(_value(node, labels, text), len(next(iter(columns.values())))).astype(np.float64)
    if not np.all(np.isfinite(draws)):
        lost = int(np.sum(~np.isfinite(draws)))
        raise ArgumentError(f"{text!r} is not finite for {lost} of {draws.size} draws", text=text, lost=lost)
    return draws, direction


def _without_labels(text: str, columns: Mapping[str, FloatArray]) -> tuple[str, dict[str, FloatArray]]:
    """The expression with a plain name in place of each label, and what these names stand for."""
    labels: dict[str, FloatArray] = {}

    def replaced(match: re.Match[str]) -> str:
        label = re.sub(r"\s+", " ", match.group())
        if label in FUNCTIONS and text[match.end() :].lstrip().startswith("("):
            return label
        known = label if label in columns else _alone(label, columns)
        if known is None:
            raise unknown(label, list(columns))
        name = f"q{len(labels)}"
        labels[name] = columns[known]
        return name

    return _LABEL.sub(replaced, text), labels


def _alone(label: str, columns: Mapping[str, FloatArray]) -> str | None:
    """The quantity that a shorter label means, if there is just one: ``sd[Int]`` for ``sd[group:Int]``."""
    base, _, inside = label.partition("[")
    ending = f":{inside}"
    found = [name for name in columns if inside and name.startswith(f"{base}[") and name.endswith(ending)]
    return found[0] if len(found) == 1 else None


def _value(node: ast.AST, labels: Mapping[str, FloatArray], text: str) -> Any:
    """Value of an expression that holds nothing but what is allowed."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return float(node.value)
    if isinstance(node, ast.Name) and node.id in labels:
        return labels[node.id]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _value(node.operand, labels, text)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp) and type(node.op) in BINARY:
        return BINARY[type(node.op)](_value(node.left, labels, text), _value(node.right, labels, text))
    call = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS
    if isinstance(node, ast.Call) and call and len(node.args) == 1 and not node.keywords:
        return FUNCTIONS[node.func.id](_value(node.args[0], labels, text))  # type: ignore[attr-defined]
    raise ArgumentError(
        f"a hypothesis is made of parameters, numbers, + - * / **, parentheses and {', '.join(FUNCTIONS)}; {text!r} "
        "has something else",
        text=text,
    )
