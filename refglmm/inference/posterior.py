r"""The random effects of each group given its responses, on a grid that follows them.

Place in the reading order: in ``inference``, before ``dynamic`` and ``scoring``. At known parameters, the effects of a
group have the density :math:`p(b \mid y) \propto f(y \mid b)\,N(b; 0, D)`. With its mode m, the curvature of its
negative logarithm H there, and S upper triangular with :math:`SS' = H^{-1}`, the nodes of the product Gauss-Hermite
rule (z_k, omega_k) are carried to

.. math:: b_k = m + S z_k,\qquad p_k \propto \omega_k \exp\{\tfrac12 |z_k|^2\}\, f(y \mid b_k)\, N(b_k; 0, D),\qquad
          E\{g(b) \mid y\} \approx \sum_k p_k\, g(b_k)

which is the rule that adaptive quadrature computes the likelihood with, and exact for a linear mixed model. Everything
is done in u with b = Tu, TT' = D, where the prior is standard normal and D may be singular: with
:math:`KK' = H_u^{-1}`, u_k = m_u + K Q z_k, Q the rotation that makes TKQ upper triangular.

Several terms may share the one grouping factor; their effects stand side by side. A group without responses has its
prior.

Source: Pinheiro and Chao (2006); Naylor and Smith (1982), "Applications of a method for the efficient computation of
posterior distributions".
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refglmm.errors import NotAvailableError
from refglmm.families.kernel import VALUE, L, observation_rows
from refglmm.likelihood.pirls import Pirls
from refglmm.likelihood.quadrature import gh_rule

if TYPE_CHECKING:
    from refglmm.fitted import FittedModel
    from refglmm.likelihood.problem import Problem

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: Points per dimension for up to two random effects a group, for more, and the nodes a group may have in all.
POINTS, FEWER_POINTS, MOST_NODES = 11, 7, 20_000
HALF_LOG_2PI = 0.5 * np.log(2.0 * np.pi)


@dataclass(frozen=True)
class GroupedRows:
    """A problem with one grouping factor, its rows by group.

    Attributes
    ----------
    problem : Problem
    group : int array, shape (n,)
    Z : float array, shape (n, k)
        Columns of all terms.
    sizes : tuple of int
        Columns of each term.
    n_groups : int
    owners : float array, shape (K, k), or None
        In a model with K > 1 predictors, 1 where a column belongs to a predictor, else 0.
    """

    problem: Problem
    group: IntArray
    Z: FloatArray
    sizes: tuple[int, ...]
    n_groups: int
    owners: FloatArray | None = None

    @property
    def k(self) -> int:
        """Random effects of a group."""
        return sum(self.sizes)

    def factor(self, par: FloatArray) -> FloatArray:
        """T of a group: block diagonal over the terms, shape (k, k)."""
        layout, flat = self.problem.layout, self.problem.term_factors(par)
        T, at = np.zeros((self.k, self.k)), 0
        for start, k in zip(layout.T_start, self.sizes, strict=True):
            T[at : at + k, at : at + k] = flat[start : start + k * k].reshape(k, k)
            at += k
        return T

    def by_group(self, u: FloatArray) -> FloatArray:
        """u of all terms, one after the other, as one row for each group."""
        ends = np.cumsum([self.n_groups * k for k in self.sizes])[:-1]
        return np.hstack([part.reshape(self.n_groups, -1) for part in np.split(u, ends)])

    def log_densities(self, fixed: FloatArray, b: FloatArray, phi: FloatArray) -> FloatArray:
        """log f(y | b) of each group; b has a row for each group."""
        problem = self.problem
        out = np.empty((observation_rows(problem.n_parts).size, problem.n))
        eta = fixed + random_forms(self.Z, b[self.group], self.owners)
        problem.family.observe(problem.y, eta, problem.weights, problem.base, phi, VALUE, out)
        return self.sums(out[L])

    def sums(self, rows: FloatArray) -> FloatArray:
        """Sums over the rows of each group."""
        return np.bincount(self.group, rows, minlength=self.n_groups).astype(np.float64)


@dataclass(frozen=True)
class Posterior:
    """Random effects of each group given its responses, at known parameters.

    Attributes
    ----------
    beta, phi : float arrays
        Parameters the rows are predicted with.
    T : float array, shape (k, k)
    mode : float array, shape (groups, k)
        Of u.
    root : float array, shape (groups, k, k)
        K Q: H_u^-1 is its product with its transpose.
    nodes : float array, shape (nodes, groups, k)
        b_k.
    weights : float array, shape (nodes, groups)
        p_k; they sum to 1 in each group.
    loglik : float array, shape (groups,)
        log of the integral of f(y | b) N(b; 0, D) by this rule.
    """

    beta: FloatArray
    phi: FloatArray
    T: FloatArray
    mode: FloatArray
    root: FloatArray
    nodes: FloatArray
    weights: FloatArray
    loglik: FloatArray

    @property
    def mean(self) -> FloatArray:
        """E(b | y), shape (groups, k)."""
        return np.einsum("ng,ngk->gk", self.weights, self.nodes)

    @property
    def covariance(self) -> FloatArray:
        """Var(b | y), shape (groups, k, k)."""
        centred = self.nodes - self.mean
        return np.einsum("ng,ngk,ngl->gkl", self.weights, centred, centred)

    def predictors(
        self, fixed: FloatArray, Z: FloatArray, group: IntArray, owners: FloatArray | None = None
    ) -> FloatArray:
        """Linear predictor of rows at each node of their group, shape (nodes, m); (nodes, K, m) of K predictors."""
        return fixed + random_forms(Z, self.nodes[:, group], owners)


def random_forms(Z: FloatArray, b: FloatArray, owners: FloatArray | None) -> FloatArray:
    """z'b of each row, b of shape (..., m, k): shape (..., m), or (..., K, m) for the share of each of K predictors."""
    if owners is None:
        return np.einsum("ik,...ik->...i", Z, b)
    return np.einsum("ik,...ik,pk->...pi", Z, b, owners)


