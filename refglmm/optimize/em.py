r"""The hybrid of EM and quasi-Newton that GLMMadaptive runs, step by step, and the exact optimum after it.

Place in the reading order: last of ``optimize``; ``likelihood.posterior`` has the nodes. A teaching path: it shows how
adaptive quadrature is fitted elsewhere, where that stops, and what is missing there.

**EM** treats the random effects as missing data. E step: with nodes b_ik placed at some earlier estimates, and p_ik
their posterior probabilities at the present ones, :math:`E_i[g(b)] = \sum_k p_{ik} g(b_{ik})`. M step:

.. math::
    D &\leftarrow \frac1n \sum_i E_i[bb'] \quad\text{(its diagonal, if D is diagonal)} \\
    \phi &\leftarrow \phi - A_\phi^{-1} s_\phi,\qquad s_\phi = -\sum_i E_i[d\log f/d\phi] \\
    \beta &\leftarrow \beta - A_\beta^{-1} s_\beta,\qquad s_\beta = -\sum_{ij} x_{ij} E_i[d\log f/d\eta_{ij}]

one Newton step each, A the derivative of s given p (its negative eigenvalues raised). The nodes follow every tenth
iteration. EM stops when the log-likelihood on the present nodes rose and hardly anything changed any more.

**Quasi-Newton** minimises :math:`-\sum_i \log L_i` *with the nodes held fixed* over (beta, log-Cholesky of D, working
phi), D = TT' with the diagonal of T as logarithms (a diagonal D: logarithms of the variances). By Fisher's identity the
gradient is the posterior mean of that of the complete data,

.. math::
    \frac{d\log L_i}{d\beta} = \sum_j x_{ij} E_i\Big[\frac{d\log f}{d\eta_{ij}}\Big],\quad
    \frac{d\log L_i}{d\phi} = E_i\Big[\frac{d\log f}{d\phi}\Big],\quad
    \frac{d\log L_i}{dD} = \tfrac12 D^{-1}(E_i[bb'] - D) D^{-1}

Each round places the nodes anew and allows more iterations; the first in which the optimiser says that it converged is
the last.

**Why this stops in wrong places.** With frozen nodes the integrals are right only near the estimates that placed the
nodes. Where groups tell much, the posterior of b is narrow and the nodes cover little more than it. A change of the
intercept moves every mode out of them, the sums fall although the integrals rise, and the frozen objective has a
maximum of its own where the intercept stands. The optimiser converges there. The objective that is meant has nodes that
move: its gradient is not zero there, the certificate says so, and the exact search that follows by default
(``polish``) goes on.

Source: Rizopoulos's description of GLMMadaptive for the course of the iterations; Dempster, Laird and Rubin (1977).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refglmm.errors import ArgumentError
from refglmm.likelihood.agq import likelihood_objective
from refglmm.likelihood.laplace import ProfiledObjective
from refglmm.likelihood.penalty import Penalty, penalized
from refglmm.likelihood.pirls import Pirls
from refglmm.likelihood.posterior import GroupedModel, Nodes, Posterior, Rule, Values, hermite_rule
from refglmm.likelihood.problem import Problem
from refglmm.likelihood.state import Mode
from refglmm.optimize.control import Control
from refglmm.optimize.finish import as_it_is
from refglmm.optimize.records import Evaluation, Optimum, StageReport
from refglmm.optimize.starts import start_fixed, start_shape
from refglmm.optimize.two_stage import GlmmStart, conclude, fit_glmm, second_stage
from refglmm.optimize.variable_metric import minimize_variable_metric

FloatArray = NDArray[np.float64]

#: The start of beta: coefficients without random effects, times what undoes the attenuation of a logit by N(0, 1).
ATTENUATION = float(np.sqrt(1.346))
#: EM is not stopped before this iteration.
FIRST_STOP = 5
#: Relative step of the differences that give the derivative of s_phi.
DIFFERENCE = float(np.finfo(float).eps ** 0.25)
#: Eigenvalues of A below this share of the largest are raised to it.
LEAST_EIGENVALUE = 1e-8


@dataclass(frozen=True)
class Hybrid:
    """Settings of the hybrid; the values are GLMMadaptive's.

    Attributes
    ----------
    polish : bool
        Go on to the optimum of the objective whose nodes move; else stop where the frozen one stopped.
    iter_em, update_nodes_every : int
        EM iterations at most, and how often the nodes follow.
    iter_outer, iter_inner, iter_more : int
        Quasi-Newton rounds at most, iterations allowed in the first, and how many more in each later one.
    scale_beta, scale_covariance, scale_shape : float
        Scales of the parameters in the quasi-Newton method.
    tol_parameters : pair of float
        EM stops when max |change| / (|parameter| + first) is below the second.
    tol_loglik : float
        Relative change of the log-likelihood at which EM, and the quasi-Newton method, stop.
    """

    polish: bool = True
    iter_em: int = 30
    update_nodes_every: int = 10
    iter_outer: int = 15
    iter_inner: int = 10
    iter_more: int = 10
    scale_beta: float = 0.1
    scale_covariance: float = 0.01
    scale_shape: float = 0.01
    tol_parameters: tuple[float, float] = (1e-4, 1e-5)
    tol_loglik: float = 1e-8

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.startswith("iter_") and (not isinstance(value, int) or value < 0):
                raise ArgumentError(f"Hybrid({field.name}=) must be a whole number, not {value!r}")
            if field.name.startswith("scale_") and not value > 0:
                raise ArgumentError(f"Hybrid({field.name}=) must be positive, not {value!r}")
        if not self.update_nodes_every >= 1:
            raise ArgumentError(f"Hybrid(update_nodes_every=) must be at least 1, not {self.update_nodes_every!r}")


def as_hybrid(method: Any) -> Hybrid | None:
    """Settings of the hybrid that ``method=`` asks for; None for "exact"."""
    if isinstance(method, Hybrid):
        return method
    if method == "hybrid":
        return Hybrid()
    if method == "exact":
        return None
    raise ArgumentError(
        f"method must be 'exact', 'hybrid' or a Hybrid of settings, not {method!r}; PQL and Monte Carlo EM are "
        "rg.teaching.pql and rg.teaching.mcem"
    )


# -- EM --------------------------------------------------------------------------------------------------------------


def m_step(model: GroupedModel, posterior: Posterior, values: Values, penalty: Penalty | None = None) -> Values:
    """New (beta, D, phi) from the posterior: D in closed form, one Newton step for phi, then one for beta."""
    D = posterior.second_moment().mean(axis=0)
    if model.diagonal:
        D = np.diag(np.diag(D))
    after = Values(values.beta, D, _shape_step(model, posterior, values))
    s, h = model.mean_scores(posterior, after)
    X, beta = model.problem.X, values.beta
    score, A = -X.T @ s, (X.T * h) @ X
    if penalty is not None:
        score, A = score + 0.5 * penalty.gradient(beta), A + 0.5 * penalty.hessian(beta)
    return after._replace(beta=beta - np.linalg.solve(positive_definite(A), score))


def _shape_step(model: GroupedModel, posterior: Posterior, values: Values) -> FloatArray:
    """Phi after one Newton step on its working scale, A by forward differences of the score."""
    problem = model.problem
    if not problem.n_phi:
        return values.phi
    work = problem.working_shape(values.phi)

    def score(x: FloatArray) -> FloatArray:
        return -model.mean_shape_scores(posterior, values._replace(phi=problem.shape_from(x)))

    s = score(work)
    steps = DIFFERENCE * np.maximum(np.abs(work), 1.0)
    A = np.column_stack([(score(work + step) - s) / step[j] for j, step in enumerate(np.diag(steps))])
    return problem.shape_from(work - np.linalg.solve(positive_definite(0.5 * (A + A.T)), s))


def positive_definite(A: FloatArray) -> FloatArray:
    """A with small and negative eigenvalues raised."""
    values, vectors = np.linalg.eigh(A)
    least = LEAST_EIGENVALUE * max(float(np.abs(values).max(initial=0.0)), 1e-300)
    return A if values.min(initial=np.inf) >= least else (vectors * np.maximum(values, least)) @ vectors.T


class _Walk:
    """The hybrid's way: the records that ``fit.trace`` shows."""

    def __init__(self, model: GroupedModel, rule: Rule, settings: Hybrid, penalty: Penalty | None) -> None:
        self.model, self.rule, self.settings, self.penalty = model, rule, settings, penalty
        self.evaluations: list[Evaluation] = []
        self.reports: list[StageReport] = []

    def record(self, stage: str, psi: FloatArray, value: float) -> None:
        number = sum(e.stage == stage for e in self.evaluations) + 1
        self.evaluations.append(Evaluation(stage, number, psi.copy(), value, 0, 0))

    def report(self, name: str, optimizer: str, cost: tuple[int, int], value: float, said: tuple[str, bool]) -> None:
        seconds = time.perf_counter() - self._began
        self.reports.append(StageReport(name, optimizer, *cost, value, *said, seconds))

    def charge(self, beta: FloatArray) -> float:
        return 0.0 if self.penalty is None else self.penalty.value(beta)

    def em(self, values: Values) -> tuple[Values, bool]:
        """EM from ``values``; whether it stopped by itself."""
        self._began = time.perf_counter()
        settings, model, last = self.settings, self.model, -np.inf
        nodes = model.place(values, self.rule)
        for iteration in range(1, settings.iter_em + 1):
            if iteration > 1 and (iteration - 1) % settings.update_nodes_every == 0:
                nodes = model.place(values, self.rule)
            posterior = model.posterior(nodes, values)
            loglik = posterior.loglik - 0.5 * self.charge(values.beta)
            psi = model.psi(values)
            self.record("EM", psi, -2.0 * loglik)
            following = m_step(model, posterior, values, self.penalty)
            if iteration >= FIRST_STOP and self._settled(psi, model.psi(following), loglik, last):
                self.report("EM", "em", (iteration, 0), -2.0 * loglik, ("hardly anything changes", True))
                return following, True
            values, last = following, loglik
        if not settings.iter_em:
            last = model.posterior(nodes, values).loglik - 0.5 * self.charge(values.beta)
        self.report("EM", "em", (settings.iter_em, 0), -2.0 * last, ("the allowed iterations", True))
        return values, False

    def _settled(self, psi: FloatArray, new: FloatArray, loglik: float, last: float) -> bool:
        near, change = self.settings.tol_parameters
        tol = self.settings.tol_loglik
        still = float(np.max(np.abs(new - psi) / (np.abs(psi) + near)))
        return loglik > last and (still < change or loglik - last < tol * (abs(last) + tol))

    def quasi_newton(self, values: Values) -> Values:
        """Rounds of the variable metric method, the nodes frozen in each."""
        settings = self.settings
        for outer in range(1, settings.iter_outer + 1):
            self._began = time.perf_counter()
            name = f"quasi-Newton {outer}"
            frozen = FrozenObjective(self.model, self.model.place(values, self.rule), self.penalty)
            unit = frozen.scales(settings)
            found = minimize_variable_metric(
                lambda y, f=frozen, u=unit: f.value(u * y),  # type: ignore[misc]
                lambda y, f=frozen, u=unit: u * f.gradient(u * y),  # type: ignore[misc]
                frozen.vector(values) / unit,
                max_iterations=settings.iter_inner + (outer - 1) * settings.iter_more,
                relative_tolerance=settings.tol_loglik,
                watch=lambda y, v, f=frozen, u=unit, n=name: self.record(n, self.model.psi(f.values(u * y)), 2.0 * v),  # type: ignore[misc]
            )
            values = frozen.values(unit * found.x)
            said = "says it converged" if found.converged else "the allowed iterations"
            cost = (found.evaluations, found.iterations)
            self.report(name, "bfgs on frozen nodes", cost, 2.0 * found.value, (said, True))
            if found.converged:
                break
        return values


