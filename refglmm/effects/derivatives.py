r"""Derivatives of rows of the model in a numeric variable, exact.

Place in the reading order: in ``effects``, after ``grid``. A column of X is a product of variables' columns
(:mod:`refglmm.formula.matrix`), so by the product rule

.. math:: \frac{\partial x_j}{\partial v} = \sum_a \frac{\partial a}{\partial v} \prod_{a' \neq a} a'

over the formula's variables :math:`a` (``log(v)``, ``poly(v, 2)``, ``I(v^2 + w)``, ...) that :math:`v` occurs in.
Each :math:`\partial a/\partial v` follows from the expression tree by the chain rule (forward mode). Splines and
orthogonal polynomials know their own derivatives. What a foreign function does inside is known by its values only:
there, and where a second argument depends on v, a difference of order eight stands in. Steps (``floor``, ``factor``,
comparisons) count as flat.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.effects.grid import Rows
from refglmm.errors import ArgumentError
from refglmm.formula.evaluate import Scope
from refglmm.formula.expressions import Binary, Call, Name, Node, Paren, Unary, deparse, names_in, parse_expression
from refglmm.formula.frame import evaluate_new
from refglmm.formula.matrix import ModelMatrix
from refglmm.formula.transforms import STATEFUL
from refglmm.formula.values import Column, Matrix, as_numeric

if TYPE_CHECKING:
    from refglmm.fitted import FittedModel

FloatArray = NDArray[np.float64]

#: Central difference of order eight: f'(x) = sum_k c_k (f(x + kh) - f(x - kh)) / h.
STENCIL = (4 / 5, -1 / 5, 4 / 105, -1 / 280)
#: Step relative to the argument's spread: truncation near 1e-16, rounding near 1e-14.
STEP = 0.01

#: d f(x) / dx of the functions of one argument.
ELEMENTWISE: dict[str, Callable[[FloatArray], FloatArray]] = {
    "I": np.ones_like,
    "as.numeric": np.ones_like,
    "log2": lambda x: 1.0 / (x * np.log(2.0)),
    "log10": lambda x: 1.0 / (x * np.log(10.0)),
    "log1p": lambda x: 1.0 / (1.0 + x),
    "exp": np.exp,
    "expm1": np.exp,
    "sqrt": lambda x: 0.5 / np.sqrt(x),
    "abs": np.sign,
    "sin": np.cos,
    "cos": lambda x: -np.sin(x),
    "tan": lambda x: 1.0 / np.cos(x) ** 2,
    "asin": lambda x: 1.0 / np.sqrt(1.0 - x**2),
    "acos": lambda x: -1.0 / np.sqrt(1.0 - x**2),
    "atan": lambda x: 1.0 / (1.0 + x**2),
    "sinh": np.cosh,
    "cosh": np.sinh,
    "tanh": lambda x: 1.0 / np.cosh(x) ** 2,
    "plogis": lambda x: 0.25 / np.cosh(0.5 * x) ** 2,
    "qlogis": lambda p: 1.0 / (p * (1.0 - p)),
}
#: Functions whose value is a step or does not depend on the row.
_STEPS = "floor ceiling trunc sign round as.integer as.logical is.na c factor as.factor as.character ordered relevel"
FLAT = frozenset(f"{_STEPS} mean median sd min max sum".split())


def row_derivatives(fit: FittedModel, newdata: pd.DataFrame, name: str) -> Rows:
    """Derivatives of the rows of X, of the offset and of the random part in one numeric variable.

    Parameters
    ----------
    newdata : DataFrame, m rows
        Where; holds all variables of the model.
    name : str
        A numeric column.

    Returns
    -------
    Rows
        Per unit of the variable; all of them estimable.

    Raises
    ------
    ArgumentError
        Where a derivative is not finite.
    """
    _, scope = evaluate_new(fit.frame, newdata)

    def derivative(node: Node) -> Any:
        with np.errstate(all="ignore"):  # infinite where the function has a pole: judged below
            return differentiate(node, scope, name, lambda part: _difference(fit, newdata, part, name))

    n = len(newdata)
    L = _matrix_derivative(fit.design.matrix, scope, name, derivative)[:, list(fit.design.kept_columns)]
    Z = tuple(_matrix_derivative(term.matrix, scope, name, derivative) for term in fit.design.terms)
    offset = np.zeros(n)
    for text in fit.frame.formula.offsets:
        offset = offset + np.broadcast_to(derivative(parse_expression(text)), (n,))
    finite = np.isfinite(offset) & np.all([np.isfinite(M).all(axis=1) for M in (L, *Z)], axis=0)
    if not finite.all():
        value = newdata[name].iloc[int(np.argmin(finite))]
        raise ArgumentError(
            f"the model has no finite derivative in {name!r} at {name} = {value:.6g}; ask for another place with at=",
            variable=name,
            value=float(value),
        )
    return Rows(L, offset, Z, np.zeros((n, 0)), np.zeros(n, dtype=bool))


def _matrix_derivative(recipe: ModelMatrix, scope: Scope, name: str, derivative: Callable[[Node], Any]) -> FloatArray:
    """Derivative of all columns of a model matrix: the product rule over its variables."""
    n = len(scope.table)
    out = np.zeros((n, len(recipe.names)))
    assign = np.array(recipe.assign)
    for v, coding in recipe.codings.items():
        text = recipe.terms.variables[v]
        node = parse_expression(text)
        if coding.levels is not None or name not in names_in(node):
            continue
        changed = _as_column(derivative(node), scope.column(text))

        def column(t: str, text: str = text, changed: Column = changed) -> Column:
            return changed if t == text else scope.column(t)

        holds = [j + 1 for j, mask in enumerate(recipe.terms.masks) if v in recipe.terms.members(mask)]
        out += np.where(np.isin(assign, holds), recipe.build(column, n), 0.0)
    return out


def _as_column(values: Any, like: Column) -> Column:
    if isinstance(like, Matrix):
        return Matrix(np.broadcast_to(values, like.values.shape).astype(float), like.suffixes)
    return np.broadcast_to(np.asarray(values, dtype=float), (len(like),))


def differentiate(node: Node, scope: Scope, name: str, by_difference: Callable[[Node], Any]) -> Any:
    """Derivative of an expression in the variable ``name``: an array per row, or 0.0.

    Parameters
    ----------
    scope : Scope
        Gives the values.
    by_difference : callable
        What to do with a call that has no rule.
    """

    def d(part: Node) -> Any:
        return differentiate(part, scope, name, by_difference)

    def value(part: Node) -> Any:
        found = scope.evaluate(part)
        return found.values if isinstance(found, Matrix) else np.asarray(as_numeric(found, deparse(part)))

    if name not in names_in(node):
        return 0.0
    match node:
        case Name():
            return np.ones(len(scope.table))
        case Paren(inner):
            return d(inner)
        case Unary(op, inner):
            return {"-": -1.0, "+": 1.0}.get(op, 0.0) * d(inner)
        case Binary(op, left, right) if op in _RULES:
            return _RULES[op](value, d, left, right)
        case Binary():
            return 0.0
        case Call(function, _) if function in FLAT and not callable(scope.env.get(function)):
            return 0.0
        case Call():
            return _call(node, scope, value, d, by_difference)
    return by_difference(node)


def _power(value: Any, d: Any, left: Node, right: Node) -> Any:
    """d(a^b): the second part matters where the exponent varies."""
    a, b = value(left), value(right)
    slope = b * a ** (b - 1.0) * d(left)
    rising = d(right)
    return slope if np.ndim(rising) == 0 else slope + a**b * np.log(a) * rising


_RULES: dict[str, Callable[..., Any]] = {
    "+": lambda value, d, a, b: d(a) + d(b),
    "-": lambda value, d, a, b: d(a) - d(b),
    "*": lambda value, d, a, b: d(a) * value(b) + value(a) * d(b),
    "/": lambda value, d, a, b: (d(a) - value(a) / value(b) * d(b)) / value(b),
    "^": _power,
}


def _call(node: Call, scope: Scope, value: Any, d: Any, by_difference: Callable[[Node], Any]) -> Any:
    """Chain rule of a call whose first argument alone depends on the variable."""
    (_, first), *rest = node.args
    own = callable(scope.env.get(node.function))
    if own or any(_depends(other, d) for _, other in rest):
        return by_difference(node)
    inner = d(first)
    if node.function in ELEMENTWISE and not rest:
        return ELEMENTWISE[node.function](value(first)) * inner
    if node.function == "log":
        base = value(rest[0][1]) if rest else np.e
        return inner / (value(first) * np.log(base))
    if node.function in ("scale", "center"):
        return inner / scope.states[deparse(node)][1]
    if node.function in ("poly", "bs", "ns"):
        slopes = _basis_slopes(node, scope)
        return slopes * (inner[:, None] if slopes.ndim == 2 else inner)
    return by_difference(node)


def _depends(node: Node, d: Any) -> bool:
    return np.ndim(d(node)) > 0


def _basis_slopes(node: Call, scope: Scope) -> FloatArray:
    """Derivatives of a spline or polynomial basis in its argument, from the function that makes the basis."""
    positional = [scope.evaluate(v) for key, v in node.args if key is None]
    named = {k.lower().replace(".", "_"): scope.evaluate(v) for k, v in node.args if k is not None}
    out, _ = STATEFUL[node.function](scope.states[deparse(node)], *positional, **named, _slope=True)
    return np.asarray(out.values if isinstance(out, Matrix) else out)


def _difference(fit: FittedModel, newdata: pd.DataFrame, node: Node, name: str) -> FloatArray:
    """Difference of order eight of an expression; the step is a hundredth of the variable's SD in the fit."""
    spread = float(np.std(fit.frame.data[name].to_numpy(dtype=float)))
    step = STEP * (spread or 1.0)

    def at(shift: float) -> Any:
        moved = newdata.assign(**{name: newdata[name].to_numpy(dtype=float) + shift})
        value = evaluate_new(fit.frame, moved)[1].column(deparse(node))
        return value.values if isinstance(value, Matrix) else as_numeric(value, deparse(node))

    return sum(c * (at(k * step) - at(-k * step)) for k, c in enumerate(STENCIL, 1)) / step
