r"""Wald intervals: estimate and standard error, on the scale where the likelihood is closest to quadratic.

Place in the reading order: after ``parameters``. Coefficients: :math:`\hat\beta \pm z\,se`. Standard deviations,
sigma and shapes on the log scale, correlations on Fisher's z, transformed back, so that no interval leaves the range
of its parameter:

.. math:: \hat\psi \to g(\hat\psi) \pm z\,\sqrt{2\,a'\mathcal H^{-1}a},\qquad a = \nabla g(\psi),

with :math:`\mathcal H` the Hessian of -2 log L. A generalized model has it from its fit. A linear one has profiled
sigma (and beta) out; with :math:`\nu` = n, or n - p for REML, its criterion in (par, log sigma) is

.. math:: \log|H| + [2\log|R|] - \sum\log w + \nu\log(2\pi\sigma^2) + pwrss/\sigma^2,

whose exact gradient is differenced. Parameters on their boundary (and what depends on them) have no interval: no
quadratic describes the likelihood there; the others are given with those held fixed.

Source: Bates et al. (2015), section 3; Pinheiro and Bates (2000), section 2.4.3, for the scales.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm._threads import blas_threads
from refglmm.errors import IntervalWarning, warn
from refglmm.fit.vcov import free_parameters, invert_scaled, whole_covariance
from refglmm.inference.parameters import (
    Parameter,
    by_moments,
    full_vector,
    parameters,
    percent_names,
    select,
    tail_shares,
)
from refglmm.likelihood.profiled import ProfiledLinear
from refglmm.optimize.newton import difference_hessian
from refglmm.optimize.starts import par_scale

if TYPE_CHECKING:
    from refglmm.fitted import FittedModel

FloatArray = NDArray[np.float64]

#: Steps of the Hessian's differences, in units of the natural scale of a parameter.
DIFFERENCE = 1e-4
#: A correlation this close to one is one up to rounding.
AT_BOUND = 1e-9


def wald(fit: FittedModel, parm: Any = None, *, level: float = 0.95) -> pd.DataFrame:
    """Wald intervals: columns "2.5 %" and "97.5 %" (for level 0.95); ``attrs["notes"]`` say what is missing and why."""
    from scipy.stats import norm

    z = float(norm.ppf(tail_shares(level)[1]))
    chosen = select(parameters(fit), parm)
    names, whole = fit.problem.beta_names, whole_covariance(fit).matrix
    estimate, se = dict(zip(names, fit.optimum.beta)), dict(zip(names, np.sqrt(np.diag(whole))))
    covariance, note = (None, "")
    if any(not p.is_fixed for p in chosen):
        covariance, note = variance_covariance(fit)
    rows = [
        (estimate[p.name] - z * se[p.name], estimate[p.name] + z * se[p.name])
        if p.is_fixed
        else _transformed(fit, p, covariance, z)
        for p in chosen
    ]
    frame = pd.DataFrame(
        np.array(rows, dtype=float).reshape(-1, 2), index=[p.name for p in chosen], columns=percent_names(level)
    )
    frame.attrs["notes"] = _say_missing(frame, note)
    return frame


def _say_missing(frame: pd.DataFrame, note: str) -> tuple[str, ...]:
    """Warn of the intervals that do not exist."""
    missing = list(frame.index[frame.isna().any(axis=1)])
    if not missing:
        return (note,) if note else ()
    why = note or "on the boundary of the parameter space"
    text = f"no Wald interval for {', '.join(missing)} ({why}); method='profile' or 'boot' gives one"
    warn(IntervalWarning(text, parameters=tuple(missing)))
    return (text,)


def _transformed(fit: FittedModel, p: Parameter, covariance: FloatArray | None, z: float) -> tuple[float, float]:
    """The interval of a standard deviation, sigma or range (log scale), shape (its own), correlation (z) or loading."""
    if covariance is None:
        return np.nan, np.nan
    value, a = _value_and_slope(fit, p)
    felt = np.flatnonzero(a)  # what it does not depend on may be nan
    with np.errstate(invalid="ignore"):
        half = z * float(np.sqrt(a[felt] @ covariance[np.ix_(felt, felt)] @ a[felt]))
        if p.kind == "loading":
            return (value - half, value + half) if half > 0.0 else (np.nan, np.nan)
        if not half > 0.0 or (p.kind in ("cor", "pacf") and 1.0 - abs(value) < AT_BOUND):
            return np.nan, np.nan
        if p.kind in ("cor", "pacf"):
            middle = np.arctanh(value)
            half = half / (1.0 - value**2)
            ends = np.tanh([middle - half, middle + half])
            return float(max(ends[0], p.lower)), float(min(ends[1], p.upper))
        if p.scale is not None:
            middle, half = p.inner(value), half / float(p.scale.slope(value))
            return float(p.outer(middle - half)), float(p.outer(middle + half))
        half = half / value
        return float(value * np.exp(-half)), float(value * np.exp(half))


def _value_and_slope(fit: FittedModel, p: Parameter) -> tuple[float, FloatArray]:
    """A variance parameter and its gradient in (par, log sigma) (linear) or (par, beta, log phi)."""
    problem, n_par = fit.problem, fit.problem.n_par
    size = n_par + 1 if fit.is_lmm else full_vector(fit).size
    a = np.zeros(size)
    if p.term is None:
        assert p.index is not None
        value = float(p.outer(full_vector(fit)[p.index]))
        slope = 0.5 * value if p.scale is None else p.scale.slope(value)
        a[-1 if fit.is_lmm else p.index] = value if fit.is_lmm else slope
        return value, a
    part, par = problem.par_slices[p.term], np.array(fit.optimum.par)
    structure, scale = problem.structures[p.term], fit.sigma if fit.is_lmm else 1.0
    if p.is_own:
        return _own_value_and_slope(p, par, scale if fit.is_lmm else None, a)
    T, dT = structure.factor(par[part]), structure.d_factor(par[part])
    sd = np.sqrt(np.sum(T * T, axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        d_sd = np.sum(T * dT, axis=2) / sd  # row k: derivatives of all standard deviations in par_k
        if p.kind == "sd":
            i = p.rows[0]
            a[part] = scale * d_sd[:, i]
            if fit.is_lmm:
                a[-1] = scale * sd[i]
            return scale * float(sd[i]), a
        j, i = p.rows
        cor = float(T[i] @ T[j] / (sd[i] * sd[j]))
        d_cov = dT[:, i] @ T[j] + dT[:, j] @ T[i]
        a[part] = d_cov / (sd[i] * sd[j]) - cor * (d_sd[:, i] / sd[i] + d_sd[:, j] / sd[j])
    return cor, a


def _own_value_and_slope(p: Parameter, par: FloatArray, sigma: float | None, a: FloatArray) -> tuple[float, FloatArray]:
    """The same for a term's own parameter: a coordinate, times sigma of a linear model if it is in its units."""
    assert p.index is not None
    value = float(p.outer(par[p.index]))
    if p.kind in ("log", "pacf"):
        a[p.index] = value if p.kind == "log" else 1.0
        return value, a
    if sigma is None:
        a[p.index] = 1.0
        return value, a
    a[p.index], a[-1] = sigma, sigma * value
    return sigma * value, a


