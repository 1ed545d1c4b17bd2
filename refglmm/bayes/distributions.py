r"""Prior distributions of single numbers, and that of a correlation matrix.

Place in the reading order: after ``scalars``, whose kernels evaluate the densities; before ``priors``, which gives
one to each parameter of a model. Here are their normalising constants, their quantiles and their names.

A density f on its natural range, restricted to (l, h), is :math:`f(x) / \{F(h) - F(l)\}`: the constant of a truncated
distribution is exact, so that marginal likelihoods are. Draws are quantiles of uniform numbers, from the nearer tail.

Sources: Johnson, Kotz and Balakrishnan, *Continuous univariate distributions*; for correlation matrices Lewandowski,
Kurowicka and Joe (2009), "Generating random correlation matrices based on vines and extended onion method".

Examples
--------
>>> from refglmm.bayes.distributions import Exponential, Normal
>>> Normal(0, 10).text
'normal(0, 10)'
>>> Normal(0, 1).truncated(0, 2).text
'normal(0, 1) on (0, 2)'
>>> round(Exponential(0.2).hyper[3], 6)
-1.609438
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields, replace
from importlib import import_module
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refglmm._jit import kernel
from refglmm.bayes import scalars
from refglmm.bayes.scalars import log_prior
from refglmm.errors import ArgumentError, NotAvailableError

FloatArray = NDArray[np.float64]
Three = tuple[float, float, float]
Range = tuple[float, float]

HALF_LOG_2PI = 0.5 * float(np.log(2.0 * np.pi))
EVERYWHERE, POSITIVE, UNIT = (-np.inf, np.inf), (0.0, np.inf), (0.0, 1.0)


class _Later:
    """scipy.special, loaded where it is first used: priors are stated without it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module("scipy.special"), name)


special = _Later()
#: Uniform numbers are kept off zero, whose quantile may be infinite.
LEAST = 2.0**-54


@kernel
def _log_densities(code, x, hyper):
    out = np.empty(x.size)
    for i in range(x.size):
        out[i] = log_prior(code, x[i], hyper)[0]
    return out


