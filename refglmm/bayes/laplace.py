r"""The posterior with the random effects integrated out by Laplace's method: value, gradient, mode, curvature.

Place in the reading order: after ``posterior`` and ``whiten``, in whose terms its curvature is a sampler's metric;
``map`` maximises it.

With D(psi) of ``likelihood.laplace``, psi = (par, beta, working phi) a function of the hyperparameters t,

.. math:: \log p(t \mid y) \approx -\tfrac12 D(\psi(t)) + \log p(x(t)) + \log|dx/dt| .

Exact for a Gaussian response with identity link. At its mode t*, with covariance C C' (inverse of minus the Hessian),
mode u~(t) of the random effects, :math:`J = du~/dt` and precision :math:`H = LL'`, the joint Laplace approximation is

.. math:: t = t^* + C\xi_t,\qquad u = \tilde u + J(t - t^*) + L^{-\prime}\xi_u,\qquad \xi \sim N(0, I)

(Rue, Martino and Chopin 2009, without the corrections; Margossian et al. 2020 for the gradient.)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refglmm.bayes import whiten
from refglmm.bayes.distributions import Normal
from refglmm.bayes.scalars import ABOVE, IDENTITY, INTERVAL, LAPLACE, to_natural
from refglmm.bayes.shrinkage import DIRECT, JZS
from refglmm.bayes.target import prior_and_chain
from refglmm.errors import ConvergenceWarning, SeparationWarning, warn
from refglmm.likelihood.cholesky import BuiltinCholesky, Pattern
from refglmm.likelihood.laplace import LaplaceObjective
from refglmm.likelihood.pirls import Pirls
from refglmm.optimize.newton import difference_hessian, minimize_newton
from refglmm.optimize.separation import LARGE, can_separate, running_columns
from refglmm.optimize.starts import start_fixed, start_par, start_shape

if TYPE_CHECKING:
    from refglmm.bayes.posterior import Posterior
    from refglmm.bayes.scalar import Scalar

FloatArray = NDArray[np.float64]

#: Natural size of a change of a hyperparameter on its unbounded scale, but for slopes and intercept.
SIZE = 0.3
#: Steps of differences, in natural sizes of the hyperparameters.
STEP = 1e-3
#: Half-widths, in natural sizes, beyond which no step goes.
LARGEST_STEP = 2.0
#: Predicted decrease at which the search stops.
TOLERANCE = 1e-10
MAX_EVALUATIONS = 400
#: Smallest eigenvalue of a scaled Hessian that counts as curvature.
FLAT = 1e-6
#: A number above a bound that falls below this share of its starting distance is at the bound; so is one that is
#: closer than this share of the width to an end of its interval. The search for the mode of natural values, which may
#: be there, ends somewhat farther out (in unconstrained units).
AT_BOUND, FARTHER = 1e-4, 1.0


class Marginal:
    """Log posterior density of the hyperparameters, random effects integrated out by Laplace's method.

    Parameters
    ----------
    posterior : Posterior
    jacobian : bool
        Whether the density is that of the unconstrained t (else of the natural values, at t).
    """

    def __init__(self, posterior: Posterior, jacobian: bool = True) -> None:
        self.posterior, self.jacobian = posterior, jacobian
        self.problem = posterior.problem
        self.prepare()

    def prepare(self) -> None:
        """What values and gradients are made with."""
        self.objective = LaplaceObjective(Pirls(self.problem))
        self.elements = _factor_elements(self.problem)

    def psi(self, hyper: FloatArray) -> FloatArray:
        """(par, beta, working phi) at t."""
        _, B, TT, PHI = self.posterior.natural(hyper[None])
        par = TT[0][self.elements]
        return self.problem.join(par, B[0], PHI[0, : self.problem.n_phi])

    def value_and_gradient(self, hyper: FloatArray) -> tuple[float, FloatArray]:
        """Log density and its gradient; (-inf, nan) where no mode of the random effects is found."""
        with np.errstate(all="ignore"):
            return self._value_and_gradient(np.ascontiguousarray(hyper, dtype=np.float64))

    def _value_and_gradient(self, hyper: FloatArray) -> tuple[float, FloatArray]:
        psi, problem = self.psi(hyper), self.problem
        nowhere = -np.inf, np.full(hyper.size, np.nan)
        if not np.all(np.isfinite(psi)):
            return nowhere
        deviance, slope = self.objective.value_and_gradient(psi)
        if not np.isfinite(deviance):
            return nowhere
        d_par, d_beta, d_work = np.split(-0.5 * slope, [problem.n_par, problem.n_par + problem.p])
        d_T = np.zeros(problem.layout.T_size)
        np.add.at(d_T, self.elements, d_par)
        d_phi = d_work / problem.shape_slope(problem.split(psi)[2])
        gradient = np.empty(hyper.size)
        prior, jacobian = prior_and_chain(
            hyper, gradient, self.posterior.target, d_beta.copy(), d_T, d_phi, self.jacobian
        )
        value = prior - 0.5 * deviance + (jacobian if self.jacobian else 0.0)
        return (value, gradient) if np.isfinite(value) else nowhere

    def value(self, hyper: FloatArray) -> float:
        """Log density alone; -inf where no mode of the random effects is found."""
        with np.errstate(all="ignore"):
            psi = self.psi(np.ascontiguousarray(hyper, dtype=np.float64))
            deviance = self.objective.value(psi) if np.all(np.isfinite(psi)) else np.inf
            if not np.isfinite(deviance):
                return -np.inf
            prior, jacobian = self._prior(hyper)
            value = prior - 0.5 * deviance + (jacobian if self.jacobian else 0.0)
        return value if np.isfinite(value) else -np.inf

    def _prior(self, hyper: FloatArray) -> tuple[float, float]:
        """Log prior of the natural values and log|dx/dt|."""
        gradient, zeros = np.empty(hyper.size), _no_slopes(self.posterior)
        at = np.ascontiguousarray(hyper, dtype=np.float64)
        prior, jacobian = prior_and_chain(at, gradient, self.posterior.target, *zeros, True)
        return float(prior), float(jacobian)

    def log_jacobian(self, hyper: FloatArray) -> float:
        """log|dx/dt| at t."""
        return self._prior(hyper)[1]

    def negative(self, hyper: FloatArray) -> tuple[float, FloatArray]:
        """What a minimiser takes."""
        value, gradient = self.value_and_gradient(hyper)
        return -value, -gradient

    def start(self) -> tuple[FloatArray, FloatArray]:
        """Hyperparameters to start from, and natural sizes of their changes.

        Fixed effects from the link of the data, standard deviations and shapes by moments; everything else at t = 0,
        the middle of an interval.
        """
        posterior, problem = self.posterior, self.problem
        beta, eta = start_fixed(problem)
        values = np.array([_middle(scalar) for scalar in posterior.scalars])
        sizes = np.full(values.size, SIZE)
        fixed = posterior.block("fixed")
        if posterior.target.slope_kind[0] in (DIRECT, JZS):
            spread = problem.X.std(axis=0)
            values[fixed] = beta
            sizes[fixed] = 1.0 / (np.sqrt(problem.n) * np.where(spread > 0, spread, 1.0))
        values[posterior.block("sd")] = np.abs(_sds(problem, start_par(problem, eta)))
        values[posterior.block("shape")] = self.start_shapes(eta)
        hyper = posterior.hyper(_inside(values, posterior))
        free = np.array([scalar.fixed is None for scalar in posterior.scalars])
        return hyper, sizes[free]

    def box(self, start: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Bounds of the search for the mode from a start: natural values may have theirs at a boundary."""
        lower, upper = np.full(start.size, -np.inf), np.full(start.size, np.inf)
        if not self.jacobian:
            lower, upper = edges(self.posterior, self.start()[0])
            lower, upper = lower - FARTHER, upper + FARTHER
        return np.minimum(lower, start), np.maximum(upper, start)

    def start_shapes(self, eta: FloatArray) -> FloatArray:
        """Natural values of the shape parameters to start from."""
        phi = start_shape(self.problem, eta)[: self.problem.n_phi]
        return np.asarray(phi ** (1.0 / self.posterior.target.shape_power), dtype=np.float64)

    def random_part(self, hyper: FloatArray, sizes: FloatArray) -> tuple[FloatArray, FloatArray, Any]:
        """Mode of the spherical random effects at t, its slope in t, and their precision, sparse.

        ``sizes``: natural sizes of changes of t, for differences.
        """
        psi = self.psi(hyper)
        self.objective.value(psi)
        u = self.objective.pirls.u.copy()
        slope = self.objective.mode_slope(psi) @ difference_columns(self.psi, hyper, sizes)
        return u, slope, _symmetric(self.objective.pirls.H, self.problem.layout)


