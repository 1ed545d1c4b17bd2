r"""Functions that may stand in a formula.

Place in the reading order: after :mod:`refglmm.formula.convert`, before :mod:`refglmm.formula.evaluate`.

Two kinds. *Plain* functions work row by row. *Stateful* ones learn something from the data of the fit (the
mean of ``scale``, the recurrence of ``poly``, the knots of ``bs``) and must use the same numbers on new data;
each takes the remembered state (None at the fit) and returns it beside its value.

Sources: ``poly`` by the three-term recurrence of Forsythe (1957), J. SIAM 5, 74-88; B-splines and natural
splines by de Boor (1978), *A Practical Guide to Splines*, with R's choice of knots (``help("bs",
"splines")``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from refglmm.errors import DataError, FormulaError
from refglmm.formula.values import Factor, Logical, Matrix, Value, as_factor, as_numeric, number_labels, scalar_label

State = Any


# --- plain functions ----------------------------------------------------------------------------------------


def _elementwise(name: str, f: Callable[[Any], Any]) -> Callable[[Value], Value]:
    def call(x: Value) -> Value:
        out = f(as_numeric(x, f"{name}()"))
        return out if isinstance(out, np.ndarray) else float(out)

    return call


def _log(x: Value, base: Value = np.e) -> Value:
    x, base = as_numeric(x, "log()"), as_numeric(base, "log()")
    return np.log(x) if base == np.e else np.log(x) / np.log(base)


def _round(x: Value, digits: Value = 0.0) -> Value:
    return np.round(as_numeric(x, "round()"), int(as_numeric(digits, "round()")))


def _identity(x: Value) -> Value:
    return x


def _ifelse(test: Value, yes: Value, no: Value) -> Value:
    flag = as_numeric(test, "ifelse()")
    out = np.where(flag != 0, as_numeric(yes, "ifelse()"), as_numeric(no, "ifelse()"))
    return np.where(np.isnan(flag), np.nan, out)


def _as_numeric(x: Value) -> Value:
    if not isinstance(x, Factor):
        return as_numeric(x, "as.numeric()")
    return np.where(x.codes < 0, np.nan, x.codes + 1.0)  # R: the position among the levels


def _as_integer(x: Value) -> Value:
    return np.trunc(_as_numeric(x))


def _as_logical(x: Value) -> Value:
    values = np.asarray(as_numeric(x, "as.logical()"))
    return Logical(np.where(np.isnan(values), np.nan, (values != 0).astype(float)))


def _is_na(x: Value) -> Value:
    codes = x.codes < 0 if isinstance(x, Factor) else np.isnan(as_numeric(x, "is.na()"))
    return Logical(np.asarray(codes, dtype=np.float64))


def _c(*items: Value) -> Value:
    flat: list[Any] = []
    for item in items:
        flat += item if isinstance(item, tuple) else [item]
    if any(isinstance(item, np.ndarray | Factor | Logical | Matrix) for item in flat):
        raise FormulaError("c() in a formula takes single values, not columns")
    return tuple(flat)


def _factor(x: Value, levels: Value = None, labels: Value = None, ordered: Value = None) -> Factor:
    f = as_factor(x, "factor()").drop_unused()
    if levels is not None:
        wanted = np.array([scalar_label(v) for v in _items(levels)], dtype=object)
        f = Factor(f.recode(wanted), wanted, f.ordered)
    if labels is not None:
        names = np.array([scalar_label(v) for v in _items(labels)], dtype=object)
        if len(names) != len(f.levels) or len(set(names.tolist())) < len(names):
            raise DataError(f"factor(): {len(names)} distinct labels needed for levels {list(f.levels)}")
        f = Factor(f.codes, names, f.ordered)
    return Factor(f.codes, f.levels, f.ordered if ordered is None else bool(ordered))


def _items(value: Value) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _ordered(x: Value, levels: Value = None, labels: Value = None) -> Factor:
    return _factor(x, levels, labels, True)


def _relevel(x: Value, ref: Value) -> Factor:
    f = as_factor(x, "relevel()")
    label = scalar_label(ref)
    if label not in f.levels:
        raise DataError(f"relevel(): {label!r} is not a level; levels are {list(f.levels)}", level=label)
    levels = np.array([label, *(v for v in f.levels if v != label)], dtype=object)
    return Factor(f.recode(levels), levels, f.ordered)


def _num_factor(*coordinates: Value) -> Factor:
    """Levels ``(x,y)``, as glmmTMB's numFactor names them, sorted by the first coordinate, then the next."""
    if not coordinates:
        raise FormulaError("numFactor() needs one column or more")
    columns = [np.asarray(as_numeric(x, "numFactor()")) for x in coordinates]
    if any(column.ndim != 1 for column in columns):
        raise DataError("numFactor() takes columns, not constants")
    x = np.column_stack(columns)
    known = np.isfinite(x).all(axis=1)
    places, which = np.unique(x[known], axis=0, return_inverse=True)
    codes = np.full(len(x), -1, dtype=np.int32)
    codes[known] = which.ravel()
    parts = [number_labels(values)[at.ravel()] for values, at in (np.unique(p, return_inverse=True) for p in places.T)]
    labels = [f"({','.join(row)})" for row in zip(*parts, strict=True)]
    return Factor(codes, np.array(labels, dtype=object))