@dataclass(frozen=True, repr=False)
class Distribution(ABC):
    """A distribution of one number, possibly restricted to an interval.

    Attributes
    ----------
    within : (low, high)
        What it is restricted to, see :meth:`truncated`.
    log_factor : float
        Logarithm of a constant that the density is multiplied by: the share of one of several ordered numbers.
    code : int
        Its density in :func:`.scalars.log_prior`.
    is_proper : bool
        Whether it integrates to one.
    """

    within: Range = field(default=EVERYWHERE, kw_only=True)
    log_factor: float = field(default=0.0, kw_only=True)
    code: ClassVar[int]
    is_proper: ClassVar[bool] = True
    #: Name in print; natural range; arguments that must be positive.
    word: ClassVar[str]
    natural: ClassVar[Range] = EVERYWHERE
    positive: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        """Take finite numbers only, and positive ones where they must be."""
        for name, value in self._arguments().items():
            _check_number(type(self).__name__, name, value, name in self.positive)
            object.__setattr__(self, name, float(value))

    def _arguments(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self) if not f.kw_only}

    def __repr__(self) -> str:
        given = f"{type(self).__name__}({', '.join(f'{v:.6g}' for v in self._arguments().values())})"
        return given if self.within == EVERYWHERE else f"{given}.truncated({self.within[0]:g}, {self.within[1]:g})"

    # -- what a kernel takes ---------------------------------------------------------------------------------
    @property
    def numbers(self) -> Three:
        """``hyper[:3]`` of the density's code; the arguments, unless said otherwise."""
        first, second, third, *_ = *self._arguments().values(), 0.0, 0.0, 0.0
        return first, second, third

    @property
    @abstractmethod
    def _log_constant(self) -> float:
        """Logarithm of the normalising constant of what the kernel has, over the kernel's whole range."""

    @property
    def hyper(self) -> tuple[float, float, float, float]:
        """Four numbers for :func:`.scalars.log_prior`; the last is the log constant on the support."""
        if not self.is_proper:
            return (*self.numbers, 0.0)
        return (*self.numbers, self._log_constant - float(np.log(self._mass())) + self.log_factor)

    # -- support and truncation ------------------------------------------------------------------------------
    @property
    def range(self) -> Range:
        """Where the density is positive, before any truncation."""
        return self.natural

    @property
    def support(self) -> Range:
        """Where the density is positive."""
        return max(self.range[0], self.within[0]), min(self.range[1], self.within[1])

    def truncated(self, low: float = -np.inf, high: float = np.inf) -> Self:
        """Return the distribution restricted to (low, high), and to what it was restricted to before.

        Raises
        ------
        ArgumentError
            No probability is left.
        """
        bounds = max(float(low), self.within[0]), min(float(high), self.within[1])
        other = replace(self, within=bounds)
        start, end = other.support
        if not start < end or (self.is_proper and not other._mass() > 0.0):
            raise ArgumentError(f"{self.text} has no probability between {low:g} and {high:g}", low=low, high=high)
        return other

    def _mass(self) -> float:
        """Probability of the support, before truncation, in the kernel's whole range."""
        low, high = self.support
        before, after = self._below(low), self._above(high)
        if before > 0.5:
            return float(self._above(low) - after)
        return float(self._below(high) - before) if after > 0.5 else float(1.0 - before - after)

    @abstractmethod
    def _below(self, x: float) -> Any:
        """Probability below x, before truncation."""

    @abstractmethod
    def _above(self, x: float) -> Any:
        """Probability above x, before truncation; not by subtraction from one."""

    @abstractmethod
    def _quantile(self, p: FloatArray) -> FloatArray:
        """Where the probability below is p."""

    @abstractmethod
    def _upper_quantile(self, p: FloatArray) -> FloatArray:
        """Where the probability above is p."""

    # -- what people use -------------------------------------------------------------------------------------
    @property
    def text(self) -> str:
        """The distribution in words, e.g. "normal(0, 10)", "gamma(2, 0.1) on (1, inf)"."""
        return self._named(", ".join(f"{value:.5g}" for value in self._arguments().values()))

    def _named(self, inside: str) -> str:
        """With the word, and the interval where that is narrower than the range."""
        named = f"{self.word}({inside})" if inside else self.word
        return named if self.support == self.range else f"{named} on ({self.support[0]:g}, {self.support[1]:g})"

    def log_density(self, x: ArrayLike) -> FloatArray:
        """Log density at each x, minus infinity outside the support."""
        values = np.asarray(x, dtype=np.float64)
        inside = (values > self.support[0]) & (values < self.support[1])
        out = np.full(values.shape, -np.inf)
        out[inside] = _log_densities(self.code, values[inside], np.array(self.hyper))
        return out

    def quantile(self, p: ArrayLike) -> FloatArray:
        """Quantile of the (truncated) distribution at each p, 0 < p < 1.

        Raises
        ------
        NotAvailableError
            The distribution is improper.
        """
        if not self.is_proper:
            raise NotAvailableError(f"{self.text} does not integrate to one: it has no quantiles and nothing to draw")
        p, mass = np.asarray(p, dtype=np.float64), self._mass()
        before = self._below(self.support[0])
        x = (
            self._quantile(before + p * mass)
            if before <= 0.5
            else self._upper_quantile(self._above(self.support[0]) - p * mass)
        )
        return np.clip(x, *self.support)

    def sample(self, rng: np.random.Generator, size: int | tuple[int, ...]) -> FloatArray:
        """Draws, of the given shape.

        Raises
        ------
        NotAvailableError
            The distribution is improper.
        """
        return self.quantile(np.maximum(rng.random(size), LEAST))


def _check_number(owner: str, name: str, value: Any, positive: bool) -> None:
    """Raise ArgumentError for what is no finite (positive) number."""
    is_number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not is_number or not np.isfinite(value) or (positive and value <= 0):
        kind = "a positive number" if positive else "a finite number"
        raise ArgumentError(f"{name} of {owner} must be {kind}, not {value!r}", **{name: value})


