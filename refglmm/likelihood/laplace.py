r"""The Laplace approximation to the deviance, its n_agq = 0 relative, and their exact gradients.

Place in the reading order: after ``pirls``, before ``agq``.

.. math:: D(\psi) = -2 g(\tilde u) + \log|H|,\qquad \psi = (\theta, \beta, \phi)

H holds the observed second derivative (the true Laplace term) or, on request, the expected one; they are equal
for canonical links. No (q/2) log 2 pi stands in D: it cancels against the normal density of u (errata E2).

Gradient. u~ moves with psi, but g is stationary there, so only log|H| feels it. With
:math:`v_i = [M H^{-1} M']_{ii}`, t the derivative of the weight that stands in H, :math:`c = M'(t v)`,
:math:`a = H_{obs}^{-1} c` and :math:`r = -2s + t v - h\,(M a)`:

.. math::
    dD/d\beta &= X' r \\
    dD/d\theta_k &= e_k' r + 2\,tr(H^{-1} M_k' W M) + s' M_k a,
    \quad M_k = Z\,d\Lambda/d\theta_k,\; e_k = M_k \tilde u \\
    dD/d\phi &= -2\sum dl/d\phi + \sum v\, dW/d\phi + (M a)' ds/d\phi

n_agq = 0 maximises g over (u, beta) together and keeps the same value. There beta moves with psi as well: c gets
a beta part X'(t v), a is solved from the joint Hessian of (u, beta), and M a becomes M a_u + X a_beta.

All theta parts are sums over levels of outer products, so they are first formed as dD/dT_t, one small matrix a
term, and then chained to the parameters of whatever structure the term has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refglmm.errors import NotPositiveDefiniteError, PirlsError
from refglmm.families.kernel import L_PHI, shape_rows
from refglmm.likelihood import layout as rows
from refglmm.likelihood.pirls import Pirls
from refglmm.likelihood.state import Mode

FloatArray = NDArray[np.float64]

#: Newton decrement up to which a point counts as being on the curve of the modes, and the steps taken back to it.
CLOSE, MAX_CORRECTIONS = 1e-12, 5
#: Step of differences in correlations and logarithms of shapes.
DIFFERENCE = 1e-4


def differences(gradient: Callable[[FloatArray], FloatArray], x: FloatArray) -> FloatArray:
    """Jacobian of a cheap and smooth gradient in coordinates of order one, by central differences, symmetrised."""
    columns = [(gradient(x + step) - gradient(x - step)) / (2.0 * DIFFERENCE) for step in DIFFERENCE * np.eye(x.size)]
    jacobian = np.array(columns).reshape(x.size, x.size)
    return 0.5 * (jacobian + jacobian.T)


class _LaplaceBase:
    """What the two objectives share: the PIRLS engine, log|H| and its derivative in u, T and phi.

    ``one_sided``: the Hessian takes one-sided differences, because a gradient costs much.
    """

    one_sided = False

    def __init__(self, pirls: Pirls, curvature: str = "observed") -> None:
        self.problem, self.pirls = pirls.problem, pirls
        self.curvature = curvature
        self.last_error: Exception | None = None
        self._settled: tuple[int, bytes] | None = None
        self._value = np.inf
        self._observed: Any = None
        if curvature == "expected" and not self.problem.family.is_canonical:
            self._observed = self.problem.layout.make_factor(pirls.engine)

    def value(self, psi: FloatArray) -> float:
        """D(psi); inf where the mode cannot be found (the reason is kept in ``last_error``)."""
        try:
            return self._evaluate(psi)
        except (PirlsError, NotPositiveDefiniteError) as error:
            self.last_error = error
            return np.inf

    def value_and_gradient(self, psi: FloatArray) -> tuple[float, FloatArray]:
        """D(psi) and dD/dpsi; (inf, nan) where the mode cannot be found, nan on the edge of the link's domain."""
        value = self.value(psi)
        if np.isfinite(value):
            try:
                return value, self._gradient(psi)
            except NotPositiveDefiniteError as error:
                self.last_error = error
        return value, np.full(psi.size, np.nan)

    def mode(self, psi: FloatArray) -> Mode:
        """The consistent state at psi."""
        self._evaluate(psi)
        return self.pirls.mode()

    def fixed_root(self, psi: FloatArray) -> FloatArray:
        """RX at psi."""
        self._evaluate(psi)
        self.pirls.factor_fixed()
        return self.pirls.rx.copy()

    def _evaluate(self, psi: FloatArray) -> float:
        """D(psi) and the state there, unless PIRLS still is in the state where this objective left it at psi."""
        settled = self._settled == (self.pirls.searches, psi.tobytes())
        if not settled:
            self._find_mode(psi)
        self.pirls.use_curvature(self.curvature)
        if not settled:
            self._value = self._integral()
            self._settled = self.pirls.searches, psi.tobytes()
        return self._value

    def _find_mode(self, psi: FloatArray) -> None:
        """Bring PIRLS to the mode at psi."""
        raise NotImplementedError

    def _integral(self) -> float:
        """D from the state of PIRLS."""
        return -2.0 * self.pirls.value + self.pirls.factor.logdet()

    def _gradient(self, psi: FloatArray) -> FloatArray:
        """dD/dpsi from the state of PIRLS."""
        raise NotImplementedError

    def _logdet_pieces(self) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """At the mode: v, t v, the gradient matrices 2 tr(H^-1 dL'CL) as 2 A, and c = M'(t v)."""
        pirls, lay = self.pirls, self.problem.layout
        weights, t = pirls.use_curvature(self.curvature)
        A, c = np.zeros(lay.T_size), np.empty(lay.q)
        v, tv = np.empty_like(weights), np.empty_like(pirls.eta)
        lay.logdet_derivatives(pirls.factor.selected_inverse(), t, pirls.T, pirls.C, A, v, tv, c)
        return v, tv, 2.0 * A, c

    def _chain(
        self, a: FloatArray, fixed: FloatArray, s: FloatArray, tv: FloatArray, d_T: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """M a, r, and dD/dT: the trace part given, plus sum (Z'r) u' + (Z's) a' over levels.

        ``fixed`` is added to M a (the part of X that moves with psi in n_agq = 0). ``s`` stands in r: the score, or
        zeros for the gradient of log|H| alone.
        """
        pirls = self.pirls
        Ma, r = np.empty_like(pirls.eta), np.empty_like(pirls.eta)
        self.problem.layout.total_derivatives(
            a, fixed, s, pirls.out[pirls.rows.h], tv, pirls.u, pirls.zts, pirls.T, Ma, r, d_T
        )
        return Ma, r, d_T

    def _chain_phi(self, phi: FloatArray, v: FloatArray, Ma: FloatArray, whole: bool = True) -> FloatArray:
        """The gradient of D, or (not ``whole``) of log|H| alone, in log phi, one shape parameter after the other."""
        problem, at = self.problem, shape_rows(self.problem.n_parts)
        weight = at.w if self.curvature == "expected" else at.h
        gradient, scale = np.empty(problem.n_phi), problem.shape_slope(phi)
        for j in range(problem.n_phi):
            out = self._observe_shape(phi, j)
            slope = np.vdot(v, out[weight]) + np.vdot(Ma, out[at.s])
            if whole:
                slope -= 2.0 * out[L_PHI].sum()
            gradient[j] = scale[j] * slope
        return gradient

    def _observe_shape(self, phi: FloatArray, j: int) -> FloatArray:
        """Derivatives of the rows in the j-th shape parameter, at the linear predictor of the mode."""
        problem, out = self.problem, np.empty((shape_rows(self.problem.n_parts).size, self.problem.n))
        problem.family.observe_shape(problem.y, self.pirls.eta, problem.weights, phi, j, out)
        return out

    def _observed_factor(self) -> Any:
        """Factor of the observed Hessian in u (the implicit-function theorem wants that one)."""
        if self._observed is None:
            return self.pirls.factor
        pirls, lay = self.pirls, self.problem.layout
        C, values = np.empty_like(pirls.C), np.empty_like(pirls.H)
        lay.normal_matrix(pirls.out[pirls.rows.h], pirls.T, C, values)
        self._observed.refactor(values)
        return self._observed


class LaplaceObjective(_LaplaceBase):
    """D(psi), psi = (par, beta, log phi): value, exact gradient, and the mode behind them.

    Starts each PIRLS at the previous mode. ``value`` is ``inf`` where the mode cannot be found, so that a
    derivative-free optimiser can step back; the reason is kept in ``last_error``.
    """

    name = "Laplace"

    def __init__(self, pirls: Pirls, curvature: str = "observed") -> None:
        super().__init__(pirls, curvature)
        self.u = pirls.u

    @property
    def names(self) -> tuple[str, ...]:
        """Names of psi."""
        return self.problem.names

    def parameters(self, psi: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(par, beta, phi) at psi."""
        return self.problem.split(psi)

    @property
    def mode_here(self) -> tuple[FloatArray, ...]:
        """The mode at the last evaluation, for :meth:`resume`."""
        return (self.u,)

    def resume(self, start: tuple[FloatArray, ...]) -> None:
        """Let the next search for a mode start at one found before."""
        (self.u,) = start

    def _find_mode(self, psi: FloatArray) -> None:
        self.pirls.find_mode(*self.problem.split(psi), self.u)
        self.u = self.pirls.u

    def _gradient(self, psi: FloatArray) -> FloatArray:
        """dD/dpsi from the state of PIRLS."""
        return self._gradient_of(psi, whole=True)

    def _gradient_of(self, psi: FloatArray, whole: bool) -> FloatArray:
        """The gradient of D, or of log|H| alone."""
        problem, pirls = self.problem, self.pirls
        par, _, phi = problem.split(psi)
        v, tv, d_T, c = self._logdet_pieces()
        if whole:  # -2g moves with what PIRLS left over too: to second order this is its gradient at the mode
            c -= 2.0 * pirls.gradient
        a = self._observed_factor().solve_rows(c[None])[0]
        s = pirls.out[pirls.rows.s] if whole else problem.zeros
        Ma, r, d_T = self._chain(a, problem.zeros, s, tv, d_T)
        d_beta = problem.transpose_times(r)
        return np.concatenate([problem.chain_to_par(par, d_T), d_beta, self._chain_phi(phi, v, Ma, whole)])

    def _to_difference(self, psi: FloatArray) -> FloatArray:
        """Gradient, from the state of PIRLS, of what :meth:`exact_curvature` leaves out: log|H|."""
        return self._gradient_of(psi, whole=False)

    def gradient_nearby(self, psi: FloatArray) -> Callable[[FloatArray], FloatArray]:
        r"""The gradient of log|H| as a function that may be differenced at ``psi``, without a search for modes.

        Its formulas hold at the mode; taken at :math:`\tilde u + (d\tilde u/d\psi)\,\delta` instead, they have the
        same derivative in delta = 0, because that curve touches the true one. (Where the integrand is so narrow that
        the curve leaves it within a step, Newton steps lead back.) The function gives nan outside the domain.
        """
        self._evaluate(psi)
        u, slope = self.u, self.mode_slope(psi)

        def gradient(x: FloatArray) -> FloatArray:
            try:
                here = u + slope @ (x - psi)
                for _ in range(MAX_CORRECTIONS):
                    self.pirls.place(*self.problem.split(x), here, self.curvature)
                    step, decrement = self.pirls.newton_step()
                    if decrement < CLOSE:
                        break
                    here = here + step
                return self._to_difference(x)
            except (PirlsError, NotPositiveDefiniteError):
                return np.full(x.size, np.nan)

        return gradient

    def exact_curvature(self, psi: FloatArray, basis: FloatArray) -> FloatArray:
        """What differences of :meth:`gradient_nearby` leave out of the Hessian, see :meth:`mode_curvature`."""
        return self.mode_curvature(psi, basis)

    def mode_curvature(self, psi: FloatArray, basis: FloatArray) -> FloatArray:
        r"""B'CB with C the Hessian of :math:`-2g(\tilde u(\psi), \psi)` at the last evaluation, exact.

        .. math:: C = -2\,(g_{\psi\psi} + g_{\psi u}\,d\tilde u/d\psi)

        With A the derivative of eta in (theta, beta), :math:`[e, X]`, :math:`g_{\psi\psi}` is :math:`-A'hA`, plus
        :math:`s'Z\,d^2\Lambda_{kl}\tilde u` for theta and what moves with phi. The former and :math:`d^2l/d\phi^2` are
        differences of their first derivatives. The columns of B (``basis``) enter before anything is squared, so that
        collinear columns of X do not cost digits twice.
        """
        problem, p, n_par = self.problem, self.problem.p, self.problem.n_par
        par, _, phi = problem.split(psi)
        sides, e = self._slope_sides(psi)
        A = e.reshape(n_par, problem.n * problem.n_parts).T @ basis[:n_par] + problem.times(basis[n_par : n_par + p])
        sides = basis.T @ sides
        hA = self._weighed(A.T.reshape(A.shape[1], *problem.eta_shape))
        curvature = sides @ self._observed_factor().solve_rows(sides).T - hA @ A
        at, scale = shape_rows(problem.n_parts), problem.shape_slope(phi)
        for j, row in enumerate(basis[n_par + p :]):
            mixed = np.outer(row, scale[j] * self._observe_shape(phi, j)[at.s].ravel() @ A)
            curvature += mixed + mixed.T
        for part, own in (
            (basis[:n_par], self._factor_curvature(par)),
            (basis[n_par + p :], self._shape_curvature(psi[n_par + p :])),
        ):
            curvature += part.T @ own @ part
        return -2.0 * curvature

    def _factor_curvature(self, par: FloatArray) -> FloatArray:
        r""":math:`s'Z\,d^2\Lambda_{kl}\tilde u`: zero where Lambda is linear in par."""
        problem, lay, pirls = self.problem, self.problem.layout, self.pirls
        if problem.constant_slopes is not None:
            return np.zeros((par.size, par.size))
        G = np.zeros(lay.T_size)
        rows.level_outer(lay.k, lay.T_start, lay.levels, pirls.zts, pirls.u, G)
        return differences(lambda x: problem.chain_to_par(x, G), par)

    def _shape_curvature(self, log_phi: FloatArray) -> FloatArray:
        """Second derivatives of the summed log densities in log phi, at the linear predictor of the mode."""

        def slopes(x: FloatArray) -> FloatArray:
            phi = self.problem.shape_from(x)
            sums = [self._observe_shape(phi, j)[L_PHI].sum() for j in range(x.size)]
            return self.problem.shape_slope(phi) * np.array(sums)

        return differences(slopes, log_phi)

    def mode_slope(self, psi: FloatArray) -> FloatArray:
        r"""How the mode moves with psi: du/dpsi, shape (q, number of parameters), at the last evaluation.

        Implicit differentiation of M's = u: :math:`H_{obs}\,du/d\beta = -M'hX`,
        :math:`H_{obs}\,du/d\theta_k = M_k's - M'(h\,e_k)`, :math:`H_{obs}\,du/d\log\phi = \phi M' ds/d\phi`.
        """
        return self._observed_factor().solve_rows(self._slope_sides(psi)[0]).T

    def _slope_sides(self, psi: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Right-hand sides of :meth:`mode_slope`, a row for each parameter, and e_k for each covariance parameter."""
        problem, pirls, lay = self.problem, self.pirls, self.problem.layout
        par, _, phi = problem.split(psi)
        n_par, p = problem.n_par, problem.p
        sides, e = np.empty((psi.size, problem.q)), np.empty((n_par, *problem.eta_shape))
        work, h = np.empty(problem.q), pirls.out[pirls.rows.h]
        for k, d_T in enumerate(problem.factor_derivatives(par)):
            rows.lambda_times(d_T, lay.T_start, lay.k, lay.levels, pirls.u, work)
            lay.rows_times(work, e[k])
            rows.lambda_transpose_times(d_T, lay.T_start, lay.k, lay.levels, pirls.zts, sides[k])
            sides[k] -= self._transpose_times(lay.weigh(h, e[k]), work)
        pirls.cross_fixed(h)
        sides[n_par : n_par + p] = -pirls.LtZtWX
        at, scale = shape_rows(problem.n_parts), problem.shape_slope(phi)
        for j in range(problem.n_phi):
            sides[n_par + p + j] = scale[j] * self._transpose_times(self._observe_shape(phi, j)[at.s], work)
        return sides, e

    def _weighed(self, values: FloatArray) -> FloatArray:
        """The observed information times each of several directions in the linear predictors, as flat rows."""
        problem, h = self.problem, self.pirls.out[self.pirls.rows.h]
        return problem.layout.weigh(h, values).reshape(len(values), problem.n * problem.n_parts)

    def cross_curvature(self, psi: FloatArray) -> FloatArray:
        r""":math:`d^2(-2g)/d\theta\,d\beta` at the last evaluation, shape (n_par, p): 2 e_k'hX - 2 c_k'du/dbeta.

        c_k is the right-hand side of :math:`du/d\theta_k`. What log|H| adds is left out: this is for a first model
        of the Hessian.
        """
        problem = self.problem
        sides, e = self._slope_sides(psi)
        n_par, p = problem.n_par, problem.p
        slope = self._observed_factor().solve_rows(sides[n_par : n_par + p])
        return problem.rows_times_fixed(2.0 * self._weighed(e)) - 2.0 * sides[:n_par] @ slope.T

    def _transpose_times(self, s: FloatArray, work: FloatArray) -> FloatArray:
        """M's as a new array."""
        self.problem.layout.transpose_times(s, work)
        return self.pirls.lambda_transpose_times(work, np.empty(self.problem.q))


class ProfiledObjective(_LaplaceBase):
    """n_agq = 0: D as a function of (par, log phi), beta at its joint mode with u."""

    name = "nAGQ=0"

    def __init__(self, pirls: Pirls, start_beta: FloatArray, curvature: str = "observed") -> None:
        super().__init__(pirls, curvature)
        self.u, self.beta = np.zeros(self.problem.q), start_beta
        self.start_beta = start_beta

    @property
    def names(self) -> tuple[str, ...]:
        """Names of (par, log phi)."""
        return self.problem.par_names + self.problem.shape_labels

    def parameters(self, psi: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(par, beta, phi) at psi, where the objective was evaluated last."""
        par, phi = self._split(psi)
        return par, self.beta, phi

    def _split(self, psi: FloatArray) -> tuple[FloatArray, FloatArray]:
        return psi[: self.problem.n_par], self.problem.shape_from(psi[self.problem.n_par :])

    @property
    def mode_here(self) -> tuple[FloatArray, ...]:
        """The joint mode at the last evaluation, for :meth:`resume`."""
        return self.u, self.beta

    def resume(self, start: tuple[FloatArray, ...]) -> None:
        """Let the next search for a mode start at one found before."""
        self.u, self.beta = start

    def _find_mode(self, psi: FloatArray) -> None:
        pirls = self.pirls
        par, phi = self._split(psi)
        try:
            pirls.find_joint_mode(par, phi, self.u, self.beta)
        except PirlsError:
            pirls.find_joint_mode(par, phi, np.zeros(self.problem.q), self.start_beta)
        self.u, self.beta = pirls.u, pirls.beta

    def _gradient(self, psi: FloatArray) -> FloatArray:
        """dD/d(par, log phi) from the state of PIRLS."""
        problem = self.problem
        par, phi = self._split(psi)
        v, tv, d_T, c = self._logdet_pieces()
        a, a_beta = self._solve_observed(c, problem.transpose_times(tv))
        moved = problem.times(a_beta).reshape(problem.eta_shape)
        Ma, _, d_T = self._chain(a, moved, self.pirls.out[self.pirls.rows.s], tv, d_T)
        return np.concatenate([problem.chain_to_par(par, d_T), self._chain_phi(phi, v, Ma)])

    def gradient_nearby(self, psi: FloatArray) -> Callable[[FloatArray], FloatArray]:
        """The gradient as a function that may be differenced at ``psi``: here simply the gradient."""
        return lambda x: self.value_and_gradient(x)[1]

    def exact_curvature(self, psi: FloatArray, basis: FloatArray) -> FloatArray:
        """What differences of :meth:`gradient_nearby` leave out of the Hessian: nothing."""
        return np.zeros((psi.size, psi.size))

    def _solve_observed(self, c: FloatArray, c_beta: FloatArray) -> tuple[FloatArray, FloatArray]:
        """(a, a_beta) from the joint observed Hessian of (u, beta)."""
        pirls = self.pirls
        if self._observed is not None:
            pirls.use_curvature("observed")
        pirls.factor_fixed()
        return pirls.solve_joint(c, c_beta)
