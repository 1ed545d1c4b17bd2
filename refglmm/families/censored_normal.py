r"""Normal responses that are known only to lie at or beyond a limit where they reach it (the tobit model).

Place in the reading order: after ``unit_means``. With a lower limit L and an upper limit U, either of which may be
missing, a latent normal variable of mean mu and standard deviation s is recorded as L where it falls below, as U where
it lies above:

.. math:: l = a\begin{cases}\log\Phi((L - \mu)/s) & y \le L\\ \log\Phi((\mu - U)/s) & y \ge U\\
              -\log s - \tfrac12\log 2\pi - (y - \mu)^2/(2 s^2) & \text{between}\end{cases}

The limits are known: given to the constructor, or read from a response ``cbind(value, code)`` with the codes of
GLMMadaptive (0 observed, 1 left-censored, 2 right-censored), which must then have one limit on each side. mu is the
mean of the latent variable; :meth:`CensoredNormal.mean` and :meth:`CensoredNormal.variance` are those of what is
recorded.

Source: Tobin (1958), "Estimation of relationships for limited dependent variables".
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from refglmm._jit import inline
from refglmm.errors import ArgumentError, ResponseError
from refglmm.families.base import TINY, Family, FloatArray, weighted
from refglmm.families.density import DensityFamily
from refglmm.families.jet import add, divide, log_of, shift, square, subtract, times
from refglmm.families.links import Link
from refglmm.families.shape_scales import LogScale, ShapeScale
from refglmm.families.special import HALF_LOG_2PI
from refglmm.families.unit_means import probit_mean_of

#: Codes of a row: observed, at or below the lower limit, at or above the upper one.
OBSERVED, LEFT, RIGHT = 0, 1, 2


@inline
def censored_normal_identity(y, a, eta, first, second, third):
    """Log density under the identity link; shape parameters s, L and U."""
    if y <= second[0]:
        return times(a, probit_mean_of(divide(subtract(second, eta), first))[2])
    if y >= third[0]:
        return times(a, probit_mean_of(divide(subtract(eta, third), first))[2])
    z = divide(shift(times(-1.0, eta), y), first)
    return times(-a, add(log_of(first), times(0.5, square(z))))


class CensoredNormal(DensityFamily):
    """Normal response, censored at known limits. Link: identity.

    Parameters
    ----------
    link : str or Link, optional
    sd : float, optional
        Known standard deviation of the latent variable, > 0. If left out it is estimated.
    lower, upper : float, optional
        Limits: a row with y at or below ``lower`` is left-censored, one with y at or above ``upper`` right-censored.
        Without one of them nothing is censored on that side; a response ``cbind(value, code)`` brings its own.
    """

    name = "censored_normal"
    default_link = "identity"
    weights_repeat = True
    takes_codes = True
    mean_is_inverse_link = False
    all_shapes: ClassVar = {"sd": LogScale(), "lower": ShapeScale(), "upper": ShapeScale()}
    densities: ClassVar = {"identity": censored_normal_identity}

    def __init__(
        self,
        link: str | Link | None = None,
        *,
        sd: float | None = None,
        lower: float = -np.inf,
        upper: float = np.inf,
    ) -> None:
        Family.__init__(self, link)
        lower, upper = float(lower), float(upper)
        if not lower < upper or lower == np.inf or upper == -np.inf:
            raise ArgumentError(
                "the lower limit of the censored_normal family must lie below the upper one, not "
                f"{lower:g} and {upper:g}",
                lower=lower,
                upper=upper,
            )
        if sd is not None and not 0.0 < sd < np.inf:
            raise ArgumentError(f"sd of the censored_normal family must lie between 0 and inf, not {sd!r}", sd=sd)
        self._set("shape_names", ("sd",) if sd is None else ())
        self._set("known", (lower, upper) if sd is None else (float(sd), lower, upper))

    @property
    def limits(self) -> tuple[float, float]:
        """The lower and the upper limit; infinite where there is none."""
        return self.known[-2], self.known[-1]

    def with_codes(self, y: FloatArray, codes: FloatArray) -> CensoredNormal:
        """Return the family with the limits of a response ``cbind(value, code)``.

        Raises
        ------
        ResponseError
            A code other than 0, 1 and 2, two limits on one side, limits other than those given to the family, or a
            value that is said to be observed at or beyond a limit.
        """
        self._require(np.isin(codes, (OBSERVED, LEFT, RIGHT)), codes, "a censoring code is 0, 1 (left) or 2 (right)")
        lower = self._one_limit(y, codes == LEFT, "left", self.limits[0])
        upper = self._one_limit(y, codes == RIGHT, "right", self.limits[1])
        observed = (codes != OBSERVED) | ((y > lower) & (y < upper))
        self._require(observed, y, f"an observed value must lie between the limits {lower:g} and {upper:g}")
        sd = self.known[0] if self.n_shape == 0 else None
        return CensoredNormal(self.link.name, sd=sd, lower=lower, upper=upper)

    def _one_limit(self, y: FloatArray, rows: np.ndarray, side: str, given: float) -> float:
        """The limit on one side: the value that all rows censored there share."""
        values = np.unique(y[rows])
        if values.size == 0:
            return given
        if np.isfinite(given):
            values = np.union1d(values, [given])
        if values.size > 1:
            raise ResponseError(
                f"{side}-censored rows have {values.size} limits, among them {values[0]:g} and {values[-1]:g}; the "
                "censored_normal family takes one limit on each side",
                limits=tuple(map(float, values[:10])),
            )
        return float(values[0])

    def base_measure(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """-a log(2 pi) / 2 where y is observed, 0 where it is censored."""
        lower, upper = self.limits
        return np.where((y > lower) & (y < upper), weighted(a, np.full_like(y, -HALF_LOG_2PI)), 0.0)

    def _moments(self, mu: FloatArray) -> tuple[FloatArray, FloatArray]:
        """First two moments of (y - mu)/s: of a standard normal kept within [(L - mu)/s, (U - mu)/s]."""
        from scipy.special import ndtr

        mu = np.asarray(mu, dtype=np.float64)
        low, high = ((limit - mu) / self.shape("sd") for limit in self.limits)
        first, second = np.zeros_like(mu), ndtr(high) - ndtr(low)
        for z, sign, beyond in ((low, 1.0, ndtr(low)), (high, -1.0, ndtr(-high))):
            if np.all(np.isfinite(z)):
                density = np.exp(-0.5 * z * z - HALF_LOG_2PI)
                first = first + sign * density + z * beyond
                second = second + sign * z * density + z * z * beyond
        return first, second

    def mean(self, mu: FloatArray) -> FloatArray:
        """Mean of what is recorded: mu plus s times that of the standard normal, kept within the limits."""
        return mu + self.shape("sd") * self._moments(mu)[0]

    def fitted_slope(self, eta: FloatArray) -> FloatArray:
        """Probability of lying between the limits: mu moves the mean as far as it is not censored."""
        from scipy.special import ndtr

        low, high = ((limit - np.asarray(eta)) / self.shape("sd") for limit in self.limits)
        return ndtr(high) - ndtr(low)

    def check_new_response(self, y: FloatArray, a: FloatArray) -> None:
        """Finite; all may be censored."""
        self._require(np.isfinite(y), y, "a response must be finite for the censored_normal family")

    def variance(self, mu: FloatArray) -> FloatArray:
        """Variance of what is recorded."""
        first, second = self._moments(mu)
        return self.shape("sd") ** 2 * (second - first * first)

    def initial_mu(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """Y as it is recorded."""
        return np.array(y)

    def initial_shape(self, y: FloatArray, mu: FloatArray, a: FloatArray) -> FloatArray:
        """Root mean square of y - mu."""
        return np.array([max(float(np.sqrt(np.average((y - mu) ** 2, weights=a))), TINY)])[: self.n_shape]

    def check_response(self, y: FloatArray, a: FloatArray) -> None:
        """Finite, and not all censored."""
        self._require(np.isfinite(y), y, "a response must be finite for the censored_normal family")
        lower, upper = self.limits
        if not np.any((y > lower) & (y < upper) & (a > 0.0)):
            raise ResponseError(
                f"every row of the response is censored at the limits {lower:g} and {upper:g}: the standard deviation "
                "cannot be estimated; use a binomial family with link='probit'"
            )

    def simulate(self, mu: FloatArray, a: FloatArray, phi: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Normal draws, kept within the limits; the weight plays no part."""
        return np.clip(rng.normal(mu, self.complete(phi)[0]), *self.limits)