# -- improper ------------------------------------------------------------------------------------------------


class _Improper(Distribution):
    """What integrates to no finite number."""

    is_proper = False

    @property
    def _log_constant(self) -> float:
        return 0.0

    def _mass(self) -> float:
        return np.inf

    def _below(self, x: float) -> Any:
        raise NotAvailableError(f"{self.text} does not integrate to one")

    _above = _below

    def _quantile(self, p: FloatArray) -> FloatArray:
        raise NotAvailableError(f"{self.text} does not integrate to one")

    _upper_quantile = _quantile


@dataclass(frozen=True, repr=False)
class Flat(_Improper):
    """Density one, everywhere: no prior at all."""

    code = scalars.FLAT
    word = "flat"

    @property
    def text(self) -> str:
        """Just "flat"."""
        return self.word


@dataclass(frozen=True, repr=False)
class Reciprocal(_Improper):
    """Density 1/x, x > 0: flat in log x."""

    code = scalars.RECIPROCAL
    word = "1/x"
    natural = POSITIVE


@dataclass(frozen=True, repr=False)
class Joint(_Improper):
    """A number whose density is part of that of several, which is proper; here it counts as one.

    Parameters
    ----------
    word : str
        How the joint distribution is called.
    """

    title: str = "joint"
    code = scalars.FLAT
    is_proper = True
    word = "joint"

    def __post_init__(self) -> None:
        """Its argument is a text."""

    @property
    def hyper(self) -> tuple[float, float, float, float]:
        """Zeros: no density of its own."""
        return 0.0, 0.0, 0.0, 0.0

    @property
    def text(self) -> str:
        """The joint distribution's name."""
        return self.title

    def quantile(self, p: ArrayLike) -> FloatArray:
        """Only all of them together have a distribution."""
        raise NotAvailableError(f"{self.text} is a distribution of several numbers at once; see sample_prior")


# -- on the line ---------------------------------------------------------------------------------------------


class _NormalLaw(Distribution):
    """Normal distributions, whole or half."""

    code = scalars.NORMAL
    mean: Any
    sd: Any

    @property
    def numbers(self) -> Three:
        return self.mean, self.sd, 0.0

    @property
    def _log_constant(self) -> float:
        return -float(np.log(self.sd)) - HALF_LOG_2PI

    def _below(self, x: float) -> Any:
        return special.ndtr((x - self.mean) / self.sd)

    def _above(self, x: float) -> Any:
        return special.ndtr((self.mean - x) / self.sd)

    def _quantile(self, p: FloatArray) -> FloatArray:
        return self.mean + self.sd * special.ndtri(p)

    def _upper_quantile(self, p: FloatArray) -> FloatArray:
        return self.mean - self.sd * special.ndtri(p)


@dataclass(frozen=True, repr=False)
class Normal(_NormalLaw):
    """Normal with a mean and a standard deviation."""

    mean: float
    sd: float
    word = "normal"
    positive = ("sd",)


@dataclass(frozen=True, repr=False)
class HalfNormal(_NormalLaw):
    """Absolute value of a normal with mean zero and standard deviation ``sd``."""

    sd: float
    mean = 0.0
    word = "half-normal"
    natural = POSITIVE
    positive = ("sd",)


class _StudentLaw(Distribution):
    """Student's t and the Cauchy, whole or half."""

    code = scalars.STUDENT_T
    df: Any
    mean: Any
    scale: Any

    @property
    def numbers(self) -> Three:
        return self.df, self.mean, self.scale

    @property
    def _log_constant(self) -> float:
        df = self.df
        log_ratio = special.gammaln(0.5 * (df + 1.0)) - special.gammaln(0.5 * df)
        return float(log_ratio - 0.5 * np.log(df * np.pi) - np.log(self.scale))

    def _below(self, x: float) -> Any:
        return special.stdtr(self.df, (x - self.mean) / self.scale)

    def _above(self, x: float) -> Any:
        return special.stdtr(self.df, (self.mean - x) / self.scale)

    def _quantile(self, p: FloatArray) -> FloatArray:
        return self.mean + self.scale * special.stdtrit(self.df, p)

    def _upper_quantile(self, p: FloatArray) -> FloatArray:
        return self.mean - self.scale * special.stdtrit(self.df, p)