def _extreme(name: str, ufunc: Any) -> Callable[..., Value]:
    def call(*args: Value) -> Value:
        return ufunc.reduce(np.broadcast_arrays(*(as_numeric(a, name) for a in args)))

    return call


def _expit(x: Any) -> Any:
    return np.where(x >= 0, 1 / (1 + np.exp(-np.abs(x))), np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x))))


_ELEMENTWISE: dict[str, Callable[[Any], Any]] = {
    "log2": np.log2,
    "log10": np.log10,
    "log1p": np.log1p,
    "exp": np.exp,
    "expm1": np.expm1,
    "sqrt": np.sqrt,
    "abs": np.abs,
    "sign": np.sign,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "tanh": np.tanh,
    "floor": np.floor,
    "ceiling": np.ceil,
    "trunc": np.trunc,
    "plogis": _expit,
    "qlogis": lambda p: np.log(p) - np.log1p(-p),
}
PLAIN: dict[str, Callable[..., Value]] = {name: _elementwise(name, f) for name, f in _ELEMENTWISE.items()}
PLAIN |= {
    "I": _identity,
    "log": _log,
    "round": _round,
    "ifelse": _ifelse,
    "as.numeric": _as_numeric,
    "as.integer": _as_integer,
    "as.logical": _as_logical,
    "as.factor": as_factor,
    "as.character": as_factor,
    "is.na": _is_na,
    "c": _c,
    "factor": _factor,
    "ordered": _ordered,
    "relevel": _relevel,
    "numFactor": _num_factor,
    "pmin": _extreme("pmin()", np.minimum),
    "pmax": _extreme("pmax()", np.maximum),
}


#: Functions that make a factor of a column of numbers.
TO_FACTOR = ("factor", "as.factor", "ordered", "as.character")


# --- stateful functions -------------------------------------------------------------------------------------


def _aggregate(name: str, f: Callable[[np.ndarray], float]) -> Callable[..., tuple[Value, State]]:
    def call(state: State, x: Value, na_rm: Value = False) -> tuple[Value, State]:
        if state is None:
            values = np.atleast_1d(as_numeric(x, f"{name}()"))
            values = values[~np.isnan(values)] if na_rm else values
            state = float(f(values)) if values.size else float("nan")
        return state, state

    return call


def _sd(x: np.ndarray) -> float:
    return float(np.std(x, ddof=1)) if len(x) > 1 else float("nan")


def _scale(state: State, x: Value, center: Value = True, scale: Value = True) -> tuple[Value, State]:
    """(x - mean) / sd; without centring R divides by the root mean square."""
    values = as_numeric(x, "scale()")
    if not isinstance(values, np.ndarray) or values.ndim != 1:
        raise DataError("scale() in a formula takes one column")
    if state is None:
        known = values[~np.isnan(values)]
        shift = (float(np.mean(known)) if known.size else np.nan) if center is True else float(center or 0.0)
        factor = float(scale or 1.0)
        if scale is True:
            factor = float(np.sqrt(np.sum((known - shift) ** 2) / max(1, len(known) - 1)))
        state = (shift, factor)
    return (values - state[0]) / state[1], state