def edges(posterior: Posterior, first: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Unconstrained values beyond which a number is at a bound of its natural value; ``first`` is a start."""
    scale = np.array([scalar.scale for scalar in posterior.scalars if scalar.fixed is None])
    end = -np.log(AT_BOUND)
    lower = np.where(scale == ABOVE, first - end, np.where(scale == INTERVAL, -end, -np.inf))
    return lower, np.where(scale == INTERVAL, end, np.inf)


def marginal_of(posterior: Posterior, jacobian: bool = True) -> Marginal:
    """The marginal density of a posterior, by the method that its residuals call for."""
    if posterior.residuals is None:
        return Marginal(posterior, jacobian)
    from refglmm.bayes.block_laplace import BlockMarginal

    return BlockMarginal(posterior, jacobian)


def _no_slopes(posterior: Posterior) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Slopes in fixed effects, T and shape parameters of nothing."""
    n_shape = posterior.target.shape_power.size
    return np.zeros(posterior.problem.p), np.zeros(posterior.problem.layout.T_size), np.zeros(n_shape)


def log_jacobian(posterior: Posterior, hyper: FloatArray) -> tuple[float, FloatArray]:
    """log|dx/dt| at t, and its gradient."""
    target, hyper = posterior.target, np.ascontiguousarray(hyper)
    slopes = []
    for flag in (True, False):
        slopes.append(np.empty(hyper.size))
        value = prior_and_chain(hyper, slopes[-1], target, *_no_slopes(posterior), flag)[1]
    return float(value), slopes[0] - slopes[1]


def _factor_elements(problem: Any) -> NDArray[np.int64]:
    """Where each covariance parameter stands among the entries of all T: par is made of such entries."""
    elements = [np.empty(0, dtype=np.int64)]
    for start, structure in zip(problem.layout.T_start, problem.structures, strict=True):
        r, c = structure.theta_entries
        elements.append(start + r * structure.k + c)
    return np.concatenate(elements)


def _sds(problem: Any, par: FloatArray) -> FloatArray:
    """Standard deviations of all columns of all terms at par."""
    pieces = []
    for structure, part in zip(problem.structures, problem.par_slices, strict=True):
        T = structure.factor(par[part])
        pieces.append(np.sqrt(np.sum(T * T, axis=1)))
    return np.concatenate([*pieces, np.empty(0)])


def _middle(scalar: Scalar) -> float:
    """Natural value at t = 0."""
    return float(to_natural(scalar.scale, 0.0, scalar.low, scalar.high)[0])


def _inside(values: FloatArray, posterior: Posterior) -> FloatArray:
    """Natural values pulled off the bounds of their scales.

    Ordered thresholds stay as they are: the bounds of their scalars are those of the gaps between them.
    """
    values = values.copy()
    for j, scalar in enumerate(posterior.scalars):
        if posterior.priors.ordered and scalar.block == "shape":
            continue
        if np.isfinite(scalar.low) and not values[j] > scalar.low:
            values[j] = scalar.low + 0.1
        if np.isfinite(scalar.high) and np.isfinite(scalar.low):
            edge = (0.02 if scalar.block == "corr" else 1e-4) * (scalar.high - scalar.low)
            values[j] = min(max(values[j], scalar.low + edge), scalar.high - edge)
    return values


@dataclass(frozen=True)
class LaplaceFit:
    """Mode of the marginal density of the hyperparameters, and the joint Gaussian approximation around it.

    Attributes
    ----------
    hyper : float array, shape (n_hyper,)
        Mode, unconstrained.
    covariance, root : float array, shape (n_hyper, n_hyper)
        Inverse of minus the Hessian of the log density, and its lower Cholesky factor C.
    u, slope : float array, shape (q,) and (q, n_hyper)
        Mode of the random effects (as they stand in a position) there, and how it moves with the hyperparameters.
    precision : sparse array, shape (q, q)
        Precision of the random effects at the mode.
    factor : BuiltinCholesky
        Of the precision of the random effects at the mode; ``factor.L()`` and ``factor.perm``.
    log_density : float
        Log marginal density at the mode.
    log_marginal : float
        Laplace's log marginal likelihood.
    converged : bool
    message : str
    n_evaluations : int
    """

    hyper: FloatArray
    covariance: FloatArray
    root: FloatArray
    u: FloatArray
    slope: FloatArray
    precision: Any
    factor: BuiltinCholesky
    log_density: float
    log_marginal: float
    converged: bool
    message: str
    n_evaluations: int

    def __repr__(self) -> str:
        kind = "converged" if self.converged else f"NOT CONVERGED: {self.message}"
        return f"LaplaceFit({self.hyper.size} parameters, {self.u.size} random effects, {kind})"

    @property
    def position(self) -> FloatArray:
        """The mode as a position."""
        return np.concatenate([self.hyper, self.u])


def find_mode(marginal: Marginal, start: FloatArray, sizes: FloatArray) -> tuple[Any, FloatArray]:
    """Maximise the density from a start; return the minimum of its negative and minus the Hessian there."""
    unbounded = np.full(start.size, np.inf)
    lower, upper = marginal.box(start)

    def gradient(hyper: FloatArray) -> FloatArray:
        return marginal.negative(hyper)[1]

    def curvature(at: FloatArray, size: FloatArray) -> FloatArray:
        return difference_hessian(gradient, at, np.diag(STEP * size), -unbounded, unbounded)

    first = _positive(curvature(start, sizes), sizes)
    minimum, _ = minimize_newton(
        marginal.negative,
        start,
        lower,
        upper,
        hessian=first,
        tolerance=TOLERANCE,
        max_evaluations=MAX_EVALUATIONS,
        largest_step=LARGEST_STEP * np.maximum(sizes, 0.5 / np.sqrt(np.diag(first))),
    )
    H = _positive(curvature(minimum.x, sizes), sizes)
    return minimum, curvature(minimum.x, 1.0 / np.sqrt(np.diag(H)))


def _positive(H: FloatArray, sizes: FloatArray) -> FloatArray:
    """A positive-definite matrix near a Hessian: eigenvalues, in natural sizes, by their absolute values."""
    if not np.all(np.isfinite(H)):
        return np.diag(1.0 / sizes**2)
    scaled = H * np.outer(sizes, sizes)
    values, vectors = np.linalg.eigh(scaled)
    values = np.maximum(np.abs(values), FLAT * max(1.0, np.abs(values).max()))
    return (vectors * values) @ vectors.T / np.outer(sizes, sizes)


def smoothed(posterior: Posterior) -> Posterior:
    """The posterior with a normal prior, of the same mean and variance, in place of each double-exponential one.

    The kink of the latter has no curvature, and often is the mode: as a metric, or a proposal, it would be useless.
    """
    scalars = [_smooth(scalar) for scalar in posterior.scalars]
    if all(new is old for new, old in zip(scalars, posterior.scalars, strict=True)):
        return posterior
    return posterior.with_priors(replace(posterior.priors, scalars=tuple(scalars)))


def _smooth(scalar: Scalar) -> Scalar:
    if scalar.fixed is not None or scalar.prior.code != LAPLACE:
        return scalar
    mean, scale = scalar.prior.hyper[:2]
    return replace(scalar, prior=Normal(mean, np.sqrt(2.0) * scale).truncated(scalar.low, scalar.high))


def laplace_fit(posterior: Posterior, jacobian: bool = True) -> LaplaceFit:
    """Mode and curvature of the marginal density of the hyperparameters, from a start that the data give.

    That of the unconstrained ones (``jacobian``) is to draw with: it is the mode of the :func:`smoothed` posterior.

    Warns
    -----
    ConvergenceWarning
        The search ended before the predicted increase was negligible, or the density has no curvature in a direction.
    SeparationWarning
        Fixed effects without a proper prior run away.
    """
    marginal = marginal_of(smoothed(posterior) if jacobian else posterior, jacobian)
    start, sizes = marginal.start()
    return recentred(fit_at(marginal, *find_mode(marginal, start, sizes), sizes), posterior)


def fit_at(marginal: Marginal, minimum: Any, H: FloatArray, sizes: FloatArray) -> LaplaceFit:
    """Describe the mode that :func:`find_mode` found; warns as :func:`laplace_fit` does."""
    converged, message = minimum.success, minimum.message
    scaled = H * np.outer(sizes, sizes)
    if not _is_maximum(scaled, marginal.posterior):
        converged, message = False, "the curvature at the mode is not positive definite"
    if not np.all(np.isfinite(H)) or (H.size and np.linalg.eigvalsh(scaled)[0] < FLAT):
        H = _positive(H, sizes)
    inverse = np.linalg.inv(H)
    covariance = np.array(0.5 * (inverse + inverse.T), dtype=np.float64)
    if names := separated(marginal.posterior, minimum.x, covariance):
        converged, message = False, f"separation: nothing holds {', '.join(names)}; give proper priors"
        warn(SeparationWarning(f"the posterior has no mode and is improper, by {message}", columns=names))
    elif not converged:
        hint = _improper_hint(marginal.posterior)
        warn(ConvergenceWarning(f"the mode of the posterior was not found: {message}{hint}"))
    root = np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)
    log_jacobian = 0.0 if marginal.jacobian else marginal.log_jacobian(minimum.x)
    volume = 0.5 * minimum.x.size * np.log(2.0 * np.pi) + float(np.log(np.diag(root)).sum())
    u, slope, precision = marginal.random_part(minimum.x, sizes)
    return LaplaceFit(
        hyper=minimum.x,
        covariance=covariance,
        root=root,
        u=u,
        slope=slope,
        precision=precision,
        factor=_factor(precision),
        log_density=-float(minimum.value),
        log_marginal=-float(minimum.value) + log_jacobian + volume,
        converged=converged,
        message=message,
        n_evaluations=minimum.n_evaluations,
    )


