r"""The posterior of each group's random effects on nodes: what everything but the objective itself looks at.

Place in the reading order: after ``grouping``, ``quadrature`` and ``node_kernels``, beside ``agq``, which adds the same
masses up in batches and has their exact gradient. EM, quasi-Newton on frozen nodes, Monte Carlo EM, dynamic prediction
and scoring rules build on it.

One grouping factor. Let group j have the random effects u ~ N(0, I) of all terms side by side, b = Tu, and let
:math:`g_j(u) = \sum_i \log f(y_i | b) - \tfrac12 |u|^2` have its mode at m and the curvature H there. With S the root
of H^-1 that makes TS upper triangular (see ``agq``), any rule of standardised nodes z_k and log weights c_k, that is
:math:`\sum_k e^{c_k} F(z_k) \approx \int F(z)\,dz`, becomes a rule for the group,

.. math::
    u_k &= m + S z_k,\qquad b_k = T u_k \\
    \log L_j &= \log|S| + \log\sum_k \exp\{c_k + \textstyle\sum_i \log f(y_i|b_k) + \log N(u_k; 0, I)\} \\
    p_k &= \text{softmax of the braces},\qquad E_j[g(b)] = \sum_k p_k\, g(b_k)

T may be singular, and a group without rows has its prior. Where the density has several linear predictors, each column
of Z belongs to one of them, and everything else is as written. The same b_k serve other parameters, as in EM: where T
has become T', they are :math:`u'_k = T'^{-1} b_k`, and :math:`\log|T| - \log|T'|` is added to c_k.

Two rules: Gauss-Hermite, :math:`c_k = \log\omega_k - \log\phi(z_k)` (adaptive quadrature; exact for a linear mixed
model), and K random draws from a multivariate t, :math:`c_k = -\log K - \log t_\nu(z_k)` (importance sampling from the
Laplace approximation).

Source: Naylor and Smith (1982) and Pinheiro and Chao (2006) for adaptive quadrature; Booth and Hobert (1999) for the
importance sampler.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import lgamma
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refglmm.errors import NotAvailableError, NotPositiveDefiniteError
from refglmm.families.kernel import ALL, L_PHI, VALUE, H, L, S, observation_rows
from refglmm.likelihood.coupled import CoupledLayout
from refglmm.likelihood.grouping import GroupLayout, gathered, group_layout
from refglmm.likelihood.node_kernels import curvature_roots
from refglmm.likelihood.pirls import Pirls
from refglmm.likelihood.problem import Problem
from refglmm.likelihood.quadrature import product_rule

if TYPE_CHECKING:
    from scipy.sparse import csr_array

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
    grid = product_rule(order, q)
    return Rule(grid.z[None], grid.log_weight[None] + 0.5 * q * LOG_2PI)


def draw_student(shape: tuple[int, ...], q: int, df: float, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Draws from the multivariate t (``df`` inf: normal) of q dimensions, shape (*shape, q), and their log density."""
    z = rng.standard_normal((*shape, q))
    if np.isinf(df):
        return z, -0.5 * q * LOG_2PI - 0.5 * np.sum(z * z, axis=-1)
    z /= np.sqrt(rng.chisquare(df, shape) / df)[..., None]
    constant = lgamma(0.5 * (df + q)) - lgamma(0.5 * df) - 0.5 * q * np.log(df * np.pi)
    return z, constant - 0.5 * (df + q) * np.log1p(np.sum(z * z, axis=-1) / df)