@dataclass(frozen=True, repr=False)
class StudentT(_StudentLaw):
    """Student's t with ``df`` degrees of freedom about ``mean`` (its centre), times ``scale``."""

    df: float
    mean: float
    scale: float
    word = "student_t"
    positive = ("df", "scale")


@dataclass(frozen=True, repr=False)
class Cauchy(_StudentLaw):
    """Cauchy about ``mean`` (its centre)."""

    mean: float
    scale: float
    df = 1.0
    word = "cauchy"
    positive = ("scale",)


@dataclass(frozen=True, repr=False)
class HalfStudentT(_StudentLaw):
    """Absolute value of a Student's t about zero."""

    df: float
    scale: float
    mean = 0.0
    word = "half-student_t"
    natural = POSITIVE
    positive = ("df", "scale")


@dataclass(frozen=True, repr=False)
class HalfCauchy(_StudentLaw):
    """Absolute value of a Cauchy about zero."""

    scale: float
    df = 1.0
    mean = 0.0
    word = "half-cauchy"
    natural = POSITIVE
    positive = ("scale",)


@dataclass(frozen=True, repr=False)
class Laplace(Distribution):
    """Double exponential: density proportional to exp(-abs(x - mean) / scale)."""

    mean: float
    scale: float
    code = scalars.LAPLACE
    word = "laplace"
    positive = ("scale",)

    @property
    def _log_constant(self) -> float:
        return -float(np.log(2.0 * self.scale))

    def _below(self, x: float) -> Any:
        z = (x - self.mean) / self.scale
        return 0.5 * np.exp(z) if z < 0.0 else 1.0 - 0.5 * np.exp(-z)

    def _above(self, x: float) -> Any:
        return self._below(2.0 * self.mean - x)

    def _quantile(self, p: FloatArray) -> FloatArray:
        with np.errstate(divide="ignore"):
            return self.mean + self.scale * np.where(p < 0.5, np.log(2.0 * p), -np.log(2.0 - 2.0 * p))

    def _upper_quantile(self, p: FloatArray) -> FloatArray:
        return 2.0 * self.mean - self._quantile(p)


@dataclass(frozen=True, repr=False)
class Logistic(Distribution):
    """Logistic: the density of a threshold whose category probability is uniform, under a logit link."""

    mean: float
    scale: float
    code = scalars.LOGISTIC
    word = "logistic"
    positive = ("scale",)

    @property
    def _log_constant(self) -> float:
        return -float(np.log(self.scale))

    def _below(self, x: float) -> Any:
        return special.expit((x - self.mean) / self.scale)

    def _above(self, x: float) -> Any:
        return special.expit((self.mean - x) / self.scale)

    def _quantile(self, p: FloatArray) -> FloatArray:
        return self.mean + self.scale * special.logit(p)

    def _upper_quantile(self, p: FloatArray) -> FloatArray:
        return self.mean - self.scale * special.logit(p)


@dataclass(frozen=True, repr=False)
class Gumbel(Distribution):
    """Gumbel of minima: the logarithm of a unit exponential, times ``scale`` plus ``mean`` (its mode)."""

    mean: float
    scale: float
    code = scalars.GUMBEL
    word = "gumbel"
    positive = ("scale",)

    @property
    def _log_constant(self) -> float:
        return -float(np.log(self.scale))

    def _below(self, x: float) -> Any:
        return -np.expm1(-np.exp((x - self.mean) / self.scale))

    def _above(self, x: float) -> Any:
        return np.exp(-np.exp((x - self.mean) / self.scale))

    def _quantile(self, p: FloatArray) -> FloatArray:
        return self.mean + self.scale * np.log(-np.log1p(-p))

    def _upper_quantile(self, p: FloatArray) -> FloatArray:
        return self.mean + self.scale * np.log(-np.log(p))