def _improper_hint(posterior: Posterior) -> str:
    """What may be behind a mode that is not there."""
    if posterior.is_proper:
        return ""
    return (
        f"; {', '.join(posterior.priors.improper)} have no prior that integrates to one, and the data alone may not "
        "determine them: give them one, e.g. prior=rg.prior_normal()"
    )


def _is_maximum(scaled: FloatArray, posterior: Posterior) -> bool:
    """Whether minus the Hessian, in natural sizes, is that of a maximum.

    Nothing depends on the logarithm of a number that has run to its bound, nor on the correlations of a zero.
    """
    if not np.all(np.isfinite(scaled)):
        return False
    bounded = np.array([s.scale != IDENTITY for s in posterior.scalars if s.fixed is None], dtype=bool)
    kept = ~(bounded & (np.abs(np.diag(scaled)) < FLAT))
    return bool(np.all(np.linalg.eigvalsh(scaled[np.ix_(kept, kept)]) > 0.0))


def separated(posterior: Posterior, hyper: FloatArray, covariance: FloatArray) -> tuple[str, ...]:
    """Fixed effects under flat priors that the data let run away, see :mod:`.separation`."""
    problem, fixed = posterior.problem, posterior.block("fixed")
    scalars, shapes = posterior.scalars[fixed], posterior.scalars[posterior.block("shape")]
    free = np.array([scalar.fixed is None and not scalar.prior.is_proper for scalar in scalars], dtype=bool)
    if (
        not free.any()
        or not can_separate(problem)
        or (problem.family.is_ordinal and any(s.prior.is_proper for s in shapes))
    ):
        return ()
    at, extent = posterior.target.slot[fixed][free], problem.column_extent[free]
    if np.all(np.maximum(np.abs(hyper[at]), np.sqrt(np.diag(covariance)[at])) * extent <= LARGE):
        return ()
    return tuple(scalars[j].name for j in running_columns(problem, np.flatnonzero(free)))


