r"""Proper scoring rules: how well the predicted distribution of each count fits the count that came.

Place in the reading order: in ``inference``, after ``dynamic``. With p(k) the predicted probability of count k and y
what was seen,

=============== ============================================
logarithmic     :math:`\log p(y)`
quadratic       :math:`2 p(y) - \sum_k p(k)^2`
spherical       :math:`p(y) / \sqrt{\sum_k p(k)^2}`
=============== ============================================

Larger is better; each is largest in expectation for the true distribution. p is that of the family at the modes of the
random effects, or (``integrate=True``) its average over their distribution given the responses that were handed in:
what a forecaster who does not know the random effects would say.

Source: Gneiting and Raftery (2007), "Strictly proper scoring rules, prediction, and estimation"; Czado, Gneiting and
Held (2009), "Predictive model assessment for count data".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.errors import ArgumentError, NotAvailableError
from refglmm.families.base import drawing_weight
from refglmm.families.kernel import VALUE, L, observation_rows
from refglmm.fit.parameters import fit_parameters
from refglmm.fit.rows import own_rows
from refglmm.formula.frame import new_response
from refglmm.inference.dynamic import (
    Setting,
    Targets,
    grouped_rows,
    likelihood_weights,
    make_setting,
    one_factor,
    points_for,
)

if TYPE_CHECKING:
    from refglmm.families.base import Family
    from refglmm.fitted import FittedModel

FloatArray = NDArray[np.float64]

#: Probability that a sum over counts may leave out, and counts in its first part.
LEFT_OUT, FIRST = 1e-12, 32
#: A sum cut off at ``max_count`` is refused where it misses more.
MISSING = 1e-4


def scoring_rules(
    fit: FittedModel,
    newdata: Any = None,
    future: Any = None,
    *,
    integrate: bool = False,
    max_count: int = 2000,
    n_points: int | None = None,
) -> pd.DataFrame:
    """Logarithmic, quadratic and spherical score of each row.

    Parameters
    ----------
    fit : FittedModel
        Of counts, truth values or numbers of successes.
    newdata : table, optional
        Rows with responses that say where the random effects of their groups lie; by default the rows of the fit.
    future : table, optional
        Rows with responses to be scored; those of ``newdata`` by default.
    integrate : bool
        Average over the random effects given ``newdata``, in place of their modes. One grouping factor is needed, as it
        is for ``newdata``.
    max_count : int
        Largest count of sums over unbounded counts.
    n_points : int, optional
        Quadrature points per dimension of ``integrate``.

    Returns
    -------
    DataFrame
        Columns logarithmic, quadratic, spherical; a row for each one scored. Larger is better.

    Raises
    ------
    NotAvailableError
        A family of continuous responses; several grouping factors where one is needed; counts that reach beyond
        ``max_count``.
    """
    if not (fit.family.is_binomial or fit.family.is_count):
        raise NotAvailableError(
            f"scoring rules are for counts; the {fit.family.name} family has a density, no probabilities"
        )
    if isinstance(max_count, bool) or not isinstance(max_count, int | np.integer) or max_count < 1:
        raise ArgumentError(f"max_count must be a whole number >= 1, not {max_count!r}")
    if newdata is None and future is not None:
        raise ArgumentError("future= needs newdata=: responses that say where its groups lie")
    eta, p, y, weights, index = _predicted(fit, newdata, future, integrate, n_points)
    if not fit.family.is_binomial:
        weights = np.ones(len(y))  # a prior weight repeats a row; it does not change the distribution of one
    scores = _scores(fit, eta, p, y, weights, int(max_count), index)
    return pd.DataFrame(scores, index=index)


def _predicted(
    fit: FittedModel, newdata: Any, future: Any, integrate: bool, n_points: int | None
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, pd.Index]:
    """Linear predictors (nodes, m) or (nodes, K, m), probabilities of the nodes, responses, weights and labels."""
    frame = fit.frame
    if newdata is None and not integrate:
        eta = np.array(fit.conditional.eta if fit.conditional.predictors is None else fit.conditional.predictors)[None]
        return eta, np.ones((1, frame.n)), np.array(frame.y), drawing_weight(frame.weights), frame.index
    one_factor(fit)
    if newdata is None:
        setting, y, weights = _own_setting(fit, n_points), np.array(frame.y), drawing_weight(frame.weights)
    else:
        setting = make_setting(fit, newdata, future, n_points)
        table = newdata if future is None else future
        weights = drawing_weight(likelihood_weights(fit, table, None))
        y = new_response(frame, table, weights)
    known, index = setting.at_estimate(), setting.targets.index
    if integrate:
        return setting.predictors(known), setting.probabilities(known), y, weights, index
    eta = setting.predictor_at(known, known.nodes.mode)
    return eta[None], np.ones((1, len(y))), y, weights, index


def _own_setting(fit: FittedModel, n_points: int | None) -> Setting:
    """The rows of the fit, conditioned on and predicted."""
    rows, frame, term = own_rows(fit.design), fit.frame, fit.design.terms[0]
    codes = np.asarray(term.codes)
    observed = grouped_rows(fit, rows, np.array(frame.y), np.array(frame.weights), codes, term.n_levels)
    groups = observed.layout.codes
    targets = Targets(rows.index, rows.X, rows.offset, observed.problem.layout.z, groups, frame.weights)
    return Setting(fit, observed, targets, term.levels, points_for(fit, observed.q, n_points))


def _scores(
    fit: FittedModel,
    eta: FloatArray,
    p: FloatArray,
    y: FloatArray,
    weights: FloatArray,
    max_count: int,
    index: pd.Index,
) -> dict[str, FloatArray]:
    """The three scores from p(y) and the sum of squares of p."""
    family, phi = fit.family, fit_parameters(fit).phi
    seen = _probability(family, y, eta, p, weights, phi)
    total, squares, done = np.zeros(len(y)), np.zeros(len(y)), np.zeros(len(y), dtype=bool)
    trials = np.round(weights) if family.is_binomial else np.full(len(y), float(max_count))
    count, until = 0, FIRST
    while not done.all():
        here = np.flatnonzero(~done)
        for k in range(count, until):
            inside = here[trials[here] >= k]
            at = np.full(inside.size, float(k)) / (weights[inside] if family.is_binomial else 1.0)
            probability = _probability(family, at, eta[..., inside], p[:, inside], weights[inside], phi)
            total[inside] += probability
            squares[inside] += probability**2
        count, until = until, 2 * until
        done = (total > 1.0 - LEFT_OUT) | (count > trials)
    _refuse_cut_off(family, total, max_count, index)
    with np.errstate(divide="ignore"):
        return {
            "logarithmic": np.log(seen),
            "quadratic": 2.0 * seen - squares,
            "spherical": seen / np.sqrt(squares),
        }


def _refuse_cut_off(family: Family, total: FloatArray, max_count: int, index: pd.Index) -> None:
    """An error naming the first row whose counts reach beyond ``max_count``."""
    lost = 1.0 - total
    if not family.is_binomial and lost.max(initial=0.0) > MISSING:
        row = index[int(np.argmax(lost > MISSING))]
        raise NotAvailableError(
            f"counts up to {max_count} have probability {1.0 - lost[np.argmax(lost > MISSING)]:.6f} only at row "
            f"{row!r}; give a larger max_count",
            row=row,
        )


def _probability(
    family: Family, y: FloatArray, eta: FloatArray, p: FloatArray, weights: FloatArray, phi: FloatArray
) -> FloatArray:
    """Probability of y in each row, averaged over nodes: eta is (nodes, m) or (nodes, K, m), p (nodes, m)."""
    base, total = family.base_measure(y, weights), np.zeros(y.size)
    out = np.empty((observation_rows(family.n_parts).size, y.size))
    for eta_node, p_node in zip(eta, p, strict=True):
        family.observe(y, np.ascontiguousarray(eta_node), weights, base, phi, VALUE, out)
        total += p_node * np.where(np.isnan(out[L]), 0.0, np.exp(out[L]))
    return total
