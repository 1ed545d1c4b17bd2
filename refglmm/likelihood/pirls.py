r"""Penalised iteratively reweighted least squares: the conditional mode of the random effects.

Place in the reading order: after ``problem``, before ``laplace``.

For given (theta, beta, phi) maximise over u

.. math:: g(u) = \sum_i l_i(\eta_i) - \tfrac12 |u|^2, \qquad \eta = o + X\beta + M u,\quad M = Z\Lambda

by Newton steps :math:`H\delta = M's - u`, :math:`H = M'WM + I`, halved until g rises enough. W is the observed
information where H is positive definite, else the expected one (Fisher scoring). What comes out is *one
consistent state*: u, eta, s, W and the factor of H all belong to the same u, and the Newton decrement
:math:`\delta'(M's-u)` at that u is below ``tolerance``. (lme4 stops on a relative change of the penalised
deviance of 1e-7 and keeps the factor of the iterate before; see ``lme4_walk``.)

:meth:`Pirls.find_joint_mode` does the same for (u, beta) together, which is the "nAGQ = 0" problem.

Source: Bates et al. (2015), section 3; the lme4 glmer paper, section "PIRLS".
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refglmm._jit import kernel
from refglmm.errors import NotPositiveDefiniteError, PirlsError
from refglmm.families.kernel import ALL, SLOPES, VALUE, observation_rows
from refglmm.likelihood import layout as rows
from refglmm.likelihood.problem import Problem
from refglmm.likelihood.state import Mode

FloatArray = NDArray[np.float64]

#: Newton decrement (squared length of the step in the metric of H) below which u counts as the mode:
#: the error of log|H| is of the order of its root, 1e-12.
DECREMENT = 1e-24
#: Below this decrement a step that brings nothing is rounding, not failure.
ROUNDING = 1e-9
#: Below this decrement a full Newton step on g cannot overshoot (g is smooth at a scale of one), so its value is
#: not looked at; should the next decrement not be smaller, the step is halved after all.
CERTAIN = 1e-4
#: Links on whose scale one unit is a natural spread whatever the units of the response.
SCALE_FREE = ("logit", "probit", "cloglog", "cauchit", "log")
#: Smallest eigenvalue of a singular Schur complement, relative to X'WX.
DAMPING = 1e-10
#: Largest change of eta in one joint step of (u, beta): exp(50) is as good as infinity.
LARGEST_MOVE = 50.0
MAX_ITERATIONS = 200
MAX_HALVINGS = 30
#: Share of the predicted increase that a step must bring (Armijo).
ARMIJO = 1e-4


@kernel
def solve_normal(R, b):
    """Solve R'R x = b for an upper triangular R of the order of the fixed effects."""
    p = b.size
    x = b.copy()
    for i in range(p):
        for j in range(i):
            x[i] -= R[j, i] * x[j]
        x[i] /= R[i, i]
    for i in range(p - 1, -1, -1):
        for j in range(i + 1, p):
            x[i] -= R[i, j] * x[j]
        x[i] /= R[i, i]
    return x


@kernel
def fixed_factor(XtWX, rzx, rx):
    """Upper triangle RX with RX'RX = X'WX - RZX'RZX (``rzx``: the columns of RZX as rows); whether there is one."""
    p, q = rzx.shape
    for i in range(p):
        for j in range(i, p):
            total = XtWX[i, j]
            for r in range(q):
                total -= rzx[i, r] * rzx[j, r]
            for r in range(i):
                total -= rx[r, i] * rx[r, j]
            if i < j:
                rx[i, j] = total / rx[i, i]
            elif 0.0 < total < np.inf:
                rx[i, i] = np.sqrt(total)
            else:
                return False
    return True


@kernel
def solve_fixed(rx, rzx, c_u, g_beta):
    """d_beta with RX'RX d_beta = g_beta - RZX'c_u, and c_u - RZX d_beta."""
    p, q = rzx.shape
    right = g_beta.copy()
    for i in range(p):
        for r in range(q):
            right[i] -= rzx[i, r] * c_u[r]
    d_beta = solve_normal(rx, right)
    rest = c_u.copy()
    for i in range(p):
        for r in range(q):
            rest[r] -= rzx[i, r] * d_beta[i]
    return d_beta, rest


