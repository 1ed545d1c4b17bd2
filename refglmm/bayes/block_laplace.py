r"""Random effects integrated out by Laplace's method where residuals are correlated within blocks.

Place in the reading order: after ``laplace``, whose :class:`.Marginal` it stands in for: the information about eta is a
block matrix W here, not a diagonal one. With A = Z Lambda and the mode u~ of the joint density f(t, u),

.. math:: \log p(t \mid y) \approx f(t, \tilde u) + \tfrac q2\log 2\pi - \tfrac12\log|H|,\qquad H = I + A'WA

which is exact for normal residuals (and lognormal ones), where W = P = V^{-1} does not depend on u. For a
multivariate t, with m rows in the block, Q = e'Pe, :math:`\kappa = (\nu+m)/(\nu+Q)` and the score
:math:`s = \kappa P e`,

.. math:: W = \kappa P - \tfrac{2}{\nu+m} s s',\qquad E(W) = \tfrac{\nu+m}{\nu+m+2} P .

The mode is found by Newton steps on f, whose slopes the target has, with E(W) where W makes no positive definite H.
P needs no formulas of its own: it is linear in the score of normal residuals, so as many calls of the kernel as the
largest block has rows, each with y one for one row of every block and zero elsewhere, give all its columns.

Since f is stationary in u, the gradient of the density is :math:`\partial f/\partial t` at u~ less half the slope of
log|H|, which is taken by fourth-order differences.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from refglmm._jit import kernel
from refglmm.bayes.laplace import Marginal, difference_columns, log_jacobian
from refglmm.bayes.shrinkage import DIRECT
from refglmm.errors import NotPositiveDefiniteError
from refglmm.likelihood.cholesky import BuiltinCholesky, Pattern
from refglmm.optimize.starts import start_shape

FloatArray = NDArray[np.float64]

#: Newton decrement (twice the expected increase of f) at which the mode is found, and steps to get there.
DECREMENT = 1e-16
MAX_STEPS = 100
#: Size of a change of the hyperparameters, for differences.
SIZE = 0.3


@kernel
def sandwich(W, indptr, columns, A, scatter, H):
    """Add A'WA to H, filled in place; ``scatter`` says where each product goes, -1 for the upper triangle."""
    r = A.shape[1]
    for i in range(A.shape[0]):
        for at in range(indptr[i], indptr[i + 1]):
            for a in range(r):
                left = A[i, a] * W[at]
                for b in range(r):
                    to = scatter[at, a * r + b]
                    if to >= 0:
                        H[to] += left * A[columns[at], b]


def _pattern(z_at: Any, columns: Any, indptr: Any, q: int) -> tuple[Pattern, NDArray[np.int64]]:
    """Pattern of the lower triangle of I + A'WA, and where in it each product of :func:`sandwich` goes."""
    rows = z_at[np.repeat(np.arange(indptr.size - 1), np.diff(indptr))].astype(np.int64)
    row, column = np.broadcast_arrays(rows[:, :, None], z_at[columns].astype(np.int64)[:, None, :])
    key, diagonal = column * q + row, np.arange(q) * (q + 1)
    keys = np.union1d(diagonal, key[row >= column])
    scatter = np.where(row >= column, np.searchsorted(keys, key), -1).reshape(len(columns), -1)
    starts = np.searchsorted(keys, diagonal)
    pattern = Pattern(np.append(starts, keys.size).astype(np.int32), (keys % max(q, 1)).astype(np.int32), q)
    return pattern, np.ascontiguousarray(scatter)