# -- positive ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class Exponential(Distribution):
    """Exponential with a rate: the mean is 1 / rate."""

    rate: float
    code = scalars.EXPONENTIAL
    word = "exponential"
    natural = POSITIVE
    positive = ("rate",)

    @property
    def _log_constant(self) -> float:
        return float(np.log(self.rate))

    def _below(self, x: float) -> Any:
        return -np.expm1(-self.rate * x)

    def _above(self, x: float) -> Any:
        return np.exp(-self.rate * x)

    def _quantile(self, p: FloatArray) -> FloatArray:
        return -np.log1p(-p) / self.rate

    def _upper_quantile(self, p: FloatArray) -> FloatArray:
        return -np.log(p) / self.rate


@dataclass(frozen=True, repr=False)
class Gamma(Distribution):
    """Gamma with shape and rate: the mean is shape / rate."""

    shape: float
    rate: float
    code = scalars.GAMMA
    word = "gamma"
    natural = POSITIVE
    positive = ("shape", "rate")

    @property
    def _log_constant(self) -> float:
        return float(self.shape * np.log(self.rate) - special.gammaln(self.shape))

    def _below(self, x: float) -> Any:
        return special.gammainc(self.shape, self.rate * x)

    def _above(self, x: float) -> Any:
        return special.gammaincc(self.shape, self.rate * x)

    def _quantile(self, p: FloatArray) -> FloatArray:
        return special.gammaincinv(self.shape, p) / self.rate

    def _upper_quantile(self, p: FloatArray) -> FloatArray:
        return special.gammainccinv(self.shape, p) / self.rate


class _InverseGammaLaw(Distribution):
    """1/x is gamma with ``shape`` and rate ``scale``."""

    natural = POSITIVE
    shape: Any
    scale: Any

    @property
    def _log_constant(self) -> float:
        return float(self.shape * np.log(self.scale) - special.gammaln(self.shape))

    def _below(self, x: float) -> Any:
        return special.gammaincc(self.shape, self.scale / x) if x > 0.0 else 0.0

    def _above(self, x: float) -> Any:
        return special.gammainc(self.shape, self.scale / x) if x > 0.0 else 1.0

    def _quantile(self, p: FloatArray) -> FloatArray:
        with np.errstate(divide="ignore"):
            return self.scale / special.gammainccinv(self.shape, p)

    def _upper_quantile(self, p: FloatArray) -> FloatArray:
        with np.errstate(divide="ignore"):
            return self.scale / special.gammaincinv(self.shape, p)


@dataclass(frozen=True, repr=False)
class InverseGamma(_InverseGammaLaw):
    """Inverse gamma: 1/x is gamma with this shape, and ``scale`` as its rate."""

    shape: float
    scale: float
    code = scalars.INVERSE_GAMMA
    word = "inverse_gamma"
    positive = ("shape", "scale")


@dataclass(frozen=True, repr=False)
class InverseRootNormal(_InverseGammaLaw):
    """x whose x^(-1/2) is half-normal(sd): sizes and shapes that may be infinite, the model without overdispersion."""

    sd: float
    shape = 0.5
    code = scalars.INVERSE_ROOT_NORMAL
    word = "inverse_root_normal"
    positive = ("sd",)

    @property
    def scale(self) -> float:
        """1/x is gamma(1/2, rate 1/(2 sd^2))."""
        return 0.5 / self.sd**2


@dataclass(frozen=True, repr=False)
class LogNormal(Distribution):
    """log x is normal(mean, sd)."""

    mean: float
    sd: float
    code = scalars.LOGNORMAL
    word = "lognormal"
    natural = POSITIVE
    positive = ("sd",)

    @property
    def _log_constant(self) -> float:
        return -float(np.log(self.sd)) - HALF_LOG_2PI

    def _score(self, x: float) -> float:
        with np.errstate(divide="ignore"):
            return (float(np.log(x)) - self.mean) / self.sd

    def _below(self, x: float) -> Any:
        return special.ndtr(self._score(x))

    def _above(self, x: float) -> Any:
        return special.ndtr(-self._score(x))

    def _quantile(self, p: FloatArray) -> FloatArray:
        return np.exp(self.mean + self.sd * special.ndtri(p))

    def _upper_quantile(self, p: FloatArray) -> FloatArray:
        return np.exp(self.mean - self.sd * special.ndtri(p))