def _center(state: State, x: Value) -> tuple[Value, State]:
    return _scale(state, x, True, False)


def orthogonal_polynomials(x: np.ndarray, degree: int) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    r"""Orthonormal polynomials of degree 1..d over the points x.

    .. math:: p_{k+1} = (x - a_{k+1}) p_k - (n_k / n_{k-1}) p_{k-1},
        \quad a_{k+1} = \sum x p_k^2 / n_k, \quad n_k = \sum p_k^2

    Parameters
    ----------
    x : float array, shape (n,)
        Finite, with more than ``degree`` distinct values; not checked here.
    degree : int
        d >= 1.

    Returns
    -------
    values : float array, shape (n, d)
        p_1..p_d divided by their norms.
    state : (a, n)
        The recurrence, for :func:`polynomial_values`.
    """
    alpha, norms = np.empty(degree), np.empty(degree + 1)
    previous, current = np.zeros_like(x), np.ones_like(x)
    norms[0], ratio = len(x), 0.0
    for k in range(degree):
        alpha[k] = np.sum(x * current**2) / norms[k]
        previous, current = current, (x - alpha[k]) * current - ratio * previous
        norms[k + 1] = np.sum(current**2)
        ratio = norms[k + 1] / norms[k]
    return polynomial_values(x, alpha, norms), (alpha, norms)


def polynomial_values(x: np.ndarray, alpha: np.ndarray, norms: np.ndarray) -> np.ndarray:
    """Evaluate the recurrence of :func:`orthogonal_polynomials` at new points."""
    columns = []
    previous, current, ratio = np.zeros_like(x), np.ones_like(x), 0.0
    for k, a in enumerate(alpha):
        previous, current = current, (x - a) * current - ratio * previous
        ratio = norms[k + 1] / norms[k]
        columns.append(current / np.sqrt(norms[k + 1]))
    return np.column_stack(columns)


def polynomial_slopes(x: np.ndarray, alpha: np.ndarray, norms: np.ndarray) -> np.ndarray:
    """Derivatives of :func:`polynomial_values`: p'_{k+1} = p_k + (x - a_{k+1}) p'_k - (n_k / n_{k-1}) p'_{k-1}."""
    columns = []
    before, now = np.zeros_like(x), np.ones_like(x)
    slope_before, slope, ratio = np.zeros_like(x), np.zeros_like(x), 0.0
    for k, a in enumerate(alpha):
        slope_before, slope = slope, now + (x - a) * slope - ratio * slope_before
        before, now = now, (x - a) * now - ratio * before
        ratio = norms[k + 1] / norms[k]
        columns.append(slope / np.sqrt(norms[k + 1]))
    return np.column_stack(columns)


def _whole(value: Value, what: str, low: int) -> int:
    number = as_numeric(value, what)
    if isinstance(number, np.ndarray) or not np.isfinite(number) or number != int(number) or number < low:
        raise FormulaError(f"{what} must be a whole number >= {low}, got {value!r}")
    return int(number)


def _one_column(x: Value, what: str) -> np.ndarray:
    values = as_numeric(x, what)
    if not isinstance(values, np.ndarray) or values.ndim != 1:
        raise DataError(f"{what} takes one numeric column")
    return values


def _numbered_matrix(values: np.ndarray) -> Value:
    if values.shape[1] == 1:
        return values[:, 0]
    return Matrix(values, tuple(str(j + 1) for j in range(values.shape[1])))


# Those below give their derivatives in x instead of their values if ``_slope``; ``effects`` asks for them.


def _poly(state: State, x: Value, degree: Value = 1.0, raw: Value = False, _slope: bool = False) -> tuple[Value, State]:
    values = _one_column(x, "poly()")
    d = _whole(degree, "the degree of poly()", 1)
    known = values[np.isfinite(values)]
    if state is None and d >= (distinct := len(np.unique(known))):
        raise DataError(f"poly() of degree {d} needs more than {d} distinct values, found {distinct}", degree=d)
    if raw:
        powers = np.arange(1, d + 1)
        raised = powers * values[:, None] ** (powers - 1) if _slope else values[:, None] ** powers
        return _numbered_matrix(raised), ()
    if state is None:
        _, state = orthogonal_polynomials(known, d)
    return _numbered_matrix((polynomial_slopes if _slope else polynomial_values)(values, *state)), state