# -- quasi-Newton on frozen nodes --------------------------------------------------------------------------------------


class FrozenObjective:
    """-sum log L_i (plus half the penalty) on nodes that stay where they are, over (beta, log-Cholesky of D, phi)."""

    def __init__(self, model: GroupedModel, nodes: Nodes, penalty: Penalty | None = None) -> None:
        self.model, self.nodes, self.penalty = model, nodes, penalty
        q, p = model.q, model.problem.p
        # Row by row of T, which is column by column of the upper triangular U = T'.
        self.rows, self.columns = (np.arange(q),) * 2 if model.diagonal else np.tril_indices(q)
        self.on_diagonal = self.rows == self.columns
        self.parts = slice(0, p), slice(p, p + self.rows.size), slice(p + self.rows.size, None)

    def scales(self, settings: Hybrid) -> FloatArray:
        """Units of the parameters."""
        sizes = self.model.problem.p, self.rows.size, self.model.problem.n_phi
        return np.repeat([settings.scale_beta, settings.scale_covariance, settings.scale_shape], sizes)

    def vector(self, values: Values) -> FloatArray:
        """(beta, log-Cholesky or log variances, working phi)."""
        T = np.linalg.cholesky(values.D)
        part = T[self.rows, self.columns]
        part[self.on_diagonal] = np.log(part[self.on_diagonal]) * (2.0 if self.model.diagonal else 1.0)
        return np.concatenate([values.beta, part, self.model.problem.working_shape(values.phi)])

    def values(self, x: FloatArray) -> Values:
        """(beta, D, phi) from the vector."""
        beta, part, work = (x[here] for here in self.parts)
        with np.errstate(over="ignore"):
            entries = np.where(self.on_diagonal, np.exp(part * (0.5 if self.model.diagonal else 1.0)), part)
        T = np.zeros((self.model.q, self.model.q))
        T[self.rows, self.columns] = entries
        return Values(beta, T @ T.T, self.model.problem.shape_from(work))

    def value(self, x: FloatArray) -> float:
        """Inf where D or a density cannot be evaluated."""
        values = self.values(x)
        try:
            with np.errstate(all="ignore"):
                value = -self.model.posterior(self.nodes, values).loglik
        except np.linalg.LinAlgError:
            return np.inf
        charge = 0.0 if self.penalty is None else 0.5 * self.penalty.value(values.beta)
        return value + charge if np.isfinite(value) else np.inf

    def node_scores(self, posterior: Posterior, values: Values) -> FloatArray:
        """Score of the complete data of each group at each node, in the elements of the vector: (groups, K, d)."""
        model, T, u = self.model, posterior.nodes.T, posterior.nodes.u
        outer = u[..., :, None] * u[..., None, :] - np.eye(model.q)
        d_T = np.linalg.solve(T.T, outer)[..., self.rows, self.columns]
        d_T[..., self.on_diagonal] *= np.diag(T) * (0.5 if model.diagonal else 1.0)
        d_beta, d_phi = model.node_scores(posterior.b, values), model.node_shape_scores(posterior.b, values)
        return np.concatenate([d_beta, d_T, d_phi], axis=2)

    def gradient(self, x: FloatArray) -> FloatArray:
        """By Fisher's identity."""
        model, values = self.model, self.values(x)
        posterior = model.posterior(self.nodes, values)
        d_beta = -model.problem.X.T @ model.mean_scores(posterior, values)[0]
        if self.penalty is not None:
            d_beta += 0.5 * self.penalty.gradient(values.beta)
        inverse, T = np.linalg.inv(values.D), np.linalg.cholesky(values.D)
        d_D = 0.5 * inverse @ (posterior.second_moment() - values.D).sum(axis=0) @ inverse
        d_T = 2.0 * d_D @ T
        part = d_T[self.rows, self.columns]
        chain = np.diag(T) * (0.5 if model.diagonal else 1.0)
        part[self.on_diagonal] *= chain
        return np.concatenate([d_beta, -part, -model.mean_shape_scores(posterior, values)])