@dataclass
class StepRecord:
    """One PIRLS iteration, for the reader of ``fit.trace``."""

    iteration: int
    objective: float
    decrement: float
    halvings: int
    curvature: str


class Step(NamedTuple):
    """A Newton step in u, and in beta where beta is solved for too, with its decrement."""

    u: FloatArray
    beta: FloatArray | None
    decrement: float

    def onward(self, u: FloatArray, beta: FloatArray | None, length: float) -> tuple[FloatArray, FloatArray | None]:
        """The point that a share of the step leads to."""
        new_beta = None if beta is None or self.beta is None else beta + length * self.beta
        return u + length * self.u, new_beta


class Pirls:
    """A problem together with the buffers and the factor that its PIRLS iterations reuse.

    After :meth:`find_mode` or :meth:`find_joint_mode` the attributes ``u, b, eta, out, factor, value`` (g at the
    mode), ``iterations``, ``halvings`` and ``residual`` describe the state at the mode.
    """

    def __init__(self, problem: Problem, engine: str = "auto") -> None:
        self.problem, self.engine = problem, engine
        layout = problem.layout
        n, q, p = problem.n, problem.q, problem.p
        self.factor: Any = layout.make_factor(engine)
        self.u, self.b, self.zts, self.gradient = np.zeros(q), np.zeros(q), np.zeros(q), np.zeros(q)
        self.eta, self.fixed = np.zeros(problem.eta_shape), np.zeros(problem.eta_shape)
        self.rows = observation_rows(problem.n_parts)
        self.out = np.zeros((self.rows.size, n))
        self.scale_free = np.array([link.name in SCALE_FREE for link in problem.family.links])
        self.C = np.zeros(layout.n_block_values)
        self.H = self.factor.values
        self.ZtWX, self.LtZtWX, self.XtWX = np.zeros((q, p)), np.zeros((p, q)), np.zeros((p, p))
        self.rzx, self.rx = np.zeros((p, q)), np.zeros((p, p))
        self.WX = np.zeros((n, p))
        self._fixed = ""
        self.beta = np.zeros(p)
        self.phi = np.empty(0)
        self.T = np.empty(0)
        self._value: float | None = None
        self.curvature = "observed"
        self.iterations = self.halvings = 0
        self.tolerance = DECREMENT
        self.searches = 0
        self.records: list[StepRecord] | None = None

    # -- the formulas, one method each -----------------------------------------------------------------------

    def set_parameters(self, par: FloatArray, phi: FloatArray) -> None:
        """Fix Lambda(theta) and the shape parameters; whatever was known of another state is void."""
        self.searches += 1
        self.T = self.problem.term_factors(par)
        self.phi = phi

    def lambda_times(self, u: FloatArray, out: FloatArray) -> FloatArray:
        """Lambda u."""
        lay = self.problem.layout
        rows.lambda_times(self.T, lay.T_start, lay.k, lay.levels, u, out)
        return out

    def lambda_transpose_times(self, g: FloatArray, out: FloatArray) -> FloatArray:
        """Lambda' g."""
        lay = self.problem.layout
        rows.lambda_transpose_times(self.T, lay.T_start, lay.k, lay.levels, g, out)
        return out

    def evaluate(self, u: FloatArray, order: int = ALL) -> float:
        """g(u); leaves b, eta and the kernel's rows in the buffers.

        ``order`` as in :mod:`refglmm.families.kernel`; SLOPES skips l, which most steps near the mode do not need, and
        the value returned is then meaningless.
        """
        problem = self.problem
        problem.layout.predict(self.T, u, self.fixed, self.b, self.eta)
        total = problem.family.observe(problem.y, self.eta, problem.weights, problem.base, self.phi, order, self.out)
        if order == SLOPES:
            return np.nan
        value = total - 0.5 * float(u @ u)
        return value if isfinite(value) else -np.inf

    @property
    def value(self) -> float:
        """g at the mode; the log densities are summed when somebody asks."""
        if self._value is None:
            self._value = self.observe_log_density() - 0.5 * float(self.u @ self.u)
        return self._value

    def observe_log_density(self) -> float:
        """Fill the row of log densities at the mode; returns their sum."""
        problem = self.problem
        return problem.family.observe(problem.y, self.eta, problem.weights, problem.base, self.phi, VALUE, self.out)

    @property
    def residual(self) -> float:
        """Largest absolute element of M's - u at the mode."""
        return float(np.max(np.abs(self.gradient), initial=0.0))

    def assemble(self, weights: FloatArray) -> None:
        """H = Lambda'Z'WZ Lambda + I into the factor's buffer (its blocks Z'WZ into ``C``)."""
        lay = self.problem.layout
        lay.normal_matrix(weights, self.T, self.C, self.H)

    def linearize(self, u: FloatArray) -> bool:
        """M's - u, and H factored with the observed information (the expected one where that is not positive definite).

        False where u is outside the domain of the link.
        """
        total = self.problem.layout.normal_equations(
            self.out[self.rows.s], self.out[self.rows.h], u, self.T, self.zts, self.gradient, self.C, self.H
        )
        if not isfinite(total):
            return False
        self.curvature, self._fixed = "observed", ""
        try:
            self.factor.factorize()
        except NotPositiveDefiniteError:
            self.curvature = "expected"
            self.assemble(self.out[self.rows.w])
            self.factor.factorize()
        return True

    def cross_fixed(self, weights: FloatArray) -> None:
        """Lambda'Z'WX (as rows) and X'WX into the buffers."""
        self.problem.layout.fixed_cross(self.problem.X, weights, self.T, self.WX, self.ZtWX, self.LtZtWX, self.XtWX)

    def factor_fixed(self) -> None:
        r"""RZX = L^-1 P Lambda'Z'WX (its columns as rows), and RX with RX'RX = X'WX - RZX'RZX.

        W is the curvature that stands in H; nothing is done where they are known for it already.
        """
        if self._fixed == self.curvature:
            return
        self.cross_fixed(self.out[self.rows.h if self.curvature == "observed" else self.rows.w])
        self.rzx = self.factor.solve_L_rows(self.LtZtWX)
        if not fixed_factor(self.XtWX, self.rzx, self.rx):
            self.rx = self._damped_root(self.XtWX - self.rzx @ self.rzx.T)
        self._fixed = self.curvature

    def _damped_root(self, schur: FloatArray) -> FloatArray:
        """RX where the columns are collinear once weighted (a coefficient runs away): a metric for the next step.

        The objective does not contain RX, so damping changes the path, not the answer.
        """
        size = np.sqrt(np.maximum(np.diag(self.XtWX), 0.0))
        size[size == 0] = 1.0
        if not np.all(np.isfinite(schur)):
            raise NotPositiveDefiniteError("X'WX is not finite: the linear predictor is outside the link's domain")
        values, vectors = np.linalg.eigh(schur / np.outer(size, size))
        root = np.sqrt(np.maximum(values, DAMPING))[:, None] * vectors.T * size
        triangular = np.linalg.qr(root, mode="r")
        return np.ascontiguousarray(np.where(np.diag(triangular) < 0, -1.0, 1.0)[:, None] * triangular)

    def solve_joint(self, g_u: FloatArray, g_beta: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Solve the joint system of (u, beta) with the current factors."""
        c_u = self.factor.solve_L_rows(g_u[None])[0]
        d_beta, rest = solve_fixed(self.rx, self.rzx, c_u, g_beta)
        return self.factor.solve_Lt_rows(rest[None])[0], d_beta

    # -- the two iterations ----------------------------------------------------------------------------------

    def find_mode(self, par: FloatArray, beta: FloatArray, phi: FloatArray, start: FloatArray | None = None) -> None:
        """Mode of u for given (theta, beta, phi), started at ``start`` and, should that fail, at zero."""
        problem = self.problem
        self.set_parameters(par, phi)
        self.beta = beta
        problem.fixed_predictor(beta, self.fixed)
        zero = np.zeros(problem.q)
        try:
            self._iterate(zero if start is None else start, None)
        except PirlsError:
            if start is None:
                raise
            self._iterate(zero, None)

    def place(self, par: FloatArray, beta: FloatArray, phi: FloatArray, u: FloatArray, curvature: str) -> None:
        """State at any u, as :meth:`find_mode` leaves it at the mode, with H of the wanted curvature.

        Raises
        ------
        PirlsError
            If u is outside the domain of the link.
        """
        self.set_parameters(par, phi)
        self.beta = beta
        self.problem.fixed_predictor(beta, self.fixed)
        self.evaluate(u, SLOPES)
        if not self.linearize(u):
            raise PirlsError("the linear predictor leaves the domain of the link")
        self.u, self._value = u, None
        self.use_curvature(curvature)

    def find_joint_mode(self, par: FloatArray, phi: FloatArray, start_u: FloatArray, start_beta: FloatArray) -> None:
        """Mode of (u, beta) together for given (theta, phi)."""
        self.set_parameters(par, phi)
        self._iterate(start_u, start_beta)

    def _iterate(self, u: FloatArray, beta: FloatArray | None) -> None:
        """Newton with step-halving on g, over u alone or (``beta`` given) over (u, beta)."""
        joint = beta is not None
        value: float | None = None
        unchecked: tuple[FloatArray, FloatArray | None, Step] | None = None  # a step taken without looking at g
        self._evaluate_at(u, beta, SLOPES)
        previous = np.inf
        self.halvings = 0
        for iteration in range(1, MAX_ITERATIONS + 1):
            step = self._newton_step(u, joint)
            certain = step is not None and step.decrement < min(CERTAIN, previous)
            if step is None:
                if unchecked is None:
                    raise PirlsError(
                        "the linear predictor leaves the domain of the link at the start of PIRLS; give start values "
                        "(`start=`) or use another link",
                        value=-np.inf,
                    )
                u, beta, step = unchecked
                value = None
            decrement = step.decrement
            if decrement <= self.tolerance or (decrement < ROUNDING and decrement >= 0.25 * previous):
                if self.curvature == "expected":
                    raise PirlsError(
                        "PIRLS ended at a stationary point that is not a maximum (the observed information is not "
                        "positive definite there); give start values (`start=`) or use another link",
                        decrement=decrement,
                    )
                self._finish(u, value, iteration, decrement)
                return
            unchecked, halvings = None, 0
            if certain:
                unchecked, value = (u, beta, step), None
                u, beta = step.onward(u, beta, 1.0)
                self._evaluate_at(u, beta, SLOPES)
            else:
                if value is None:
                    value = self._evaluate_at(u, beta, VALUE)
                u, beta, value, halvings = self._halve(u, beta, step, value)
            previous = decrement
            self.halvings += halvings
            if self.records is not None:
                objective = self.evaluate(u, VALUE) if value is None else value
                self.records.append(StepRecord(iteration, objective, decrement, halvings, self.curvature))
        raise PirlsError(
            f"PIRLS did not converge in {MAX_ITERATIONS} iterations (Newton decrement {previous:.3g}); rescale the "
            "predictors or try another link",
            iterations=MAX_ITERATIONS,
            decrement=previous,
        )

    def _evaluate_at(self, u: FloatArray, beta: FloatArray | None, order: int) -> float:
        if beta is not None:
            self.beta = beta
            self.problem.fixed_predictor(beta, self.fixed)
        return self.evaluate(u, order)

    def newton_step(self) -> tuple[FloatArray, float]:
        """Newton step in u from where H was factored last, and its decrement."""
        step = self.factor.solve_rows(self.gradient[None])[0]
        return step, float(step @ self.gradient)

    def _newton_step(self, u: FloatArray, joint: bool) -> Step | None:
        """Newton step; leaves the factor of H at u. None where u is outside the link's domain."""
        if not self.linearize(u):
            return None
        if not joint:
            step, decrement = self.newton_step()
            return Step(step, None, decrement)
        self.factor_fixed()
        g_beta = self.problem.transpose_times(self.out[self.rows.s])
        step_u, step_beta = self.solve_joint(self.gradient, g_beta)
        return Step(step_u, step_beta, float(step_u @ self.gradient + step_beta @ g_beta))

    def _halve(
        self, u: FloatArray, beta: FloatArray | None, step: Step, value: float
    ) -> tuple[FloatArray, FloatArray | None, float, int]:
        """Halve the step until g rises by a share of what Newton's model promises."""
        length = 1.0 if step.beta is None else self._cut(step.u, step.beta)
        slack = 1e-14 * (abs(value) + self.problem.n)  # rounding of a sum of n terms
        for halvings in range(MAX_HALVINGS):
            new_u, new_beta = step.onward(u, beta, length)
            new_value = self._evaluate_at(new_u, new_beta, ALL)
            if new_value >= value + ARMIJO * length * step.decrement - slack:
                return new_u, new_beta, new_value, halvings
            length *= 0.5
        raise PirlsError(
            f"step-halving failed to raise the penalised log density {value:.6g} (Newton decrement "
            f"{step.decrement:.3g}); rescale the predictors or try another link",
            value=value,
            decrement=step.decrement,
        )

    def _cut(self, step_u: FloatArray, step_beta: FloatArray) -> float:
        """Share of a joint step that moves no eta by more than ``LARGEST_MOVE`` (on links without units)."""
        if not self.scale_free.any():
            return 1.0
        move = self.problem.times(step_beta).reshape(self.eta.shape)
        self.problem.layout.linear_predictor(move, self.lambda_times(step_u, self.b), self.eta)
        moves = np.abs(np.atleast_2d(self.eta)[self.scale_free])
        return min(1.0, LARGEST_MOVE / max(float(np.max(moves, initial=0.0)), LARGEST_MOVE))

    def _finish(self, u: FloatArray, value: float | None, iteration: int, decrement: float) -> None:
        self.u, self._value, self.iterations, self.decrement = u, value, iteration, decrement

    # -- what the mode is good for ---------------------------------------------------------------------------

    def use_curvature(self, curvature: str) -> tuple[FloatArray, FloatArray]:
        """Refactor H at the mode with the wanted curvature if need be; return (W, dW/deta) of that curvature."""
        at = self.rows
        weight, slope = (at.w, at.dw) if curvature == "expected" else (at.h, at.dh)
        if self.curvature != curvature and not self.problem.family.is_canonical:
            self.assemble(self.out[weight])
            self.factor.factorize()
            self.curvature = curvature
        return self.out[weight], self.out[slope]

    def mode(self) -> Mode:
        """Freeze the current state (arrays are copied); RX is nan where a row lies on the edge of the link's domain."""
        problem = self.problem
        try:
            self.factor_fixed()
        except NotPositiveDefiniteError:
            self.rx, self._fixed = np.full_like(self.rx, np.nan), ""
        family = problem.family.at(self.phi)
        mu = family.fitted_mean(self.eta)
        s, w, h = (np.atleast_2d(self.out[at])[0].copy() for at in (self.rows.s, self.rows.w, self.rows.h))
        return Mode(
            u=self.u.copy(),
            b=self.lambda_times(self.u, np.empty(problem.q)),
            eta=np.atleast_2d(self.eta)[0].copy(),
            mu=mu,
            s=s,
            w=w,
            h=h,
            factor=self.factor.copy(),
            logdet_L2=self.factor.logdet(),
            rx=self.rx.copy(),
            rzx=self.rzx.T.copy(),
            log_density=self.value + 0.5 * float(self.u @ self.u),
            penalty=float(self.u @ self.u),
            deviance=float(np.sum(family.unit_deviance(problem.y, mu, problem.weights))),
            curvature=self.curvature,
            iterations=self.iterations,
            halvings=self.halvings,
            residual=self.residual,
            predictors=self.eta.copy() if problem.n_parts > 1 else None,
        )