def student_rule(draws: int, groups: int, q: int, df: float, rng: np.random.Generator) -> Rule:
    """Draws from a multivariate t with ``df`` degrees of freedom (inf: normal) for every group.

    They come in antithetic pairs: draw k + draws/2 is minus draw k (``draws`` is even).
    """
    half, log_density = draw_student((groups, draws // 2), q, df, rng)
    log_weight = -np.log(draws) - log_density
    return Rule(np.concatenate([half, -half], axis=1), np.concatenate([log_weight, log_weight], axis=1))


@dataclass(frozen=True)
class Nodes:
    """Nodes of every group.

    Attributes
    ----------
    T : float array, shape (q, q)
    mode : float array, shape (groups, q)
        m, in u.
    root : float array, shape (groups, q, q)
        S.
    u, b : float array, shape (groups, K, q)
    log_weight : float array, shape (groups, K)
        c_k + log|S|.
    """

    T: FloatArray
    mode: FloatArray
    root: FloatArray
    u: FloatArray
    b: FloatArray
    log_weight: FloatArray

    def under(self, T: FloatArray) -> Nodes:
        """The same b seen from another regular factor; mode and root remain what placed them."""
        u = np.asarray(np.linalg.solve(T, self.b[..., None])[..., 0], dtype=np.float64)
        shift = np.linalg.slogdet(self.T)[1] - np.linalg.slogdet(T)[1]
        return replace(self, T=T, u=u, log_weight=self.log_weight + shift)


@dataclass(frozen=True)
class Posterior:
    """Nodes, their probabilities p (groups, K), log L_j (groups,), and the beta and phi that the rows have."""

    nodes: Nodes
    p: FloatArray
    log_likelihoods: FloatArray
    beta: FloatArray
    phi: FloatArray

    @property
    def b(self) -> FloatArray:
        """Nodes, shape (groups, K, q)."""
        return self.nodes.b

    @property
    def loglik(self) -> float:
        """The sum of log L_j."""
        return float(self.log_likelihoods.sum())

    def mean(self) -> FloatArray:
        """E_j[b], shape (groups, q)."""
        return np.einsum("gk,gka->ga", self.p, self.b)

    def second_moment(self) -> FloatArray:
        """E_j[bb'], shape (groups, q, q)."""
        return np.einsum("gk,gka,gkb->gab", self.p, self.b, self.b)

    def covariance(self) -> FloatArray:
        """Var_j(b), shape (groups, q, q)."""
        centred = self.b - self.mean()[:, None]
        return np.einsum("gk,gka,gkb->gab", self.p, centred, centred)


@dataclass(frozen=True)
class Groups:
    """A problem with one grouping factor, seen group by group.

    Attributes
    ----------
    problem : Problem
    layout : GroupLayout
    membership : sparse array, shape (groups, n)
        1 where a row belongs to a group.
    """

    problem: Problem
    layout: GroupLayout
    membership: csr_array

    @classmethod
    def of(cls, problem: Problem, purpose: str) -> Groups:
        """The groups of a problem; ``purpose`` begins the error where there is not one factor."""
        from scipy.sparse import csr_array  # here: a fit by another method has no use for it

        layout = group_layout(problem, purpose)
        entries = np.ones(problem.n), (layout.codes, np.arange(problem.n))
        return cls(problem, layout, csr_array(entries, shape=(layout.groups, problem.n)))

    @property
    def q(self) -> int:
        """Number of random effects of a group."""
        return self.layout.q

    def place(self, pirls: Pirls, rule: Rule, curvature: str = "observed") -> Nodes:
        """Nodes around the modes that ``pirls`` stands at."""
        at, q = self.layout, self.q
        pirls.use_curvature(curvature)
        T, mode = at.dense_factor(pirls.T), pirls.u[at.position]
        S_, U, log_det = np.zeros((at.groups, q, q)), np.zeros((at.groups, q, q)), np.zeros(at.groups)
        curvature_roots(gathered(pirls.H, at.H_at), T, S_, U, log_det)
        z = np.broadcast_to(rule.z, (at.groups, *rule.z.shape[1:]))
        u = mode[:, None] + np.einsum("gab,gkb->gka", S_, z)
        return Nodes(T, mode, S_, u, u @ T.T, rule.log_weight + log_det[:, None])

    def posterior(self, nodes: Nodes, beta: FloatArray, phi: FloatArray) -> Posterior:
        """Probabilities of nodes and log L_j; a node outside the domain of the link has none."""
        log_mass = nodes.log_weight + self.log_joint(nodes.u, nodes.b, beta, phi)
        largest = np.maximum(log_mass.max(axis=1), np.finfo(float).min)  # finite: no mass at all is log L = -inf
        mass = np.exp(log_mass - largest[:, None])
        total = mass.sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return Posterior(nodes, mass / total[:, None], largest + np.log(total), np.array(beta), np.array(phi))

    def log_joint(self, u: FloatArray, b: FloatArray, beta: FloatArray, phi: FloatArray) -> FloatArray:
        """log f(y | b) + log N(u; 0, I), shape (groups, K), for u and b of shape (groups, K, q)."""
        density = -0.5 * np.sum(u * u, axis=2) - 0.5 * self.q * LOG_2PI
        for columns, rows in self.over_nodes(b, beta, phi, VALUE):
            density[:, columns] += self.sums(rows[L])
        return np.where(np.isnan(density), -np.inf, density)

    def sums(self, rows: FloatArray) -> FloatArray:
        """Sums over the rows of each group, shape (groups, columns), of values of shape (n, columns)."""
        return self.membership @ rows

    def predictors(self, b: FloatArray, beta: FloatArray) -> FloatArray:
        """Linear predictors at nodes b (groups, K, q), shape ([parts,] n, K)."""
        fixed = np.empty(self.problem.eta_shape)
        self.problem.fixed_predictor(beta, fixed)
        return fixed[..., None] + self.random_part(self.problem.layout.z, b[self.layout.codes])

    def random_part(self, z: FloatArray, b: FloatArray) -> FloatArray:
        """z'b of m rows, z of shape (m, q), each with its own nodes b (m, K, q): shape ([parts,] m, K)."""
        layout = self.problem.layout
        if not isinstance(layout, CoupledLayout):
            return np.einsum("mka,ma->mk", b, z)
        own = [layout.part == k for k in range(self.problem.n_parts)]
        return np.array([np.einsum("mka,ma->mk", b[..., c], z[:, c]) for c in own])

    def cells(
        self, b: FloatArray, beta: FloatArray
    ) -> Iterator[tuple[slice, tuple[FloatArray, FloatArray, FloatArray, FloatArray]]]:
        """Batches of nodes: which of them, and (y, eta, weights, base) of all rows at each, flat."""
        problem = self.problem
        size = max(1, CELLS // max(1, problem.n))
        for begin in range(0, b.shape[1], size):
            columns = slice(begin, min(begin + size, b.shape[1]))
            eta = self.predictors(b[:, columns], beta)
            y, weights, base = (np.repeat(x, eta.shape[-1]) for x in (problem.y, problem.weights, problem.base))
            yield columns, (y, eta.reshape(*eta.shape[:-2], -1), weights, base)

    def over_nodes(
        self, b: FloatArray, beta: FloatArray, phi: FloatArray, order: int
    ) -> Iterator[tuple[slice, FloatArray]]:
        """Batches of nodes: which of them, and the family's rows there, shape (rows, n, nodes)."""
        where = observation_rows(self.problem.n_parts)
        for columns, (y, eta, weights, base) in self.cells(b, beta):
            out = np.empty((where.size, y.size))
            self.problem.family.observe(y, eta, weights, base, phi, order, out)
            yield columns, out.reshape(where.size, self.problem.n, -1)


class Values(NamedTuple):
    """Parameters of a model with one random-effects term: beta (p,), D (q, q), phi on its natural scale."""

    beta: FloatArray
    D: FloatArray
    phi: FloatArray


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
        self.rows = Groups.of(problem, purpose)
        self.q, self.groups, self.codes = self.rows.q, self.rows.layout.groups, self.rows.layout.codes
        self.Z, self.diagonal = layout.z, self.structure.name == "diag"
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
        if not np.linalg.eigvalsh(values.D)[0] > 0.0:
            raise NotPositiveDefiniteError(
                f"the covariance D has become singular (smallest eigenvalue {np.linalg.eigvalsh(values.D)[0]:.3g}); EM "
                "cannot place nodes then: simplify the random effects, or use method='exact'"
            )
        self.pirls.find_mode(self.par(values.D), values.beta, values.phi, self._u)
        self._u = self.pirls.u
        return self.rows.place(self.pirls, rule, self.pirls.curvature)

    def posterior(self, nodes: Nodes, values: Values) -> Posterior:
        """Probabilities of nodes (wherever they were placed) and log L_i at ``values``."""
        T = np.asarray(np.linalg.cholesky(values.D), dtype=np.float64)
        return self.rows.posterior(nodes.under(T), values.beta, values.phi)

    def mean_scores(self, posterior: Posterior, values: Values) -> tuple[FloatArray, FloatArray]:
        """E_i[dlogf/deta] and E_i[-d2logf/deta2] of each row, shape (n,) each, p as in ``posterior``."""
        s, h = np.zeros(self.problem.n), np.zeros(self.problem.n)
        for columns, rows in self.rows.over_nodes(posterior.b, values.beta, values.phi, ALL):
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
        for columns, (y, eta, weights, _) in self.rows.cells(b, values.beta) if problem.n_phi else ():
            out = np.empty((4, eta.size))
            for j in range(problem.n_phi):
                problem.family.observe_shape(y, eta, weights, values.phi, j, out)
                scores[:, columns, j] = slope[j] * self.rows.sums(out[L_PHI].reshape(problem.n, -1))
        return scores

    def node_scores(self, b: FloatArray, values: Values) -> FloatArray:
        """Score of each group in beta at each node, X_i's(b_ik), shape (groups, K, p)."""
        X = self.problem.X
        scores = np.empty((*b.shape[:2], X.shape[1]))
        for columns, rows in self.rows.over_nodes(b, values.beta, values.phi, ALL):
            for j in range(X.shape[1]):
                scores[:, columns, j] = self.rows.sums(X[:, j, None] * rows[S])
        return scores
