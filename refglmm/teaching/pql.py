r"""Penalised quasi-likelihood: a GLMM as a sequence of weighted linear mixed models.

Place in the reading order: in ``teaching``, after ``result``.

At the present linear predictor :math:`\eta = o + X\beta + Zb`, with the score s and the expected information w of each
observation, the *working response* and its model are

.. math:: z = \eta + s/w,\qquad z - o = X\beta + Zb + e,\quad b \sim N(0, D),\; e \sim N(0, \phi W^{-1})

(for a canonical link :math:`z = \eta + (y - \mu)\,g'(\mu)`). Fit this linear mixed model, compute eta from its beta and
b, and begin again, until eta stands still. phi is 1 (``dispersion="known"``: binomial and Poisson) or estimated as the
residual variance of the linear mixed model (``"estimated"``: nlme's and MASS's way).

**What it misses.** For given D the pair (beta, b) it stops at maximises the penalised log density, as n_agq = 0 does.
But D is then chosen by the likelihood of z *as if z were Gaussian data with known weights*; no likelihood of y is
maximised. Where an observation says little (binary data, few a group, large variance) the working responses are far
from normal, and standard deviations, and with them fixed effects, come out too small.

With phi known, the criterion of the linear mixed model is :math:`\log|H| + pwrss` (see ``likelihood.profiled``), plus
:math:`\log|R_X|^2` for REML.

Source: Breslow and Clayton (1993), section 2; Schall (1991).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm._threads import blas_threads
from refglmm.errors import ArgumentError, NotAvailableError
from refglmm.families.gaussian import Gaussian
from refglmm.families.kernel import ALL, S, W
from refglmm.likelihood.problem import Problem
from refglmm.likelihood.profiled import ProfiledLinear
from refglmm.model import GLMM
from refglmm.optimize.control import Control, make_control
from refglmm.optimize.stage import Stage
from refglmm.optimize.starts import par_scale, scaled_start, start_fixed
from refglmm.teaching.result import TeachingFit, random_parameters

FloatArray = NDArray[np.float64]

#: Iterations end when eta changes by less than this, relative to its size.
STILL = 1e-10


class KnownScaleLinear(ProfiledLinear):
    """The profiled criterion of a linear mixed model whose residual variance is known to be 1 over the weight."""

    @property
    def degrees(self) -> float:  # type: ignore[override]
        """What pwrss is divided by to give the residual variance: pwrss itself."""
        return self.pwrss

    def criterion(self, reml: bool) -> float:
        """-2 log L (ML) or the REML criterion at the last evaluation."""
        nu = self.n - self.problem.p if reml else self.n
        value = self.logdet_L2 - self.sum_log_w + nu * np.log(2.0 * np.pi) + self.pwrss
        return value + self.logdet_RX2 if reml else value


def pql(
    formula: str,
    data: Any,
    family: Any,
    *,
    reml: bool = False,
    dispersion: str = "known",
    max_iterations: int = 200,
    control: Control | Mapping[str, Any] | None = None,
    **model_arguments: Any,
) -> TeachingFit:
    """Fit a GLMM by penalised quasi-likelihood.

    Parameters
    ----------
    formula, data, family, **model_arguments
        See :class:`refglmm.GLMM`. Any random-effects structure; families without shape parameters other than a scale.
    reml : bool
        Choose D by the REML criterion of each linear mixed model (Breslow and Clayton), else by its likelihood.
    dispersion : {"known", "estimated"}
        phi = 1, or the residual variance of the linear mixed model. A family with a scale needs the latter.
    max_iterations : int
        Linear mixed models fitted at most.

    Returns
    -------
    TeachingFit
        ``trace``: iteration, change of eta, all parameters. The standard errors are those of the last linear mixed
        model.

    Raises
    ------
    NotAvailableError
        A family with shape parameters: PQL has no estimate of them.
    """
    if dispersion not in ("known", "estimated"):
        raise ArgumentError(f"dispersion must be 'known' or 'estimated', not {dispersion!r}")
    if not isinstance(max_iterations, int) or max_iterations < 1:
        raise ArgumentError(f"max_iterations must be a positive whole number, not {max_iterations!r}")
    model, settings = GLMM(formula, data, family, **model_arguments), make_control(control, None, "exact")
    _check(model, dispersion)
    rows: list[dict[str, float]] = []
    with blas_threads(settings.threads):
        eta, par = start_fixed(model.problem)[1], None
        for iteration in range(1, max_iterations + 1):
            objective, par = _linear_fit(model.problem, eta, par, reml, dispersion == "known", settings)
            state = objective.mode(par)
            change = float(np.linalg.norm(state.eta - eta) / np.linalg.norm(state.eta))
            eta = state.eta
            sigma = 1.0 if dispersion == "known" else objective.sigma
            rows.append({"iteration": iteration, "change": change, **_parameters(model, objective, par, sigma)})
            if change < STILL:
                break
    inverse = np.linalg.inv(state.rx)
    names = [name for name in rows[-1] if name not in ("iteration", "change")]
    estimates = pd.DataFrame({"estimate": [rows[-1][name] for name in names]}, index=names)
    estimates["std_error"] = pd.Series(sigma * np.linalg.norm(inverse, axis=1), index=list(model.problem.beta_names))
    phi = "1" if dispersion == "known" else "estimated"
    return TeachingFit(
        method=f"Penalised quasi-likelihood ({'REML' if reml else 'ML'}, dispersion {phi})",
        formula=model.frame.formula.expanded,
        family=model.family.display,
        settled=change < STILL,
        notes=("PQL maximises no likelihood of the data: its estimates do not compare by logLik, AIC or anova",),
        _estimates=estimates,
        _trace=pd.DataFrame(rows),
    )


def _check(model: GLMM, dispersion: str) -> None:
    """Refuse what PQL says nothing about."""
    if model.is_lmm:
        raise NotAvailableError("a linear mixed model needs no working response; call lmer()")
    if model.problem.n_phi > int(model.family.has_scale) or model.family.fixed_shape.size:
        raise NotAvailableError(
            f"PQL has no estimate of the shape parameters of the {model.family.name} family; use glmer()"
        )
    if model.family.has_scale and dispersion == "known":
        raise ArgumentError(f"the {model.family.name} family has a scale to be estimated; give dispersion='estimated'")


def _linear_fit(
    problem: Problem, eta: FloatArray, par: FloatArray | None, reml: bool, known: bool, control: Control
) -> tuple[ProfiledLinear, FloatArray]:
    """The linear mixed model of the working response at eta, and its covariance parameters."""
    working = working_problem(problem, eta)
    objective = (KnownScaleLinear if known else ProfiledLinear)(working, reml, control.engine)
    default = scaled_start(problem, 1.0)
    start = default if par is None else par
    stage = Stage("PQL", objective, working, start, par_scale(problem, start, default), control)
    par = stage.run("newton")
    objective.value(par)
    return objective, par


def working_problem(problem: Problem, eta: FloatArray) -> Problem:
    """The linear mixed model of z = eta + s/w with weights w; rows that say nothing (w = 0) have z = eta."""
    out, phi = np.empty((6, problem.n)), np.ones(problem.n_phi)
    problem.family.observe(problem.y, eta, problem.weights, problem.base, phi, ALL, out)
    z = eta + np.divide(out[S], out[W], out=np.zeros(problem.n), where=out[W] > 0)
    linear = replace(problem, family=Gaussian(), phi_names=("phi",))
    return linear.with_response(z, out[W].copy())


def _parameters(model: GLMM, objective: ProfiledLinear, par: FloatArray, sigma: float) -> dict[str, float]:
    """Everything that is estimated, by name."""
    found = dict(zip(model.problem.beta_names, objective.beta, strict=True))
    found |= random_parameters(model, par, sigma)
    return found if isinstance(objective, KnownScaleLinear) else {**found, "sigma": sigma}