def _knots(values: np.ndarray, n_inner: int, knots: Value, boundary: Value) -> tuple[np.ndarray, np.ndarray]:
    """Inner and boundary knots as R places them: inner ones at equally spaced quantiles."""
    known = values[np.isfinite(values)]
    if known.size < 2:
        raise DataError("a spline needs at least two values; remove it or add data")
    ends = np.array([known.min(), known.max()]) if boundary is None else np.array(_items(boundary), dtype=float)
    if ends.shape != (2,) or not ends[0] < ends[1]:
        raise DataError(f"boundary knots must be two increasing numbers, got {ends.tolist()}")
    if knots is not None:
        inner = np.sort(np.array(_items(knots), dtype=float))
    else:
        inside = known[(known >= ends[0]) & (known <= ends[1])]
        inner = np.quantile(inside, np.linspace(0, 1, n_inner + 2)[1:-1])
    return inner, ends


def _spline_basis(x: np.ndarray, inner: np.ndarray, ends: np.ndarray, degree: int, nu: int = 0) -> np.ndarray:
    """All B-splines (or their nu-th derivatives); outside the boundary the end pieces are continued."""
    from scipy.interpolate import BSpline

    grid = np.concatenate([np.repeat(ends[0], degree + 1), inner, np.repeat(ends[1], degree + 1)])
    return BSpline(grid, np.eye(len(grid) - degree - 1), degree, extrapolate=True)(x, nu=nu)


def _n_inner(df: Value, fixed: int, knots: Value, values: np.ndarray, name: str) -> int:
    if knots is not None or df is None:
        return 0
    n_inner = _whole(df, f"df of {name}()", 1) - fixed
    if n_inner < 0 or n_inner > len(values):
        raise DataError(f"df of {name}() must lie between {fixed} and the number of rows, got {df:g}", df=df)
    return n_inner


def _bs(
    state: State,
    x: Value,
    df: Value = None,
    knots: Value = None,
    degree: Value = 3.0,
    intercept: Value = False,
    boundary_knots: Value = None,
    _slope: bool = False,
) -> tuple[Value, State]:
    values, d = _one_column(x, "bs()"), _whole(degree, "the degree of bs()", 1)
    if state is None:
        n_inner = _n_inner(df, d + bool(intercept), knots, values, "bs")
        state = _knots(values, n_inner, knots, boundary_knots)
    basis = _spline_basis(values, state[0], state[1], d, nu=int(_slope))
    return _numbered_matrix(basis if intercept else basis[:, 1:]), state


def _ns(
    state: State,
    x: Value,
    df: Value = None,
    knots: Value = None,
    intercept: Value = False,
    boundary_knots: Value = None,
    _slope: bool = False,
) -> tuple[Value, State]:
    """Cubic splines that are linear beyond the boundary: B-splines orthogonal to the end curvatures."""
    values, first = _one_column(x, "ns()"), 0 if intercept else 1
    if state is None:
        state = _knots(values, _n_inner(df, 1 + bool(intercept), knots, values, "ns"), knots, boundary_knots)
    inner, ends = state
    inside = np.clip(values, *ends)
    slopes = basis = _spline_basis(inside, inner, ends, 3, nu=1)
    if not _slope:
        basis = _spline_basis(inside, inner, ends, 3) + (values - inside)[:, None] * slopes
    curvature = _spline_basis(ends, inner, ends, 3, nu=2)[:, first:]
    rotation = np.linalg.qr(curvature.T, mode="complete")[0][:, 2:]
    return _numbered_matrix(basis[:, first:] @ rotation), state


STATEFUL: dict[str, Callable[..., tuple[Value, State]]] = {
    "scale": _scale,
    "center": _center,
    "poly": _poly,
    "bs": _bs,
    "ns": _ns,
    "mean": _aggregate("mean", np.mean),
    "median": _aggregate("median", np.median),
    "sd": _aggregate("sd", _sd),
    "min": _aggregate("min", np.min),
    "max": _aggregate("max", np.max),
    "sum": _aggregate("sum", np.sum),
}