# -- the whole way -----------------------------------------------------------------------------------------------------


def hybrid_start(model: GroupedModel, start: dict[str, FloatArray], control: Control) -> Values:
    """GLMMadaptive's start: coefficients of the model without random effects, times 1.16; D = I; phi by moments."""
    problem = model.problem
    beta, eta = start_fixed(problem)
    phi = np.asarray(start.get("phi", start_shape(problem, eta)), dtype=float)
    if "beta" not in start:
        glm = ProfiledObjective(Pirls(problem, control.engine), beta)
        glm.value(np.concatenate([np.zeros(problem.n_par), problem.working_shape(phi)]))
        beta = ATTENUATION * glm.beta
    D = model.covariance(start["par"]) if "par" in start else np.eye(model.q)
    return Values(start.get("beta", beta), D, problem.family.complete(phi))


def fit_hybrid(
    problem: Problem,
    n_agq: int,
    control: Control,
    start: dict[str, FloatArray],
    penalty: Penalty | None,
    settings: Hybrid,
) -> tuple[Optimum, Mode]:
    """EM, quasi-Newton on frozen nodes, and (``settings.polish``) the exact optimum; all of it in the trace.

    Raises
    ------
    NotAvailableError
        If the model is not one random-effects term of free or diagonal covariance.
    """
    model = GroupedModel(problem, control.engine, "method='hybrid'")
    walk = _Walk(model, hermite_rule(n_agq, model.q), settings, penalty)
    values, settled = walk.em(hybrid_start(model, start, control))
    if not settled:
        values = walk.quasi_newton(values)
    stopped = {"par": model.par(values.D), "beta": values.beta, "phi": values.phi[: problem.n_phi]}
    optimum, mode = fit_glmm(problem, n_agq, control, stopped, penalty) if settings.polish else (None, None)
    if optimum is None or mode is None:
        optimum, mode = _unpolished(problem, n_agq, control, stopped, penalty, walk)
        return replace(optimum, trace=(*walk.evaluations, *optimum.trace)), mode
    gained = 0.5 * (optimum.trace[0].value - optimum.value - optimum.penalty)
    message = f"{optimum.stages[-1].message}; {gained:.6f} log-likelihood units above where the frozen nodes stopped"
    stages = (*walk.reports, *optimum.stages[:-1], replace(optimum.stages[-1], message=message))
    return replace(optimum, stages=stages, trace=(*walk.evaluations, *optimum.trace)), mode


def _unpolished(
    problem: Problem,
    n_agq: int,
    control: Control,
    stopped: dict[str, FloatArray],
    penalty: Penalty | None,
    walk: _Walk,
) -> tuple[Optimum, Mode]:
    """Where the frozen nodes stopped, judged by the objective whose nodes move."""
    objective: Any = penalized(likelihood_objective(Pirls(problem, control.engine), n_agq, control.curvature), penalty)
    psi = problem.join(stopped["par"], stopped["beta"], stopped["phi"])
    first = GlmmStart(problem, stopped)
    scale = np.concatenate([np.maximum(np.abs(first.par), 0.1 * first.default_par), np.ones(problem.n_phi)])
    stage = second_stage(problem, objective, psi, np.empty(0), scale, first, control)
    stage.reports += walk.reports
    optimum, mode = conclude(problem, [stage], as_it_is(stage, psi))
    note = "method='hybrid' with polish=False stops where the objective with frozen nodes stopped"
    certificate = optimum.certificate
    if not certificate.converged:
        certificate = replace(certificate, messages=(note, *certificate.messages))
    return replace(optimum, certificate=certificate), mode
