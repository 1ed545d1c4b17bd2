r"""Numbers of effects and marginal means from draws: the same grids and contrasts as for fits by maximum likelihood.

Place in the reading order: after ``predictive``. :mod:`refglmm.effects` makes the rows :math:`\ell'\beta + o` of a
grid, of contrasts and of derivatives, whatever the fit; of a fit with a posterior the numbers come from here. For each
draw

=================  ===================================================================================================
zero               :math:`f(\eta),\ \eta = \ell'\beta + o`; f the expected response, or categories
group -> level     :math:`f(\eta + z'b_{level})`
integrate          :math:`\int f(\eta + s z)\,\phi(z)\,dz,\quad s^2 = z'TT'z`: the population mean of this draw
=================  ===================================================================================================

then linear combinations C of the rows, or the derivative along a variable. The posterior mean of :math:`\ell'\beta`
is :math:`\ell'` times the posterior mean of :math:`\beta`, exactly; that of f is not f of it. The probability of
direction, pd, is the posterior probability that the quantity has its more probable sign.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refglmm.bayes.parameters import LINE, ParameterDraws, Scale, summarised
from refglmm.bayes.predictive import of_predictor, scale_of
from refglmm.effects.derivatives import STENCIL, STEP
from refglmm.effects.scales import SMALLEST_SLOPE
from refglmm.fit.population import check_integrable, integrated

if TYPE_CHECKING:
    from refglmm.effects.grid import Rows

FloatArray = NDArray[np.float64]
LOG: Scale = (np.log, np.exp)


def row_numbers(
    fit: Any,
    rows: Rows,
    *,
    prob: float,
    type: str = "link",
    re: Any = "zero",
    C: FloatArray | None = None,
    along: Rows | None = None,
    ratio: bool = False,
) -> dict[str, FloatArray]:
    """Estimate, se, lower, upper and pd of rows; see :meth:`.after.AfterFit.row_numbers`."""
    of = _quantity(fit, rows, type, re, along)
    scale = LINE if C is not None or along is not None else scale_of(fit.family, type)

    def combined(draws: ParameterDraws) -> FloatArray:
        values = of(draws) if C is None else of(draws) @ C.T
        return np.exp(values) if ratio else values

    numbers = summarised(fit, combined, prob, LOG if ratio else scale)
    values = combined(fit.parameters) - float(ratio)
    above = np.mean(values > 0.0, axis=0)
    return numbers | {"pd": np.maximum(above, np.mean(values < 0.0, axis=0))}


def _quantity(fit: Any, rows: Rows, type: str, re: Any, along: Rows | None) -> Callable[[ParameterDraws], FloatArray]:
    """The quantity of each row as a function of draws, shape (m, r) or (m, r, categories)."""
    if along is None:
        return lambda draws: means(fit, draws, rows, type, re)
    if type == "link":
        return lambda draws: draws.beta @ along.L.T + along.offset
    if re == "zero":
        return lambda draws: _slopes(fit, draws, rows, along)
    return lambda draws: _integrated_slopes(fit, draws, rows, along, type)


def means(fit: Any, draws: ParameterDraws, rows: Rows, type: str, re: Any) -> FloatArray:
    """What ``type`` means of each row, for each draw."""
    eta = draws.beta @ rows.L.T + rows.offset
    if re == "integrate" and type != "link":
        return _integrated(fit, draws, rows, eta, type)
    if isinstance(re, Mapping):
        for term, Z, b in zip(fit.design.terms, rows.Z, draws.effects, strict=True):
            if term.group in re:
                level = list(term.levels.astype(str)).index(re[term.group])
                eta = eta + b[:, level] @ Z.T
    return of_predictor(fit.family, type, eta, draws.phi)


def _spread(draws: ParameterDraws, Z: tuple[FloatArray, ...], m: int) -> FloatArray:
    """Standard deviation of the random part of each row, for each draw, shape (draws, m)."""
    variance = np.zeros((len(draws), m))
    for values, T in zip(Z, draws.factors, strict=True):
        variance += np.sum(np.einsum("rk,mkj->mrj", values, T) ** 2, axis=2)
    return np.sqrt(variance)


def _integrated(fit: Any, draws: ParameterDraws, rows: Rows, eta: FloatArray, type: str) -> FloatArray:
    """Population means, for each draw."""
    check_integrable(fit.family.link)
    spread, out = _spread(draws, rows.Z, eta.shape[1]), []
    for i in range(len(eta)):

        def f(at: FloatArray, phi: FloatArray = draws.phi[i : i + 1]) -> FloatArray:
            values = of_predictor(fit.family, type, at, phi)[0]
            return values.T if values.ndim == 2 else values[None]

        found = integrated(f, eta[i][None], spread[i][:, None, None])[:, 0]
        out.append(found.T if type == "prob" else found[0])
    return np.array(out)


def _slopes(fit: Any, draws: ParameterDraws, rows: Rows, along: Rows) -> FloatArray:
    """Derivative of the expected response in a variable, random effects zero."""
    family, eta = fit.family, draws.beta @ rows.L.T + rows.offset
    slope = np.array([family.at(draws.phi[i]).fitted_slope(eta[i]) for i in range(len(eta))])
    return np.asarray(slope * (draws.beta @ along.L.T + along.offset))


def _integrated_slopes(fit: Any, draws: ParameterDraws, rows: Rows, along: Rows, type: str) -> FloatArray:
    """The same of the population mean, which moves with z too: a difference of order eight, as for fits by ML."""
    steepest = np.abs(draws.beta @ along.L.T + along.offset) + _spread(draws, along.Z, len(along.offset))
    step = STEP / np.maximum(steepest.mean(axis=0), SMALLEST_SLOPE)
    total: Any = 0.0
    for k, c in enumerate(STENCIL, 1):
        after = means(fit, draws, rows.moved(along, k * step), type, "integrate")
        before = means(fit, draws, rows.moved(along, -k * step), type, "integrate")
        total = total + c * (after - before) / step
    return np.asarray(total)
