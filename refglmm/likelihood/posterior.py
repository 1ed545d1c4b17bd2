r"""The posterior of the random effects on nodes: what EM, quasi-Newton on frozen nodes and Monte Carlo all look at.

Place in the reading order: after ``quadrature`` and ``pirls``; ``optimize.em`` and the teaching methods build on it.
Written in numpy, to be read; ``agq`` computes the same likelihood for speed and with its exact gradient.

One grouping factor, one term b_i ~ N(0, D) of q columns. Let :math:`g_i(b) = \sum_j \log f(y_{ij} | b) - \tfrac12
b'D^{-1}b` have its mode at m_i and the curvature :math:`H_i = \sum_j h_{ij} z_{ij} z_{ij}' + D^{-1}` there, and let R_i
be upper triangular with :math:`R_i'R_i = H_i`. Any rule of standardised nodes z_k and log weights c_k, that is
:math:`\sum_k e^{c_k} F(z_k) \approx \int F(z)\,dz`, becomes a rule for the group,

.. math::
    b_{ik} &= m_i + R_i^{-1} z_k \\
    \log L_i &= -\log|R_i| + \log\sum_k \exp\{c_k + \textstyle\sum_j \log f(y_{ij}|b_{ik}) + \log N(b_{ik}; 0, D)\} \\
    p_{ik} &= \text{softmax of the braces},\qquad E_i[g(b)] = \sum_k p_{ik}\, g(b_{ik})

Two rules: Gauss-Hermite, :math:`c_k = \log\omega_k - \log\phi(z_k)` (adaptive quadrature), and K random draws from a
multivariate t, :math:`c_k = -\log K - \log t_\nu(z_k)` (importance sampling from the Laplace approximation).

Source: Pinheiro and Bates (1995) for adaptive quadrature; Booth and Hobert (1999) for the importance sampler.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import lgamma
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from refglmm.errors import NotAvailableError, NotPositiveDefiniteError
from refglmm.families.kernel import ALL, L_PHI, VALUE, H, L, S, W
from refglmm.likelihood.pirls import Pirls
from refglmm.likelihood.problem import Problem
from refglmm.likelihood.quadrature import gh_rule

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

LOG_2PI = float(np.log(2.0 * np.pi))
#: Cells (rows times nodes) that a family's kernel is given at a time.
CELLS = 200_000


class Rule(NamedTuple):
    """Standardised nodes z, shape (groups or 1, K, q), and their log weights c, shape (groups or 1, K)."""

    z: FloatArray
    log_weight: FloatArray


def hermite_rule(order: int, q: int) -> Rule:
    """The tensor grid of the Gauss-Hermite rule, the same for every group."""
    one = gh_rule(order)
    z = np.array(list(product(one.z, repeat=q)))
    log_weight = np.array([sum(c) for c in product(np.log(one.w) - one.log_density, repeat=q)])
    return Rule(z[None], log_weight[None])


def student_rule(draws: int, groups: int, q: int, df: float, rng: np.random.Generator) -> Rule:
    """Draws from a multivariate t with ``df`` degrees of freedom (inf: normal) for every group.

    They come in antithetic pairs: draw k + draws/2 is minus draw k (``draws`` is even).
    """
    half = rng.standard_normal((groups, draws // 2, q))
    if np.isinf(df):
        log_density = -0.5 * q * LOG_2PI - 0.5 * np.sum(half * half, axis=2)
    else:
        half /= np.sqrt(rng.chisquare(df, half.shape[:2]) / df)[..., None]
        constant = lgamma(0.5 * (df + q)) - lgamma(0.5 * df) - 0.5 * q * np.log(df * np.pi)
        log_density = constant - 0.5 * (df + q) * np.log1p(np.sum(half * half, axis=2) / df)
    log_weight = -np.log(draws) - log_density
    return Rule(np.concatenate([half, -half], axis=1), np.concatenate([log_weight, log_weight], axis=1))


class Values(NamedTuple):
    """Parameters of a model with one random-effects term: beta (p,), D (q, q), phi on its natural scale."""

    beta: FloatArray
    D: FloatArray
    phi: FloatArray


@dataclass(frozen=True)
class Nodes:
    """Nodes of every group, b (groups, K, q), with c_k - log|R_i|, shape (groups, K)."""

    b: FloatArray
    log_weight: FloatArray


@dataclass(frozen=True)
class Posterior:
    """Nodes b (groups, K, q), their probabilities p (groups, K), and log L_i (groups,)."""

    b: FloatArray
    p: FloatArray
    log_likelihoods: FloatArray

    @property
    def loglik(self) -> float:
        """The sum of log L_i."""
        return float(self.log_likelihoods.sum())

    def mean(self) -> FloatArray:
        """E_i[b], shape (groups, q)."""
        return np.einsum("gk,gka->ga", self.p, self.b)

    def second_moment(self) -> FloatArray:
        """E_i[bb'], shape (groups, q, q)."""
        return np.einsum("gk,gka,gkb->gab", self.p, self.b, self.b)


class GroupedModel:
    """A problem with one grouping factor and one term of free or diagonal covariance, seen group by group.

    Attributes
    ----------
    codes : int array, shape (n,)
        Group of each row.
    Z : float array, shape (n, q)
    diagonal : bool
        Whether D is diagonal.

    Raises
    ------
    NotAvailableError
        For any other kind of model.
    """

    def __init__(self, problem: Problem, engine: str = "auto", purpose: str = "this method") -> None:
        from scipy.sparse import csr_array  # here: a fit by another method has no use for it

        layout = problem.layout
        if layout.k.size != 1 or problem.structures[0].name not in ("us", "diag") or problem.structures[0].hom:
            raise NotAvailableError(
                f"{purpose} needs one random-effects term with a free or diagonal covariance, such as (1 + x | g) or "
                f"diag(1 + x | g); this model has {layout.k.size} terms"
                f" ({', '.join(s.name for s in problem.structures)})"
            )
        if problem.group_weights is not None:
            raise NotAvailableError(f"{purpose} knows no group_weights")
        if problem.n_parts > 1:
            raise NotAvailableError(f"{purpose} is for one linear predictor, without zi= and dispersion=")
        self.problem, self.structure = problem, problem.structures[0]
        self.q, self.groups = int(layout.k[0]), int(layout.levels[0])
        self.codes = (layout.index[:, 0] // self.q).astype(np.int64)
        self.Z, self.diagonal = layout.z, self.structure.name == "diag"
        self._membership = csr_array(
            (np.ones(problem.n), (self.codes, np.arange(problem.n))), shape=(self.groups, problem.n)
        )
        self.pirls = Pirls(problem, engine)
        self._u: FloatArray | None = None

    def par(self, D: FloatArray) -> FloatArray:
        """Covariance parameters of the structure from D = TT'."""
        return self.structure.par_from_theta(np.linalg.cholesky(D)[self.structure.theta_entries])

    def covariance(self, par: FloatArray) -> FloatArray:
        """D = TT'."""
        T = self.structure.factor(par)
        return T @ T.T

    def psi(self, values: Values) -> FloatArray:
        """(par, beta, working phi)."""
        return self.problem.join(self.par(values.D), values.beta, values.phi)

    def place(self, values: Values, rule: Rule) -> Nodes:
        """Nodes around the modes at ``values``.

        Raises
        ------
        PirlsError, NotPositiveDefiniteError
            If there is no mode, or D has lost a dimension.
        """
        pirls = self.pirls
        if not np.linalg.eigvalsh(values.D)[0] > 0.0:
            raise NotPositiveDefiniteError(
                f"the covariance D has become singular (smallest eigenvalue {np.linalg.eigvalsh(values.D)[0]:.3g}); EM "
                "cannot place nodes then: simplify the random effects, or use method='exact'"
            )
        pirls.find_mode(self.par(values.D), values.beta, values.phi, self._u)
        pirls.observe_log_density()
        self._u = pirls.u
        T = np.linalg.cholesky(values.D)
        mode = pirls.u.reshape(self.groups, self.q) @ T.T
        h = pirls.out[H if pirls.curvature == "observed" else W]
        outer = h[:, None, None] * self.Z[:, :, None] * self.Z[:, None, :]
        curvature = self._by_group(outer.reshape(-1, self.q**2)).reshape(-1, self.q, self.q)
        R = np.linalg.cholesky(curvature + np.linalg.inv(values.D)).transpose(0, 2, 1)
        z = np.broadcast_to(rule.z, (self.groups, *rule.z.shape[1:]))
        b = mode[:, None] + np.linalg.solve(R[:, None], z[..., None])[..., 0]
        log_det = np.log(np.diagonal(R, axis1=1, axis2=2)).sum(axis=1)
        return Nodes(b, rule.log_weight - log_det[:, None])

    def posterior(self, nodes: Nodes, values: Values) -> Posterior:
        """Probabilities of nodes (wherever they were placed) and log L_i at ``values``."""
        T = np.linalg.cholesky(values.D)
        u = np.linalg.solve(T, nodes.b[..., None])[..., 0]
        log_prior = -0.5 * self.q * LOG_2PI - np.log(np.diag(T)).sum() - 0.5 * np.sum(u * u, axis=2)
        log_mass = nodes.log_weight + log_prior
        for columns, rows in self._over_nodes(nodes.b, values, VALUE):
            log_mass[:, columns] += self._by_group(rows[L])
        largest = log_mass.max(axis=1)
        mass = np.exp(log_mass - largest[:, None])
        total = mass.sum(axis=1)
        return Posterior(nodes.b, mass / total[:, None], largest + np.log(total))

    def mean_scores(self, posterior: Posterior, values: Values) -> tuple[FloatArray, FloatArray]:
        """E_i[dlogf/deta] and E_i[-d2logf/deta2] of each row, shape (n,) each, p as in ``posterior``."""
        s, h = np.zeros(self.problem.n), np.zeros(self.problem.n)
        for columns, rows in self._over_nodes(posterior.b, values, ALL):
            p = posterior.p[self.codes][:, columns]
            s += np.sum(p * rows[S], axis=1)
            h += np.sum(p * rows[H], axis=1)
        return s, h

    def mean_shape_scores(self, posterior: Posterior, values: Values) -> FloatArray:
        """sum_i E_i[dlogf/dwork(phi_j)], shape (n_phi,), on the working scale."""
        return np.einsum("gk,gkj->j", posterior.p, self.node_shape_scores(posterior.b, values))

    def node_shape_scores(self, b: FloatArray, values: Values) -> FloatArray:
        """Score of each group in the working shape parameters at each node, shape (groups, K, n_phi)."""
        problem, scores = self.problem, np.empty((*b.shape[:2], self.problem.n_phi))
        slope = problem.shape_slope(values.phi)
        for columns, (y, eta, weights, _) in self._cells(b, values) if problem.n_phi else ():
            out = np.empty((4, eta.size))
            for j in range(problem.n_phi):
                problem.family.observe_shape(y, eta, weights, values.phi, j, out)
                scores[:, columns, j] = slope[j] * self._by_group(out[L_PHI].reshape(problem.n, -1))
        return scores

    def node_scores(self, b: FloatArray, values: Values) -> FloatArray:
        """Score of each group in beta at each node, X_i's(b_ik), shape (groups, K, p)."""
        X = self.problem.X
        scores = np.empty((*b.shape[:2], X.shape[1]))
        for columns, rows in self._over_nodes(b, values, ALL):
            for j in range(X.shape[1]):
                scores[:, columns, j] = self._by_group(X[:, j, None] * rows[S])
        return scores

    def _by_group(self, rows: FloatArray) -> FloatArray:
        """Sums over the rows of each group, shape (groups, columns), of values of shape (n, columns)."""
        return self._membership @ rows

    def _cells(self, b: FloatArray, values: Values) -> Iterator[tuple[slice, tuple[FloatArray, ...]]]:
        """Batches of nodes: which of them, and (y, eta, weights, base) of all rows at each, flat."""
        problem = self.problem
        fixed = problem.offset + problem.X @ values.beta
        size = max(1, CELLS // problem.n)
        for begin in range(0, b.shape[1], size):
            columns = slice(begin, min(begin + size, b.shape[1]))
            at = b[self.codes, columns]
            eta = fixed[:, None] + np.einsum("nka,na->nk", at, self.Z)
            count = eta.shape[1]
            y, weights, base = (np.repeat(x, count) for x in (problem.y, problem.weights, problem.base))
            yield columns, (y, eta.ravel(), weights, base)

    def _over_nodes(self, b: FloatArray, values: Values, order: int) -> Iterator[tuple[slice, FloatArray]]:
        """Batches of nodes: which of them, and the family's rows there, shape (6, n, nodes)."""
        for columns, (y, eta, weights, base) in self._cells(b, values):
            out = np.empty((6, eta.size))
            self.problem.family.observe(y, eta, weights, base, values.phi, order, out)
            yield columns, out.reshape(6, self.problem.n, -1)
