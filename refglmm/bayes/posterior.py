r"""The posterior of one model: names, log density, and what a position means.

Place in the reading order: after ``target`` and ``priors``; before ``laplace`` and everything that draws.

A :class:`Posterior` joins the arrays of a model (:class:`.Problem`) with the priors of its parameters. Rows that agree
in X, Z and offset are one row to the log density where the family has a sufficient statistic (binomial: the mean of y
with the sum of the weights; Poisson likewise): cbpp's or Bernoulli rows are then visited once.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refglmm.bayes.scalar import BLOCKS, Scalar
from refglmm.bayes.scalars import ABOVE, INTERVAL
from refglmm.bayes.target import (
    Target,
    linear_predictors,
    log_densities,
    log_posterior,
    unpack,
    unpack_effects,
)
from refglmm.errors import ArgumentError, NotAvailableError
from refglmm.families.fused import plain_rows
from refglmm.families.kernel import VALUE
from refglmm.families.special import LARGE

if TYPE_CHECKING:
    from refglmm.bayes.laplace import LaplaceFit
    from refglmm.bayes.residuals import Residuals
    from refglmm.likelihood.problem import Problem

FloatArray = NDArray[np.float64]

#: Families whose log density is linear in y given eta, so that equal rows add up.
SUFFICIENT = ("binomial", "bernoulli", "poisson")


class Posterior:
    """The posterior density of a model's unconstrained position (hyper, u), see :mod:`.target`.

    Parameters
    ----------
    problem : Problem
        Arrays of the model.
    priors : ResolvedPriors
        What :func:`.priors.resolve` made of the user's priors.
    exponent : sequence of float, optional
        How far each column of each random-effects term is centred, see :mod:`.target`; by default nowhere.
    residuals : Residuals, optional
        Residual correlation, and standard deviations by cell (``priors`` has them, see :meth:`.Residuals.priors`).

    Attributes
    ----------
    n_hyper, q, dimension : int
        Free scalars, random effects, and both together.
    hyper_names : tuple of str
        Names of the free scalars.
    names : tuple of str
        Names of what is reported (natural values and what follows from them).
    """

    def __init__(
        self, problem: Problem, priors: Any, exponent: ArrayLike | None = None, residuals: Residuals | None = None
    ) -> None:
        if problem.n_parts > 1:
            raise NotAvailableError("the Bayesian engines are for models with one linear predictor")
        self.means = problem.X.mean(axis=0) if priors.centre else np.zeros(problem.p)
        self.constant = _constant_column(problem) if priors.centre else -1
        if self.constant >= 0:
            self.means[self.constant] = 0.0
        self.original, self.priors, self.residuals = problem, priors, residuals
        self.problem = replace(problem, X=np.ascontiguousarray(problem.X - self.means))
        self.exponent = np.zeros(int(problem.layout.k.sum()))
        if exponent is not None:
            self.exponent[:] = exponent
        self.scalars: tuple[Scalar, ...] = tuple(priors.scalars)
        self.full_target = self._target()
        self.target = _collapsed(self.full_target, problem.family)
        self.log_likelihood = problem.family.log_likelihood
        if residuals is not None:
            self.target, self.log_likelihood = residuals.sorted(self.full_target), residuals.log_likelihood
        free = [scalar for scalar in self.scalars if scalar.fixed is None]
        self.hyper_names = tuple(scalar.name for scalar in free)
        self.uncentred: Posterior | None = None
        self.n_hyper, self.q = len(free), problem.q
        self.dimension = self.n_hyper + self.q

    def __repr__(self) -> str:
        return f"Posterior({self.n_hyper} parameters, {self.q} random effects, {self.target.offset.size} distinct rows)"

    def with_exponent(self, exponent: ArrayLike | None) -> Posterior:
        """Return the same posterior with random effects centred to another extent; Laplace fits are shared."""
        other = Posterior(self.original, self.priors, exponent, self.residuals)
        other.uncentred = self.uncentred if np.any(self.exponent) else self
        return other

    def with_priors(self, priors: Any) -> Posterior:
        """Return the posterior of the same model under other priors."""
        return Posterior(self.original, priors, self.exponent, self.residuals)

    # -- construction ------------------------------------------------------------------------------------------

    def _target(self) -> Target:
        problem, priors, layout = self.problem, self.priors, self.problem.layout
        fixed = np.array([scalar.fixed is not None for scalar in self.scalars])
        slot = np.where(fixed, -1, np.cumsum(~fixed) - 1).astype(np.int64)
        counts = [sum(scalar.block == block for scalar in self.scalars) for block in BLOCKS]
        corr_at, n_corr = [], 0
        for structure in problem.structures:
            correlated = structure.name == "us" and structure.k > 1
            corr_at.append(n_corr if correlated else -1)
            n_corr += structure.k * (structure.k - 1) // 2 if correlated else 0
        return Target(
            rows=plain_rows(problem.y, problem.weights, problem.base),
            offset=np.array(problem.offset),
            Xt=np.array(problem.X.T, order="C"),
            z_at=np.array(layout.index, dtype=np.int32, order="C"),
            z=np.array(layout.z, order="C"),
            k=np.array(layout.k, dtype=np.int64),
            levels=np.array(layout.levels, dtype=np.int64),
            T_start=np.array(layout.T_start, dtype=np.int64),
            exponent=self.exponent.copy(),
            sd_at=np.arange(int(layout.k.sum()), dtype=np.int64),
            corr_at=np.array(corr_at, dtype=np.int64),
            counts=np.array(counts, dtype=np.int64),
            slot=slot,
            value=np.array([0.0 if s.fixed is None else s.fixed for s in self.scalars]),
            scale=np.array([s.scale for s in self.scalars], dtype=np.int64),
            bounds=np.array([(s.low, s.high) for s in self.scalars], dtype=np.float64).reshape(-1, 2),
            prior=np.array([s.prior.code for s in self.scalars], dtype=np.int64),
            hyper=np.array([s.prior.hyper for s in self.scalars], dtype=np.float64).reshape(-1, 4),
            shape_power=np.array(priors.shape_power, dtype=np.float64),
            shape_known=np.array(problem.family.fixed_shape if self.residuals is None else (), dtype=np.float64),
            ordered=np.array([int(priors.ordered)], dtype=np.int64),
            slope_kind=np.array([int(priors.slope_kind)], dtype=np.int64),
            slope_columns=np.array(priors.slope_columns, dtype=np.int64),
            slope_scale=np.array(priors.slope_scale, dtype=np.float64),
            slope_matrix=np.array(priors.slope_matrix, dtype=np.float64, order="C").reshape(
                len(priors.slope_columns), -1
            )
            if len(priors.slope_columns)
            else np.empty((0, 0)),
            slope_hyper=np.array(priors.slope_hyper, dtype=np.float64),
        )

    # -- density -----------------------------------------------------------------------------------------------

    def value_and_gradient(self, position: ArrayLike) -> tuple[float, FloatArray]:
        """Log posterior density with all constants and Jacobians, and its gradient, at one position, shape (d,)."""
        at = self._positions(position, 1)
        gradient = np.empty(self.dimension)
        return float(log_posterior(at, gradient, self.target, self.log_likelihood)), gradient

    def log_density(self, position: ArrayLike) -> float:
        """Log posterior density at one position, shape (d,)."""
        return self.value_and_gradient(position)[0]

    def log_densities(self, positions: ArrayLike) -> FloatArray:
        """Log posterior density of each row of ``positions``, shape (m, d); new array, shape (m,)."""
        at = self._positions(positions, 2)
        values = np.empty(len(at))
        log_densities(at, values, log_posterior, self.target, self.log_likelihood)
        return values

    def _positions(self, positions: ArrayLike, ndim: int) -> FloatArray:
        at = np.array(positions, dtype=np.float64, order="C")
        if at.ndim != ndim or at.shape[-1] != self.dimension:
            raise ArgumentError(
                f"a position of this posterior has {self.dimension} numbers ({self.n_hyper} parameters, {self.q} "
                f"random effects), not an array of shape {at.shape}"
            )
        return at

    # -- what positions mean -------------------------------------------------------------------------------------

    def natural(self, positions: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Natural values of all scalars, fixed effects (centred X), T of all terms and kernel's shapes; a row each.

        ``positions`` may hold the hyperparameters alone, shape (m, >= n_hyper).
        """
        at = np.array(positions, dtype=np.float64, order="C")
        m, target = len(at), self.target
        X, B = np.empty((m, len(self.scalars))), np.empty((m, self.problem.p))
        TT = np.empty((m, self.problem.layout.T_size))
        PHI = np.empty((m, target.shape_power.size + target.shape_known.size))
        unpack(at, target, X, B, TT, PHI)
        return X, B, TT, PHI

    def hyper(self, values: FloatArray) -> FloatArray:
        """Unconstrained hyperparameters of natural values of all scalars, shape (number of scalars,)."""
        values = np.array(values, dtype=np.float64)
        if self.priors.ordered:
            first = self.block("shape").start
            values[first + 1 : self.block("shape").stop] = np.diff(values[self.block("shape")])
        out = []
        for value, scalar in zip(values, self.scalars, strict=True):
            if scalar.fixed is None:
                t = value
                if scalar.scale == ABOVE:
                    t = np.log(value - scalar.low)
                elif scalar.scale == INTERVAL:
                    t = np.log((value - scalar.low) / (scalar.high - value))
                out.append(t)
        return np.array(out)

    def block(self, name: str) -> slice:
        """Where a block of scalars stands, see :data:`.scalar.BLOCKS`."""
        ends = np.cumsum([0, *self.target.counts])
        j = BLOCKS.index(name)
        return slice(int(ends[j]), int(ends[j + 1]))

    def random_effects(self, positions: FloatArray) -> FloatArray:
        """b = Lambda u on the scale of the linear predictor, shape (m, q)."""
        at = self._positions(positions, 2)
        b = np.empty((len(at), self.q))
        X, _, TT, _ = self.natural(at)
        unpack_effects(np.ascontiguousarray(at[:, self.n_hyper :]), X, self.target, TT, b)
        return b

    def beta(self, positions: FloatArray) -> FloatArray:
        """Fixed effects of the model matrix as the user wrote it, shape (m, p)."""
        return self._uncentre(self.natural(positions)[1])

    def _uncentre(self, B: FloatArray) -> FloatArray:
        if self.constant >= 0:
            B = B.copy()
            B[:, self.constant] -= B @ self.means
        return B

    def shape(self, positions: FloatArray) -> FloatArray:
        """Shape parameters as the kernels take them, for X as the user wrote it; shape (m, number of them).

        With ``residuals`` the kernel is that of :mod:`.correlated_rows`: standard deviations, nu of a t, correlations.
        """
        _, B, _, PHI = self.natural(positions)
        if self.constant < 0 and self.priors.centre:  # thresholds stand in the place of an intercept
            return PHI + (B @ self.means)[:, None]
        return PHI

    def eta(self, positions: FloatArray) -> FloatArray:
        """Linear predictor of each row of the data, shape (m, n); with thresholds, that of centred predictors."""
        at = self._positions(positions, 2)
        eta = np.empty((len(at), self.problem.n))
        linear_predictors(self.natural(at)[1], self.random_effects(at), self.full_target, eta)
        return eta

    def log_lik(self, positions: FloatArray) -> FloatArray:
        """Log likelihood of each row of the data given the random effects, shape (m, n).

        With residual correlation: of each block, shape (m, blocks), see :attr:`.Residuals.blocks`. A row of a block has
        no likelihood of its own, and what can be left out of the data by itself is a block.
        """
        if self.residuals is not None:
            return self.residuals.log_lik(self.eta(positions), self.natural(positions)[3])
        eta, PHI, problem = self.eta(positions), self.natural(positions)[3], self.problem
        out, values = np.empty((6, problem.n)), np.empty_like(eta)
        for m in range(len(eta)):
            problem.family.observe(problem.y, eta[m], problem.weights, problem.base, PHI[m], VALUE, out)
            values[m] = out[0]
        return values

    # -- what is reported ----------------------------------------------------------------------------------------

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of what :meth:`reported` gives."""
        labels = [scalar.name for scalar in self.scalars]
        fixed = [self._fixed_label(j) for j in range(self.problem.p)]
        shape, sd, other = (labels[self.block(block)] for block in ("shape", "sd", "other"))
        ordinal = shape if self.problem.family.is_ordinal else []
        rest = [] if self.problem.family.is_ordinal else shape if self.residuals is None else [*self.residuals.names]
        centred = ["Intercept_c"] if self.constant >= 0 and np.any(self.means) else []
        return (*fixed, *ordinal, *rest, *sd, *self._correlations, *centred, *other)

    def _fixed_label(self, j: int) -> str:
        if j == self.constant or self.original.beta_names[j] == "(Intercept)":
            return "Intercept"
        return f"b[{self.original.beta_names[j]}]"

    @property
    def _correlations(self) -> list[str]:
        """Labels of the correlations of the random effects, by rows of the lower triangle."""
        return [scalar.name.replace("partial[", "corr[", 1) for scalar in self.scalars[self.block("corr")]]

    def reported(self, positions: FloatArray) -> FloatArray:
        """Natural values under the names of :attr:`names`, shape (m, number of names)."""
        X, B, TT, _ = self.natural(positions)
        beta = self._uncentre(B)
        shape = X[:, self.block("shape")]
        if self.problem.family.is_ordinal and self.priors.centre:
            shape = shape + (B @ self.means)[:, None]
        if self.residuals is not None:
            shape = self.residuals.report(shape)
        pieces = [beta, shape, X[:, self.block("sd")], self._correlation_values(TT)]
        if self.constant >= 0 and np.any(self.means):
            pieces.append(B[:, [self.constant]])
        return np.hstack([*pieces, X[:, self.block("other")]])

    def _correlation_values(self, TT: FloatArray) -> FloatArray:
        pieces = [np.empty((len(TT), 0))]
        for start, structure in zip(self.problem.layout.T_start, self.problem.structures, strict=True):
            k = structure.k
            if structure.name == "us" and k > 1:
                T = TT[:, start : start + k * k].reshape(-1, k, k)
                L = T / np.sqrt(np.sum(T * T, axis=2, keepdims=True))
                R = L @ L.transpose(0, 2, 1)
                pieces += [R[:, r, c][:, None] for r in range(k) for c in range(r)]
        return np.hstack(pieces)

    def centring(self, hyper: FloatArray) -> FloatArray:
        """Factors f = sd^c of all random effects at unconstrained hyperparameters: v = f u, shape (q,)."""
        sd = self.natural(hyper[None])[0][0, self.block("sd")][self.target.sd_at]
        factor, layout, column = sd**self.exponent, self.problem.layout, 0
        pieces = [np.empty(0)]
        for k, levels in zip(layout.k, layout.levels, strict=True):
            pieces.append(np.tile(factor[column : column + k], levels))
            column += k
        return np.concatenate(pieces)

    # -- properties of the priors ----------------------------------------------------------------------------------

    @property
    def is_proper(self) -> bool:
        """Whether every prior integrates to one."""
        return bool(self.priors.is_proper)

    @cached_property
    def _laplace(self) -> LaplaceFit:
        from refglmm.bayes.laplace import laplace_fit, recentred

        if self.uncentred is None:
            return laplace_fit(self)
        return recentred(self.uncentred.laplace(), self)

    def laplace(self) -> LaplaceFit:
        """Return the mode of the density of the hyperparameters and the curvature there, found once."""
        return self._laplace

    @cached_property
    def good_exponent(self) -> FloatArray:
        r"""How far to centre each column so that the spread of v depends least on its standard deviation.

        Given the other parameters, u has posterior variance :math:`1/(1 + W sd^2)` with W the information of the data
        on b. The log of the spread of :math:`v = sd^c u` has slope :math:`c - W sd^2/(1 + W sd^2)` in log sd, so
        :math:`c = 1 - Var(u \mid y)`, averaged over levels, at the Laplace mode of the uncentred posterior, and brought
        one posterior SD of log sd below it: a term whose sd may be zero is a funnel unless it is all but uncentred.
        """
        plain = self if not np.any(self.exponent) else self.with_exponent(None)
        factor, layout = plain.laplace().factor, self.problem.layout
        variance = np.minimum(factor.selected_inverse()[factor.indptr[:-1]], 1.0)
        out, at = [], 0
        for k, levels in zip(layout.k, layout.levels, strict=True):
            out.append(1.0 - variance[at : at + k * levels].reshape(levels, k).mean(axis=0))
            at += int(k * levels)
        odds = np.concatenate([*out, np.empty(0)])
        odds = odds / np.maximum(1.0 - odds, 1e-12) * np.exp(-2.0 * plain._spread_of_log_sd)
        return odds / (1.0 + odds)

    @property
    def _spread_of_log_sd(self) -> FloatArray:
        """Posterior SDs of the unconstrained standard deviations in the Laplace approximation; zero for known ones."""
        sd, block = np.zeros(len(self.scalars)), self.block("sd")
        sd[[scalar.fixed is None for scalar in self.scalars]] = np.sqrt(np.diag(self.laplace().covariance))
        return sd[block]


def _constant_column(problem: Problem) -> int:
    """The column of X that is one everywhere; -1 if there is none."""
    found = np.flatnonzero(np.all(problem.X == 1.0, axis=0))
    return int(found[0]) if found.size else -1


def _collapsed(target: Target, family: Any) -> Target:
    """The same log density on distinct rows, where the family has a sufficient statistic."""
    rows, n = target.rows, target.offset.size
    if family.name not in SUFFICIENT:
        return target
    keys = np.column_stack([target.Xt.T, target.offset, target.z, target.z_at.astype(np.float64)])
    _, first, number = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    number = number.ravel()
    weights = np.bincount(number, rows.weights)
    if first.size > 0.9 * n or np.any(weights >= LARGE):
        return target
    total = np.bincount(number, rows.weights * rows.y)
    y = np.divide(total, weights, out=np.zeros_like(total), where=weights > 0)
    return target._replace(
        rows=plain_rows(y, weights, np.bincount(number, rows.base)),
        offset=target.offset[first],
        Xt=np.array(target.Xt[:, first], order="C"),
        z_at=np.array(target.z_at[first], order="C"),
        z=np.array(target.z[first], order="C"),
    )