def recentred(fit: LaplaceFit, posterior: Posterior) -> LaplaceFit:
    """The approximation ``fit`` of an uncentred posterior, for one whose random effects stand in v = f u."""
    if not np.any(posterior.exponent):
        return fit
    f, sizes = posterior.centring(fit.hyper), np.sqrt(np.diag(fit.covariance))
    moved = difference_columns(lambda t: posterior.centring(t) * fit.u, fit.hyper, sizes)
    precision = fit.precision / f[:, None] / f
    slope = f[:, None] * fit.slope + moved
    return replace(fit, u=f * fit.u, slope=slope, precision=precision, factor=_factor(precision))


def laplace_whitening(posterior: Posterior) -> whiten.Whitening:
    """Coordinates in which the joint Laplace approximation is standard normal."""
    fit = posterior.laplace()
    L = fit.factor.L()
    return whiten.laplace(fit.position, fit.root, fit.slope, L.indptr, L.indices, L.data, fit.factor.perm)


def difference_columns(function: Any, at: FloatArray, sizes: FloatArray) -> FloatArray:
    """Jacobian of a smooth function by fourth-order central differences, shape (m, d)."""
    columns = []
    for j, size in enumerate(sizes):
        step = np.zeros(at.size)
        step[j] = 1e-2 * size
        near = function(at + step) - function(at - step)
        far = function(at + 2.0 * step) - function(at - 2.0 * step)
        columns.append((8.0 * near - far) / (12.0 * step[j]))
    return np.column_stack(columns)


