r"""Exact objectives at any parameters: every approximation that the model has, with gradient and Hessian.

Place in the reading order: after ``place``. Nothing is computed here that the engines of the library do not compute:
an :class:`Approximation` says which of them to ask. All take x = (par, beta, working phi), par on the scale of Sigma,
and give -2 log L with all constants.

The REML criterion as a function of all parameters (:class:`RestrictedObjective`) is

.. math:: D_R(x) = -2\log L(x) + \log|X'V^{-1}X| - p\log 2\pi ,

the REML criterion of (par, sigma) plus :math:`(\beta-\hat\beta)'X'V^{-1}X(\beta-\hat\beta)`; its minimum is the REML
fit.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refglmm.errors import NotAvailableError, NotPositiveDefiniteError, PirlsError, RefglmmError, RefglmmWarning
from refglmm.inference.criterion import Criterion, WalkObjective, criterion, positive
from refglmm.inference.parameters import full_vector
from refglmm.likelihood.agq import likelihood_objective
from refglmm.likelihood.grouping import group_layout
from refglmm.likelihood.laplace import LaplaceObjective, ProfiledObjective
from refglmm.likelihood.lme4_walk import Lme4Walk
from refglmm.likelihood.penalty import penalized
from refglmm.likelihood.pirls import Pirls
from refglmm.optimize.newton import free_coordinates, minimize_newton, objective_hessian

if TYPE_CHECKING:
    from refglmm.fitted import FittedModel
    from refglmm.model import GLMM

FloatArray = NDArray[np.float64]

#: Orders of quadrature that programs have as defaults or that people choose.
USUAL_ORDERS = (11, 7, 5, 9, 3, 10, 15, 20, 21, 25, 31, 2, 4, 6, 8)
#: Orders of the brute-force integral, which stops when the next changes -2 log L by less than ``STABLE``.
BRUTE_ORDERS = (15, 25, 41, 61, 99)
STABLE = 1e-6
#: Rows times nodes that one evaluation may touch.
LARGEST_GRID = 3e7
#: Step of differences of log|X'V^-1X|, in units of the parameters' scale.
STEP = 1e-4
#: Hessian by differences: steps in units of the scale.
HESSIAN_STEP = 1e-3
#: Share of the scale by which x is moved for the slopes of what people read.
SLOPE = 1e-6


@dataclass(frozen=True)
class Approximation:
    """Which -2 log L: quadrature points (1 Laplace), curvature in the Laplace term, restricted or not."""

    n_agq: int = 1
    curvature: str = "observed"
    restricted: bool = False
    linear: bool = False

    @property
    def label(self) -> str:
        """How a sentence calls it."""
        if self.linear:
            return "REML" if self.restricted else "ML"
        if self.n_agq > 1:
            return f"AGQ with {self.n_agq} points"
        return "Laplace" if self.curvature == "observed" else "Laplace with expected curvature"


class RestrictedObjective:
    """The REML criterion of all parameters of a linear mixed model, see the module."""

    one_sided = False

    def __init__(self, objective: LaplaceObjective, scale: FloatArray) -> None:
        self.objective, self.problem, self.scale = objective, objective.problem, scale
        p = self.problem.p
        self._moving = np.r_[0 : self.problem.n_par, self.problem.n_par + p : scale.size]

    def __getattr__(self, name: str) -> Any:
        """Names, modes and the like are those of the likelihood."""
        return getattr(self.objective, name)

    def value(self, x: FloatArray) -> float:
        """D_R(x)."""
        return self.objective.value(x) + self._log_determinant(x)

    def _log_determinant(self, x: FloatArray) -> float:
        try:
            diagonal = np.abs(np.diag(self.objective.fixed_root(x)))
        except (PirlsError, NotPositiveDefiniteError):
            return np.inf
        return float(2.0 * np.log(diagonal).sum() - self.problem.p * np.log(2.0 * np.pi))

    def value_and_gradient(self, x: FloatArray) -> tuple[float, FloatArray]:
        """D_R and its gradient: exact for the likelihood, central differences for the determinant."""
        gradient = self._slope(x)
        value, own = self.objective.value_and_gradient(x)
        return value + self._log_determinant(x), own + gradient

    def _slope(self, x: FloatArray) -> FloatArray:
        slope = np.zeros(x.size)
        for j in self._moving:
            step = np.zeros(x.size)
            step[j] = STEP * self.scale[j]
            slope[j] = (self._log_determinant(x + step) - self._log_determinant(x - step)) / (2.0 * step[j])
        return slope

    def gradient_nearby(self, x: FloatArray) -> Callable[[FloatArray], FloatArray]:
        """The gradient as a function that may be differenced at x."""
        return lambda z: self.value_and_gradient(z)[1]

    def exact_curvature(self, x: FloatArray, basis: FloatArray) -> FloatArray:
        """Nothing is left out of :meth:`gradient_nearby`."""
        return np.zeros((x.size, x.size))


class Bench:
    """A model, our own fit of it, and -2 log L in every approximation at any x.

    Parameters
    ----------
    model : GLMM in exact mode
    asked : Approximation
        What the reported estimates are held against.
    settings : further arguments of :meth:`.GLMM.fit`
    """

    def __init__(self, model: GLMM, asked: Approximation, settings: dict[str, Any]) -> None:
        self.model, self.asked, self.settings = model, asked, dict(settings)
        self.fit, self.warnings = self.fitted()
        self._objectives: dict[Approximation, Any] = {}
        found = criterion(self._as_ml())
        self.scale = found.scale
        self.criterion: Criterion = replace(found, estimate=full_vector(self.fit))
        if asked.restricted:
            hessian = self.hessian(self.criterion.estimate)
            self.criterion = replace(self.criterion, hessian=positive(hessian, found.scale))

    def fitted(self, **more: Any) -> tuple[FittedModel, tuple[str, ...]]:
        """Our fit and what it warned of."""
        settings = {"n_agq": self.asked.n_agq, "reml": self.asked.restricted, **self.settings, **more}
        if self.asked.curvature == "expected":
            settings["control"] = {**dict(settings.get("control") or {}), "curvature": "expected"}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", RefglmmWarning)
            fit = self.model.fit(**settings)
        return fit, tuple(str(w.message) for w in caught if issubclass(w.category, RefglmmWarning))

    def _as_ml(self) -> FittedModel:
        """The fit as its likelihood sees it (a REML criterion has no likelihood of beta)."""
        return replace(self.fit, reml=False)

    @property
    def estimate(self) -> FloatArray:
        """Our optimum."""
        return self.criterion.estimate

    @property
    def value(self) -> float:
        """-2 log L (with a penalty, if there is one) at our optimum."""
        return float(self.fit.optimum.value + self.fit.optimum.penalty)

    # -- objectives --------------------------------------------------------------------------------------------

    def objective(self, which: Approximation | None = None) -> Any:
        """The objective of an approximation; penalised if the fit is."""
        which = which or self.asked
        if which not in self._objectives:
            pirls = Pirls(self.model.problem, self.criterion_engine)
            objective: Any = likelihood_objective(pirls, which.n_agq, which.curvature)
            if which.restricted:
                objective = RestrictedObjective(objective, self.scale)
            self._objectives[which] = penalized(objective, self.fit.penalty)
        return self._objectives[which]

    @property
    def criterion_engine(self) -> str:
        """Which sparse Cholesky."""
        return str(self.fit.settings["control"].engine)

    def evaluate(self, x: FloatArray, which: Approximation | None = None) -> float:
        """-2 log L at x; nan where it does not exist."""
        with np.errstate(all="ignore"):
            try:
                value = self.objective(which).value(x)
            except (RefglmmError, np.linalg.LinAlgError):
                return np.nan
        return float(value) if np.isfinite(value) else np.nan

    def gradient(self, x: FloatArray, which: Approximation | None = None) -> FloatArray:
        """Its exact gradient."""
        with np.errstate(all="ignore"):
            return self.objective(which).value_and_gradient(x)[1]

    def hessian(self, x: FloatArray, which: Approximation | None = None) -> FloatArray:
        """Its Hessian at x, by differences of the exact gradient."""
        objective = self.objective(which)
        with np.errstate(all="ignore"):
            objective.value(x)
            steps = np.diag(HESSIAN_STEP * self.scale)
            return objective_hessian(objective, x, steps, self.criterion.lower, self.criterion.upper)

    def decrement(self, x: FloatArray, gradient: FloatArray, hessian: FloatArray | None = None) -> float:
        """1/2 g'H^-1 g in deviance units, over coordinates that no bound holds; H raised where it is not positive."""
        H = positive(self.criterion.hessian if hessian is None else hessian, self.scale)
        free = free_coordinates(x, gradient, self.criterion.lower, self.criterion.upper)
        g = gradient[free]
        if not np.all(np.isfinite(g)):
            return np.inf
        return 0.5 * float(g @ np.linalg.solve(H[np.ix_(free, free)], g)) if g.size else 0.0

    def completed(self, x: FloatArray) -> FloatArray:
        """X with what is nan at its best given the rest."""
        missing = np.flatnonzero(~np.isfinite(x))
        if not missing.size:
            return x
        full = np.where(np.isfinite(x), x, self.estimate)
        objective, found = self.objective(), self.criterion

        def function(z: FloatArray) -> tuple[float, FloatArray]:
            full[missing] = z
            value, gradient = objective.value_and_gradient(full.copy())
            return value, gradient[missing]

        with np.errstate(all="ignore"):
            minimum, _ = minimize_newton(
                function,
                self.estimate[missing],
                found.lower[missing],
                found.upper[missing],
                hessian=found.hessian[np.ix_(missing, missing)],
                tolerance=1e-10,
                max_evaluations=500,
                largest_step=3.0 * self.scale[missing],
            )
        full[missing] = minimum.x
        return full

    # -- other approximations ----------------------------------------------------------------------------------

    @cached_property
    def dimension(self) -> int:
        """Random effects of a group where all terms have one grouping factor; else 0."""
        try:
            return int(group_layout(self.model.problem, "quadrature").q)
        except NotAvailableError:
            return 0

    def can_integrate(self, order: int) -> bool:
        """Whether quadrature of this order is there and not too large."""
        if self.model.is_lmm or not self.dimension:
            return False
        return self.model.problem.n * float(order) ** self.dimension <= LARGEST_GRID

    def others(self, order: int | None) -> list[Approximation]:
        """Every other approximation of this model, the one that was reported first.

        Who reports a number of quadrature points has used as many; other numbers of points give almost the same
        optimum, and a search that stopped early may pass it by.
        """
        if self.model.is_lmm:
            return [replace(self.asked, restricted=not self.asked.restricted)]
        found = []
        if order is not None and order > 1 and self.can_integrate(order):
            found.append(Approximation(order))
        found.append(Approximation())
        if not self.model.family.is_canonical and self.model.problem.n_parts == 1:
            found.append(Approximation(curvature="expected"))
        if order is None or order <= 1:
            found += [Approximation(k) for k in USUAL_ORDERS if self.can_integrate(k)]
        return [a for a in dict.fromkeys(found) if a != self.asked]

    def integral(self, x: FloatArray) -> tuple[float, int] | None:
        """-2 log L by quadrature with points until nothing changes, and how many; None where there is none."""
        if self.model.is_lmm:
            return None
        last: tuple[float, int] | None = None
        for order in BRUTE_ORDERS:
            if not self.can_integrate(order):
                break
            value = self.evaluate(x, Approximation(order))
            settled = last is not None and abs(value - last[0]) < STABLE
            last = value, order
            if settled:
                break
        return last

    @cached_property
    def joint_fit(self) -> FittedModel | None:
        """Our fit with n_agq = 0; None where there is none."""
        if self.model.is_lmm or self.model.problem.group_weights is not None or self.fit.penalty is not None:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RefglmmWarning)
            try:
                return self.model.fit(n_agq=0)
            except RefglmmError:
                return None

    def joint_value(self, x: FloatArray) -> float:
        """The n_agq = 0 criterion at the covariance and shape parameters of x (beta is solved for)."""
        problem, n_par, p = self.model.problem, self.model.problem.n_par, self.model.problem.p
        objective = ProfiledObjective(Pirls(problem, self.criterion_engine), x[n_par : n_par + p].copy())
        value = objective.value(np.concatenate([x[:n_par], x[n_par + p :]]))
        return float(value) if np.isfinite(value) else np.nan

    @cached_property
    def walk(self) -> Callable[[int], WalkObjective] | None:
        """lme4's own objective, whose inner iteration stops early; None for what lme4 cannot fit."""
        problem = self.model.problem
        scale_only = not problem.n_phi or (self.model.family.has_scale and problem.n_phi == 1)
        if self.model.is_lmm or problem.n_parts > 1 or not scale_only or self.model.family.is_ordinal:
            return None
        if problem.group_weights is not None or self.joint_fit is None:
            return None
        start = np.array(self.joint_fit.optimum.par)
        return lambda n_agq: WalkObjective(problem, n_agq, self.criterion_engine, start)

    def walk_value(self, x: FloatArray, n_agq: int) -> float:
        """lme4's -2 log L at x (n_agq > 1: relative to the saturated model; 0: beta solved for); nan without one."""
        if self.walk is None:
            return np.nan
        try:
            with np.errstate(all="ignore"):
                value = self.walk(n_agq).value(x) if n_agq else self._first_stage_value(x)
        except (RefglmmError, NotImplementedError, np.linalg.LinAlgError):
            return np.nan
        return float(value) if np.isfinite(value) else np.nan

    def _first_stage_value(self, x: FloatArray) -> float:
        """lme4's n_agq = 0 criterion: each evaluation starts where that at the default start ended."""
        walk = Lme4Walk(self.model.problem, self.criterion_engine)
        walk.stage_one(self.model.problem.par_start)
        walk.fix_start()
        return walk.stage_one(x[: self.model.problem.n_par])


def first_asked(
    model: GLMM, n_agq: Any, reml: Any, reported_agq: int | None, reported_reml: bool | None
) -> Approximation:
    """What to hold the estimates against: what the caller says, else what was reported; never n_agq = 0."""
    if model.is_lmm:
        restricted = reported_reml if reml is None else reml
        return Approximation(linear=True, restricted=bool(restricted))
    order = n_agq if n_agq is not None else reported_agq
    return Approximation(max(int(order), 1) if order is not None else 1)