@dataclass(frozen=True, repr=False)
class LogLogistic(Distribution):
    r"""log x is logistic; with scale 1/2 and median 1 the density of :math:`x^2 = v` is :math:`1/(1 + v)^2`.

    Attributes
    ----------
    location, scale : float
        Of log x.
    """

    location: float
    scale: float
    code = scalars.LOG_LOGISTIC
    word = "log_logistic"
    natural = POSITIVE
    positive = ("scale",)

    @property
    def _log_constant(self) -> float:
        return -float(np.log(self.scale))

    def _score(self, x: float) -> float:
        with np.errstate(divide="ignore"):
            return (float(np.log(x)) - self.location) / self.scale

    def _below(self, x: float) -> Any:
        return special.expit(self._score(x))

    def _above(self, x: float) -> Any:
        return special.expit(-self._score(x))

    def _quantile(self, p: FloatArray) -> FloatArray:
        return np.exp(self.location + self.scale * special.logit(p))

    def _upper_quantile(self, p: FloatArray) -> FloatArray:
        return np.exp(self.location - self.scale * special.logit(p))


# -- on an interval ------------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class Uniform(Distribution):
    """Uniform between two finite numbers."""

    low: float
    high: float
    code = scalars.FLAT
    word = "uniform"

    def __post_init__(self) -> None:
        """The bounds increase."""
        super().__post_init__()
        if not self.low < self.high:
            raise ArgumentError(f"low of Uniform must be below high, not {self.low:g} and {self.high:g}")

    @property
    def range(self) -> Range:
        """Between the two."""
        return self.low, self.high

    @property
    def numbers(self) -> Three:
        """None: all is in the constant."""
        return 0.0, 0.0, 0.0

    @property
    def _log_constant(self) -> float:
        return -float(np.log(self.high - self.low))

    def _below(self, x: float) -> Any:
        return min(max((x - self.low) / (self.high - self.low), 0.0), 1.0)

    def _above(self, x: float) -> Any:
        return min(max((self.high - x) / (self.high - self.low), 0.0), 1.0)

    def _quantile(self, p: FloatArray) -> FloatArray:
        return self.low + (self.high - self.low) * p

    def _upper_quantile(self, p: FloatArray) -> FloatArray:
        return self.high - (self.high - self.low) * p


@dataclass(frozen=True, repr=False)
class Beta(Distribution):
    """Beta on (0, 1)."""

    a: float
    b: float
    code = scalars.BETA
    word = "beta"
    natural = UNIT
    positive = ("a", "b")

    @property
    def _log_constant(self) -> float:
        return -float(special.betaln(self.a, self.b))

    def _below(self, x: float) -> Any:
        return special.betainc(self.a, self.b, x)

    def _above(self, x: float) -> Any:
        return special.betainc(self.b, self.a, 1.0 - x)

    def _quantile(self, p: FloatArray) -> FloatArray:
        return special.betaincinv(self.a, self.b, p)

    def _upper_quantile(self, p: FloatArray) -> FloatArray:
        return 1.0 - special.betaincinv(self.b, self.a, p)