def _symmetric(values: FloatArray, layout: Any) -> Any:
    """The whole of a symmetric matrix from the values of its lower triangle on the layout's pattern."""
    from scipy.sparse import csc_array, tril

    lower = csc_array((values.copy(), layout.indices, layout.indptr), shape=(layout.q, layout.q))
    return csc_array(lower + tril(lower, -1).T)


def root_of_effects(posterior: Posterior, hyper: FloatArray) -> Any:
    """Lambda at unconstrained hyperparameters, sparse: b = Lambda u."""
    from scipy.sparse import block_diag, csc_array, eye_array, kron

    TT, layout = posterior.natural(hyper[None])[2][0], posterior.problem.layout
    blocks = []
    for k, levels, start in zip(layout.k, layout.levels, layout.T_start, strict=True):
        blocks.append(kron(eye_array(int(levels)), TT[start : start + k * k].reshape(k, k)))
    return csc_array(block_diag(blocks)) if blocks else csc_array((0, 0))


def _factor(H: Any) -> BuiltinCholesky:
    """Sparse Cholesky factor of a symmetric positive-definite matrix, fill-reducing order."""
    from scipy.sparse import csc_array, tril

    lower = csc_array(tril(H, format="csc"))
    lower.sort_indices()
    pattern = Pattern(lower.indptr.astype(np.int32), lower.indices.astype(np.int32), lower.shape[0])
    factor = BuiltinCholesky(pattern, pattern.ordered)
    factor.refactor(lower.data)
    return factor