def variance_covariance(fit: FittedModel) -> tuple[FloatArray | None, str]:
    """Covariance of (par, log sigma) or (par, beta, log phi), nan for what is on its boundary; and a note.

    None where there is no Hessian, or it is not positive definite.
    """
    if fit.is_lmm:
        hessian: FloatArray | None = linear_hessian(fit)
        boundary = set(fit.optimum.certificate.boundary)
        free = np.array([name not in boundary for name in fit.problem.par_names] + [True])
    else:
        hessian, free = fit.optimum.hessian, free_parameters(fit)
    if hessian is None:
        return None, "the fit has no Hessian (control={'derivatives': True} asks for one)"
    held = [name for name, stays in zip(fit.problem.par_names, free) if not stays]
    note = f"held on their boundary: {', '.join(held)}" if held else ""
    covariance, full = np.full(hessian.shape, np.nan), int(full_vector(fit).size)
    keep = np.flatnonzero(free)
    try:
        covariance[np.ix_(keep, keep)] = 2.0 * invert_scaled(hessian[np.ix_(keep, keep)])
    except np.linalg.LinAlgError:
        return None, "the Hessian is not positive definite"
    if by_moments(fit):
        covariance = np.pad(covariance, (0, 1), constant_values=np.nan)
        note = "; ".join([note] * bool(note) + ["mode='lme4' estimates sigma by moments, outside the likelihood"])
    elif not fit.is_lmm and hessian.shape[0] < full:  # n_agq = 0: (par, log phi) only
        covariance = _with_beta(fit, covariance, full)
    return covariance, note


def _with_beta(fit: FittedModel, covariance: FloatArray, size: int) -> FloatArray:
    """Rows of zeros for the coefficients that an objective has profiled out."""
    n_par, p = fit.problem.n_par, fit.problem.p
    where = np.r_[0:n_par, n_par + p : size]
    full = np.zeros((size, size))
    full[np.ix_(where, where)] = covariance
    return full


def linear_hessian(fit: FittedModel) -> FloatArray:
    """Hessian of the ML or REML criterion of a linear mixed model in (par, log sigma), sigma not profiled out."""
    problem, control = fit.problem, fit.settings["control"]
    par = np.array(fit.optimum.par, dtype=float)
    gradient = unprofiled_gradient(ProfiledLinear(problem, fit.reml, control.engine))
    unit = np.where(problem.par_in_sd_units, problem.natural_unit, problem.par_start)
    scale = np.append(par_scale(problem, par, unit), 1.0)
    free = np.full(par.size + 1, np.inf)
    lower, upper = -free, free.copy()
    correlation = np.isfinite(problem.par_upper)
    lower[:-1][correlation], upper[:-1][correlation] = problem.par_lower[correlation], problem.par_upper[correlation]
    x = np.append(par, np.log(fit.sigma))
    with blas_threads(control.threads):
        return difference_hessian(gradient, x, np.diag(DIFFERENCE * scale), lower, upper)


def unprofiled_gradient(objective: ProfiledLinear) -> Callable[[FloatArray], FloatArray]:
    r"""The gradient in (par, log sigma).

    :math:`2\langle dT, trace - fit/\sigma^2\rangle` (``trace`` and ``fit`` as in :class:`.ProfiledLinear`) and
    :math:`2\nu - 2\,pwrss/\sigma^2`.
    """

    def gradient(x: FloatArray) -> FloatArray:
        par, variance = x[:-1], float(np.exp(2.0 * x[-1]))
        value, of_profiled = objective.value_and_gradient(par)
        if not np.isfinite(value):
            return np.full(x.size, np.nan)
        excess = objective.degrees / objective.pwrss - 1.0 / variance
        change = objective.problem.chain_to_par(par, 2.0 * excess * objective.fit)
        return np.append(of_profiled + change, 2.0 * objective.degrees - 2.0 * objective.pwrss / variance)

    return gradient