@dataclass(frozen=True, repr=False)
class LogitNormal(Distribution):
    """logit x is normal(mean, sd), with x restricted to (low, high) within (0, 1)."""

    mean: float
    sd: float
    low: float = 0.0
    high: float = 1.0
    code = scalars.LOGIT_NORMAL
    word = "logit_normal"
    positive = ("sd",)

    def __post_init__(self) -> None:
        """The interval lies in (0, 1)."""
        super().__post_init__()
        if not 0.0 <= self.low < self.high <= 1.0:
            raise ArgumentError(f"LogitNormal needs 0 <= low < high <= 1, not {self.low:g} and {self.high:g}")

    @property
    def range(self) -> Range:
        """Between the two."""
        return self.low, self.high

    @property
    def numbers(self) -> Three:
        """Those of the logit."""
        return self.mean, self.sd, 0.0

    @property
    def _log_constant(self) -> float:
        return -float(np.log(self.sd)) - HALF_LOG_2PI

    def _score(self, x: float) -> float:
        return (float(special.logit(x)) - self.mean) / self.sd

    def _below(self, x: float) -> Any:
        return special.ndtr(self._score(x))

    def _above(self, x: float) -> Any:
        return special.ndtr(-self._score(x))

    def _quantile(self, p: FloatArray) -> FloatArray:
        return special.expit(self.mean + self.sd * special.ndtri(p))

    def _upper_quantile(self, p: FloatArray) -> FloatArray:
        return special.expit(self.mean - self.sd * special.ndtri(p))


@dataclass(frozen=True, repr=False)
class PartialCorrelation(Distribution):
    """x on (-1, 1) with density proportional to (1 - x^2)^(a - 1): (1 + x)/2 is beta(a, a)."""

    a: float
    code = scalars.PARTIAL_CORRELATION
    word = "partial_correlation"
    natural = (-1.0, 1.0)
    positive = ("a",)

    @property
    def _log_constant(self) -> float:
        return -float(special.betaln(self.a, self.a) + (2.0 * self.a - 1.0) * np.log(2.0))

    def _below(self, x: float) -> Any:
        return special.betainc(self.a, self.a, 0.5 * (1.0 + x))

    def _above(self, x: float) -> Any:
        return self._below(-x)

    def _quantile(self, p: FloatArray) -> FloatArray:
        return 2.0 * special.betaincinv(self.a, self.a, p) - 1.0

    def _upper_quantile(self, p: FloatArray) -> FloatArray:
        return -self._quantile(p)


@dataclass(frozen=True)
class LKJ:
    r"""Correlation matrices with density proportional to :math:`|R|^{\eta - 1}`; eta = 1 is uniform.

    The partial correlations of its canonical vine are independent: that of any row with column j, given the columns
    before, has the density :math:`(1 - x^2)^{a_j - 1}` with :math:`a_j = \eta + (k - 1 - j)/2`, j = 1, ..., k - 1.
    """

    eta: float = 1.0

    def __post_init__(self) -> None:
        """Eta is positive."""
        _check_number("LKJ", "eta", self.eta, True)

    @property
    def text(self) -> str:
        """E.g. "lkj(1)"."""
        return f"lkj({self.eta:.4g})"

    def partial(self, k: int, j: int) -> PartialCorrelation:
        """Distribution of the partial correlations with column j (from 1) of a matrix with k columns."""
        return PartialCorrelation(self.eta + 0.5 * (k - 1 - j))

    def log_constant(self, k: int) -> float:
        r"""Logarithm of :math:`\int |R|^{\eta-1} dR` over all k x k correlation matrices.

        .. math:: \prod_{j=1}^{k-1} \pi^{j/2}\,\Gamma(\eta + (k-1-j)/2) / \Gamma(\eta + (k-1)/2)
        """
        j = np.arange(1, k)
        logs = 0.5 * j * np.log(np.pi) + special.gammaln(self.eta + 0.5 * (k - 1 - j))
        return float(np.sum(logs - special.gammaln(self.eta + 0.5 * (k - 1))))

    def sample(self, rng: np.random.Generator, size: int, k: int) -> FloatArray:
        """Correlation matrices, shape (size, k, k)."""
        L = np.zeros((size, k, k))
        rest = np.ones((size, k))
        for j in range(k):
            L[:, j, j] = rest[:, j]
            for i in range(j + 1, k):
                z = self.partial(k, j + 1).sample(rng, size)
                L[:, i, j] = rest[:, i] * z
                rest[:, i] *= np.sqrt((1.0 - z) * (1.0 + z))
        return L @ np.swapaxes(L, 1, 2)