def points_for(fit: FittedModel, k: int, n_points: Any = None) -> int:
    """Points per dimension: those asked for, else those of the fit, but 11 at least (7 for more than two effects)."""
    if n_points is None:
        n_points = max(fit.n_agq, POINTS if k <= 2 else FEWER_POINTS)
    if gh_rule(n_points).z.size ** k > MOST_NODES:
        raise NotAvailableError(
            f"{n_points} points for each of {k} random effects are {n_points}^{k} nodes a group; give fewer n_points"
        )
    return int(n_points)


@lru_cache(maxsize=8)
def product_rule(n_points: int, k: int) -> tuple[FloatArray, FloatArray]:
    """Nodes (nodes, k) and log weights of the product rule, log omega_k + |z_k|^2 / 2."""
    rule = gh_rule(n_points)
    z = np.array(list(product(rule.z, repeat=k))).reshape(-1, k)
    log_w = np.array(list(product(np.log(rule.w), repeat=k))).reshape(-1, k).sum(axis=1)
    log_w += 0.5 * np.sum(z**2, axis=1)
    z.setflags(write=False)
    log_w.setflags(write=False)
    return z, log_w


def one_factor(fit: FittedModel) -> None:
    """Refuse crossed and nested grouping factors."""
    groups = list(dict.fromkeys(term.group for term in fit.design.terms))
    if len(groups) != 1:
        raise NotAvailableError(
            f"the random effects of {', '.join(groups) or 'no factor'} do not fall apart into groups with a small "
            "integral each; this needs one grouping factor"
        )


def posterior(
    rows: GroupedRows, par: FloatArray, beta: FloatArray, phi: FloatArray, n_points: int, engine: str = "auto"
) -> Posterior:
    """Posterior of each group's random effects at (par, beta, phi).

    Raises
    ------
    PirlsError
        No mode is found.
    """
    pirls = Pirls(rows.problem, engine)
    pirls.find_mode(par, beta, phi)
    T, mode = rows.factor(par), rows.by_group(pirls.u)
    root = _root(rows, T, np.atleast_2d(pirls.out[pirls.rows.h]))
    z, log_weight = product_rule(n_points, rows.k)
    u = mode + np.einsum("gkl,nl->ngk", root, z)
    nodes = u @ T.T
    log_mass = np.array([rows.log_densities(pirls.fixed, b, phi) for b in nodes])
    log_mass += log_weight[:, None] - 0.5 * np.sum(u**2, axis=2)
    highest = np.max(np.where(np.isnan(log_mass), -np.inf, log_mass), axis=0)
    mass = np.where(np.isfinite(log_mass), np.exp(log_mass - highest), 0.0)  # a node outside the link's domain: none
    total = mass.sum(axis=0)
    loglik = highest + np.log(total) + np.linalg.slogdet(root)[1]
    return Posterior(np.array(beta), np.array(phi), T, mode, root, nodes, mass / total, loglik)


def _root(rows: GroupedRows, T: FloatArray, weights: FloatArray) -> FloatArray:
    """K Q of each group, H_u = I + T'Z'WZT (see the module's docstring), shape (groups, k, k).

    ``weights`` has a row for each pair of predictors, (0, 0), (1, 0), (1, 1), ...
    """
    parts = [rows.Z @ T] if rows.owners is None else [(rows.Z * own) @ T for own in rows.owners]
    H_u = np.zeros((rows.n_groups, rows.k, rows.k)) + np.eye(rows.k)
    pairs = [(k, other) for k in range(len(parts)) for other in range(k + 1)]
    for w, (k, other) in zip(weights, pairs, strict=True):
        block = w[:, None, None] * parts[k][:, :, None] * parts[other][:, None, :]
        np.add.at(H_u, rows.group, block if k == other else block + block.transpose(0, 2, 1))
    K = np.linalg.inv(np.linalg.cholesky(H_u)).transpose(0, 2, 1)
    # T K = S Q' with S upper triangular: the QR decomposition of its transpose, read backwards.
    rotation, _ = np.linalg.qr((T @ K)[:, ::-1].transpose(0, 2, 1))
    return K @ rotation[:, :, ::-1]
