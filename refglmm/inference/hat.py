r"""Hat values, and the residuals and distances made of them.

Place in the reading order: in ``inference``; the first of the diagnostics, before ``influence``.

At the conditional mode beta and u solve a penalised weighted least-squares problem with working weights W, and

.. math::
    h_i = w_i \{ m_i' H^{-1} m_i + \tilde x_i' (R_X'R_X)^{-1} \tilde x_i \},\qquad
    \tilde x_i = x_i - K'm_i,\quad K = H^{-1}M'WX = P'L^{-T}R_{ZX},

with :math:`m_i` row i of :math:`M = Z\Lambda` and :math:`H = I + M'WM`. Since H is the identity plus a sum of
squares, :math:`0 \le h_i \le 1`, and :math:`\sum_i h_i` is the effective number of parameters of the mean: between p
and p + q. The first term needs H^-1 on its own pattern only (the selected inverse); no matrix of n rows and columns
is formed.

W is the expected information at convergence, which is never negative (in a linear mixed model the prior weights).
lme4 takes the prior weights in GLMMs too, and its hat values there exceed one.

.. math::
    \text{standardised: } \frac{r_i}{\hat\sigma\sqrt{1 - h_i}},\quad
    \text{deletion: } \frac{\operatorname{sign}(r_i)}{\hat\sigma}\sqrt{d_i^2 + \frac{h_i\,p_i^2}{1 - h_i}},\quad
    \text{Cook: } \frac{p_i^2}{\hat\sigma^2 (1-h_i)^2}\,\frac{h_i}{p}

with Pearson residual :math:`p_i` and deviance residual :math:`d_i`. Deletion residuals approximate the change of the
deviance when row i is left out. Sources: Bates et al. (2015), section on the hat matrix of the penalised problem;
Williams (1987), "Generalized linear model diagnostics using the deviance and single case deletions".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.errors import ArgumentError, NotAvailableError, PirlsError
from refglmm.fit.parts import refuse_several
from refglmm.fit.residuals import padded, residual_values
from refglmm.likelihood import layout as rows
from refglmm.likelihood.pirls import Pirls

if TYPE_CHECKING:
    from refglmm.fitted import FittedModel
    from refglmm.likelihood.state import Mode

FloatArray = NDArray[np.float64]
#: A row with 1 - h below this is fitted by parameters of its own: it has no residual to standardise.
NO_FREEDOM = 1e-10


@dataclass(frozen=True)
class WeightedSystem:
    """The penalised least-squares problem at convergence.

    Attributes
    ----------
    mode : Mode
        Its ``factor``, ``rx``, ``rzx``, ``w`` and ``s`` belong to the expected weights.
    X_tilde : float array, shape (n, p)
        Rows of X less what the random effects take over of them.
    hat : float array, shape (n,)
    """

    mode: Mode
    X_tilde: FloatArray
    hat: FloatArray


def weighted_mode(fit: FittedModel) -> Mode:
    """The state of the fit with expected weights in H, RX and RZX (lme4's own factor lags one step behind)."""
    if fit.is_lmm:
        return fit.conditional
    refuse_several(fit, "leverage (and what is made of it)", "fit.influence(group) fits again without each unit")
    phi = fit.kernel_phi if fit.kernel_phi.size else np.ones(fit.family.n_shape)  # lme4 leaves the dispersion out of W
    pirls = Pirls(fit.problem)
    try:
        pirls.place(np.array(fit.optimum.par), fit.beta, phi, np.array(fit.conditional.u), "expected")
    except PirlsError as error:  # lme4's walk may end there
        raise NotAvailableError(
            f"some linear predictors of this fit are outside the domain of the {fit.family.link.name} link, where "
            "there are no working weights; fit with mode='exact'"
        ) from error
    return pirls.mode()


def random_variances(fit: FittedModel, mode: Mode) -> FloatArray:
    """m_i' H^-1 m_i of every row, shape (n,)."""
    lay, T = fit.problem.layout, fit.problem.term_factors(np.array(fit.optimum.par))
    C, S, v = np.zeros(lay.n_block_values), np.zeros(lay.n_block_values), np.empty(fit.problem.n)
    blocks = lay.block_start, lay.block_row, lay.block_col, lay.k
    rows.unscale_blocks(mode.factor.selected_inverse(), *blocks, T, lay.T_start, lay.where, C, S, np.empty(lay.T_size))
    rows.row_variances(lay.z, lay.start, lay.k, S, v)
    return v


def reduced_fixed_rows(fit: FittedModel, mode: Mode) -> FloatArray:
    """x_i - K'm_i, shape (n, p)."""
    problem, lay = fit.problem, fit.problem.layout
    T = problem.term_factors(np.array(fit.optimum.par))
    K = mode.factor.solve_Lt(np.array(mode.rzx))
    out, b, Zb = problem.X.copy(), np.empty(problem.q), np.empty(problem.n)
    for j in range(problem.p):
        rows.lambda_times(T, lay.T_start, lay.k, lay.levels, np.ascontiguousarray(K[:, j]), b)
        rows.rows_times(lay.index, lay.z, b, Zb)
        out[:, j] -= Zb
    return out


def weighted_system(fit: FittedModel) -> WeightedSystem:
    """The system and its hat values."""
    mode = weighted_mode(fit)
    X_tilde = reduced_fixed_rows(fit, mode)
    fixed = np.linalg.solve(mode.rx.T, X_tilde.T) if fit.problem.p else np.zeros((0, fit.problem.n))
    hat = mode.w * (random_variances(fit, mode) + np.sum(fixed * fixed, axis=0))
    return WeightedSystem(mode, X_tilde, np.clip(hat, 0.0, 1.0))  # rounding may leave [0, 1] by 1e-16


def hat_vector(fit: FittedModel) -> FloatArray:
    """Hat values of the rows used, shape (n,)."""

    def compute() -> FloatArray:
        hat = weighted_system(fit).hat
        hat.setflags(write=False)
        return hat

    return fit.derived("hat", compute)


def _freedom(hat: FloatArray) -> FloatArray:
    """1 - h, nan where nothing is left."""
    return np.where(1.0 - hat > NO_FREEDOM, 1.0 - hat, np.nan)


def hat_values(fit: FittedModel) -> pd.Series:
    """Hat values with row labels."""
    return padded(fit, hat_vector(fit), "hat values")


def rstudent(fit: FittedModel) -> pd.Series:
    """Deletion residuals (in a linear mixed model the standardised ones)."""
    hat = hat_vector(fit)
    deviance, pearson = residual_values(fit, "deviance"), residual_values(fit, "pearson")
    squared = deviance**2 + hat * pearson**2 / _freedom(hat)
    return padded(fit, np.sign(deviance) * np.sqrt(squared) / fit.sigma, "rstudent")


def rstandard(fit: FittedModel, type: str = "deviance") -> pd.Series:
    """Deviance or Pearson residuals over their standard deviation."""
    if type not in ("deviance", "pearson"):
        raise ArgumentError(f"unknown residual type {type!r}; standardised are 'deviance' and 'pearson'", type=type)
    values = residual_values(fit, type) / (fit.sigma * np.sqrt(_freedom(hat_vector(fit))))
    return padded(fit, values, f"standardised {type} residuals")


def cooks_distance(fit: FittedModel) -> pd.Series:
    """Cook's distance of every row, approximated without a refit."""
    p = fit.problem.p
    if not p:
        raise NotAvailableError("Cook's distance is about the fixed effects, and this model has none")
    hat, pearson = hat_vector(fit), residual_values(fit, "pearson")
    values = (pearson / (fit.sigma * _freedom(hat))) ** 2 * hat / p
    return padded(fit, values, "Cook's distance")
