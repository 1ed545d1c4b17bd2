"""glmer.nb as lme4 does it: an outer one-dimensional search for the size.

Place in the reading order: beside ``lme4_path``; only ``mode="lme4"`` uses it. Exact mode has no such module: there
the size is one more coordinate of psi.

Poisson fit -> size0 by maximum likelihood given the fitted means -> Brent's search on log size within log size0 +- 3,
each value a refit. Source: spec of lme4, section 11.1.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from refglmm.families.kernel import VALUE
from refglmm.families.negative_binomial import NegativeBinomial
from refglmm.families.registry import get_family
from refglmm.likelihood.problem import Problem
from refglmm.likelihood.state import Mode
from refglmm.optimize.control import Control
from refglmm.optimize.lme4_path import fit_glmm_lme4
from refglmm.optimize.records import Optimum

FloatArray = NDArray[np.float64]

HALF_WIDTH = 3.0
TOLERANCE = 5e-5


def _with_family(problem: Problem, family: object) -> Problem:
    base = family.base_measure(problem.y, problem.weights)  # type: ignore[attr-defined]
    return replace(problem, family=family, base=base, phi_names=())


def size_given_means(problem: Problem, mu: FloatArray) -> float:
    """Maximum likelihood of the size for known means."""
    from scipy.optimize import minimize_scalar

    family = problem.family
    eta = family.link.link(mu)
    out = np.empty((6, problem.n))

    def minus_log_density(log_size: float) -> float:
        phi = np.array([np.exp(log_size)])
        return -family.observe(problem.y, eta, problem.weights, problem.base, phi, VALUE, out)

    return float(np.exp(minimize_scalar(minus_log_density, bounds=(-10.0, 15.0), method="bounded").x))


def fit_nb_lme4(
    problem: Problem, n_agq: int, control: Control, start: dict[str, FloatArray]
) -> tuple[Optimum, Mode, float]:
    """Fit with the size searched outside; ``Optimum.phi`` holds it, the Hessian does not know it."""
    from scipy.optimize import minimize_scalar

    link = problem.family.link.name
    poisson = _with_family(problem, get_family("poisson", link))
    _, mode, _ = fit_glmm_lme4(poisson, n_agq, control, start)
    centre = np.log(size_given_means(problem, mode.mu))

    def refit(log_size: float) -> tuple[Optimum, Mode, float]:
        family = NegativeBinomial(link=link, size=float(np.exp(log_size)))
        return fit_glmm_lme4(_with_family(problem, family), n_agq, control, start)

    found = minimize_scalar(
        lambda log_size: refit(log_size)[0].value,
        bounds=(centre - HALF_WIDTH, centre + HALF_WIDTH),
        method="bounded",
        options={"xatol": TOLERANCE},
    )
    optimum, mode, _ = refit(float(found.x))
    return replace(optimum, phi=np.array([np.exp(found.x)])), mode, 1.0