class BlockMarginal(Marginal):
    """As :class:`.Marginal`, for a posterior with ``residuals``."""

    residuals: Any

    def prepare(self) -> None:
        """Where the elements of P and of H stand, and the posterior in spherical random effects."""
        posterior = self.posterior
        self.spherical = posterior.with_exponent(None) if np.any(posterior.exponent) else posterior
        self.residuals = posterior.residuals
        self.block = self.residuals.rows.block
        starts = np.flatnonzero(np.diff(self.block, prepend=-1))
        self.sizes = np.diff(np.append(starts, self.block.size))
        lengths, steps = self.sizes[self.block], np.arange(self.sizes.max())
        self.place = np.arange(self.block.size) - starts[self.block]
        self.filled = steps < lengths[:, None]
        self.columns = (starts[self.block][:, None] + steps)[self.filled]
        self.indptr = np.concatenate([[0], np.cumsum(lengths)])
        self.pattern, self.scatter = _pattern(posterior.target.z_at, self.columns, self.indptr, self.problem.q)
        self.cholesky = BuiltinCholesky(self.pattern, self.pattern.ordered)
        self.u = np.zeros(self.problem.q)

    # -- value and gradient ------------------------------------------------------------------------------------

    def _value_and_gradient(self, hyper: FloatArray) -> tuple[float, FloatArray]:
        nowhere = -np.inf, np.full(hyper.size, np.nan)
        try:
            u, value, gradient = self.mode(hyper)
            log_det, self.u = self.log_det(hyper, u), u
            slopes = difference_columns(self._log_det_at, hyper, self._sizes(hyper))
        except NotPositiveDefiniteError:
            return nowhere
        value += 0.5 * (self.problem.q * np.log(2.0 * np.pi) - log_det)
        gradient = gradient[: hyper.size] - 0.5 * slopes[0]
        if not self.jacobian:
            change, slope = log_jacobian(self.posterior, hyper)
            value, gradient = value - change, gradient - slope
        return (value, gradient) if np.isfinite(value) and np.all(np.isfinite(gradient)) else nowhere

    def _sizes(self, hyper: FloatArray) -> FloatArray:
        """Natural sizes of changes of the hyperparameters; those of fixed effects in units of the first sigma."""
        posterior, X = self.posterior, self.problem.X
        sizes = np.full(len(posterior.scalars), SIZE)
        if posterior.target.slope_kind[0] == DIRECT:
            sigma = posterior.natural(hyper[None])[3][0, 0]
            sizes[posterior.block("fixed")] *= sigma / np.sqrt(np.mean(X * X, axis=0))
        return sizes[[scalar.fixed is None for scalar in posterior.scalars]]

    def value(self, hyper: FloatArray) -> float:
        """Log density alone; -inf where no mode of the random effects is found."""
        hyper = np.ascontiguousarray(hyper, dtype=np.float64)
        try:
            with np.errstate(all="ignore"):
                u, value, _ = self.mode(hyper)
                value += 0.5 * (self.problem.q * np.log(2.0 * np.pi) - self.log_det(hyper, u))
        except NotPositiveDefiniteError:
            return -np.inf
        value -= 0.0 if self.jacobian else self.log_jacobian(hyper)
        return value if np.isfinite(value) else -np.inf

    def _log_det_at(self, hyper: FloatArray) -> FloatArray:
        return np.array([self.log_det(hyper, self.mode(hyper)[0] if self.residuals.is_student else self.u)])

    # -- mode of the random effects ------------------------------------------------------------------------------

    def mode(self, hyper: FloatArray) -> tuple[FloatArray, float, FloatArray]:
        """Mode of u given the hyperparameters, log joint density there, and its gradient in the position.

        Raises
        ------
        NotPositiveDefiniteError
            No number, or no convergence.
        """
        u = self.u.copy()
        value, gradient = self._joint(hyper, u)
        if not np.isfinite(value):
            u = np.zeros(u.size)
            value, gradient = self._joint(hyper, u)
        for _ in range(MAX_STEPS):
            g = gradient[hyper.size :]
            step = self.factor(hyper, u, expected=True).solve(g) if u.size else g
            if not np.isfinite(value) or not g @ step > DECREMENT * (1.0 + abs(value)):
                break
            if self.residuals.is_student:
                step = self._newton_step(hyper, u, g, step)
            u, value, gradient, improved = self._search(hyper, u, value, gradient, step)
            if not improved:
                break
        if not np.isfinite(value):
            raise NotPositiveDefiniteError("the joint density has no value at these hyperparameters")
        return u, value, gradient

    def _newton_step(self, hyper: FloatArray, u: FloatArray, g: FloatArray, otherwise: FloatArray) -> FloatArray:
        """H^-1 g where H is positive definite."""
        try:
            return self.factor(hyper, u).solve(g)
        except NotPositiveDefiniteError:
            return otherwise

    def _search(
        self, hyper: FloatArray, u: FloatArray, value: float, gradient: FloatArray, step: FloatArray
    ) -> tuple[FloatArray, float, FloatArray, bool]:
        """The whole step or a part of it that does not lower the density; False where there is none."""
        for _ in range(30):
            new_value, new_gradient = self._joint(hyper, u + step)
            if new_value >= value:
                return u + step, new_value, new_gradient, new_value > value
            step = 0.5 * step
        return u, value, gradient, False

    def _joint(self, hyper: FloatArray, u: FloatArray) -> tuple[float, FloatArray]:
        return self.spherical.value_and_gradient(np.concatenate([hyper, u]))

    # -- curvature -------------------------------------------------------------------------------------------------

    def log_det(self, hyper: FloatArray, u: FloatArray) -> float:
        """log|H| at u."""
        return self.factor(hyper, u).logdet() if u.size else 0.0

    def factor(self, hyper: FloatArray, u: FloatArray, expected: bool = False) -> BuiltinCholesky:
        """Cholesky factor of H at u (with the expected W of a t, if asked for); overwritten by the next one."""
        self.cholesky.refactor(self.precision(hyper, u, expected))
        return self.cholesky

    def precision(self, hyper: FloatArray, u: FloatArray, expected: bool = False) -> FloatArray:
        """Elements of the lower triangle of H = I + A'WA on its pattern."""
        _, _, TT, PHI = self.posterior.natural(hyper[None])
        W, A = self._information(hyper, u, PHI[0], expected), self._effects_matrix(TT[0])
        H = np.zeros(self.pattern.indices.size)
        H[self.pattern.indptr[:-1]] = 1.0
        sandwich(W, self.indptr, self.columns, A, self.scatter, H)
        return H

    def _effects_matrix(self, T: FloatArray) -> FloatArray:
        """Nonzeros of A = Z Lambda, rows in the kernel's order, at the columns of Z: z'T for each term."""
        layout, z, at = self.problem.layout, self.posterior.target.z, 0
        A = np.empty(z.shape)
        for k, start in zip(layout.k, layout.T_start, strict=True):
            A[:, at : at + k] = z[:, at : at + k] @ T[start : start + k * k].reshape(k, k)
            at += k
        return A

    def _information(self, hyper: FloatArray, u: FloatArray, phi: FloatArray, expected: bool) -> FloatArray:
        """Elements of W, by rows of the blocks."""
        normal = phi.copy()
        n_sd = len(self.residuals.cells)
        if self.residuals.is_student:
            normal[n_sd] = np.inf
        P = self._inverse_covariance(normal)
        if not self.residuals.is_student:
            return P[self.filled]
        m, nu = self.sizes[self.block], phi[n_sd]
        if expected:
            return (P * ((nu + m) / (nu + m + 2.0))[:, None])[self.filled]
        eta = self.spherical.eta(np.concatenate([hyper, u])[None])[0, self.residuals.order]
        w = self._score(self.residuals.rows.y, eta, normal)
        Q = np.bincount(self.block, w * (self.residuals.rows.y - eta))[self.block]
        kappa = (nu + m) / (nu + Q)
        s = kappa * w
        elements = np.repeat(s * 2.0 / (nu + m), m) * s[self.columns]
        return (P * kappa[:, None])[self.filled] - elements

    def _inverse_covariance(self, normal: FloatArray) -> FloatArray:
        """P: its element (i, j-th row of the block of i) at [i, j]."""
        eta = np.zeros(self.block.size)
        columns = [self._score((self.place == j).astype(float), eta, normal) for j in range(self.sizes.max())]
        return np.column_stack(columns)

    def _score(self, y: FloatArray, eta: FloatArray, phi: FloatArray) -> FloatArray:
        """dl/deta of each row."""
        s, d_phi = np.empty(eta.size), np.empty(phi.size)
        self.residuals.log_likelihood(self.residuals.rows._replace(y=y), eta, phi, s, d_phi)
        return s

    # -- for the fit -------------------------------------------------------------------------------------------------

    def start_shapes(self, eta: FloatArray) -> FloatArray:
        """Standard deviations and nu as the family alone would start, and correlations."""
        family, start = self.problem.family, start_shape(self.problem, eta)
        sigma = np.sqrt(start[0]) if family.name == "gaussian" else start[0]
        nu = [start[1]] if self.residuals.is_student else []
        return np.array([*([sigma] * len(self.residuals.cells)), *nu, *self.residuals.start])

    def random_part(self, hyper: FloatArray, sd: FloatArray) -> tuple[FloatArray, FloatArray, Any]:
        """As in :class:`.Marginal`."""
        from scipy.sparse import csc_array, tril

        self.u = self.mode(hyper)[0]
        u = self.u.copy()
        sizes = np.minimum(sd, self._sizes(hyper))  # at a standard deviation of zero sd is very large
        slope = difference_columns(lambda t: self.mode(t)[0], hyper, sizes)
        lower = csc_array((self.precision(hyper, u), self.pattern.indices, self.pattern.indptr), shape=(u.size, u.size))
        return u, slope, csc_array(lower + tril(lower, -1).T)
