r"""A family of your own: one log density, or a point function with all its derivatives.

Place in the reading order: after the distributions. There are two ways.

*A log density in jets* (see ``jet``): a function ``(y, a, eta, first, second, third) -> jet`` of one observation of
weight a, written with the functions of that module. ``eta`` and the first three shape parameters are jets, and every
derivative comes from there. Work with the observed information only.

*A point function* (see ``kernel``): ``(y, eta, a, base, phi) -> (l, s, h, w, dh, dw)`` in plain Python, and, if the
distribution has shape parameters, a shape function ``(y, eta, a, phi, j) -> (dl, ds, dh, dw)``. More to write, and as
fast as can be.

:meth:`UserFamily.check` compares what the kernels return with differences of order eight

.. math:: f'(x) \approx \frac1h \sum_{k=1}^4 c_k \{f(x + kh) - f(x - kh)\},\qquad
          c = (4/5, -1/5, 4/105, -1/280)

of the quantity before: s with dl, h with -ds, and so on. Whether w is the expectation of h no difference can tell, and
whether the density is the one that was meant neither: compare its sum or integral with one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cache
from types import FunctionType
from typing import Any

import numba
import numpy as np
from numpy.typing import ArrayLike

from refglmm._jit import pure
from refglmm.errors import ArgumentError, NotAvailableError
from refglmm.families.base import Family, FloatArray, Point, weighted
from refglmm.families.kernel import ALL, DH, DW, VALUE, H, L, S, W, inline
from refglmm.families.links import Link, get_link
from refglmm.families.shape_scales import IntervalScale, LogScale, ShapeScale

#: Shape parameters that the loops over densities hand on.
MOST_SHAPES = 3
_STENCIL = (4 / 5, -1 / 5, 4 / 105, -1 / 280)
#: Step of the differences, relative to the argument: truncation near 1e-16, rounding near 1e-14.
_STEP = 0.01


@cache
def _inlined(function: Callable[..., Any]) -> Any:
    """A user's function, for the compiler to put into its loops."""
    return inline(function)


@cache
def _compiled(builder: Callable[..., Any], jit: bool, *parts: Any) -> Any:
    """Loop of a user's functions; not in the disk cache, which would not notice an edited function."""
    if not jit:
        return pure(builder(*parts))
    own = (_inlined(part) if isinstance(part, FunctionType) else part for part in parts)
    return numba.njit(error_model="numpy", nogil=True)(pure(builder(*own)))


@dataclass(frozen=True)
class FamilyCheck:
    """What the comparison with differences found.

    Attributes
    ----------
    errors : dict
        Quantity -> largest ``|given - difference| / (1 + |difference|)``.
    worst : dict
        Quantity -> (y, eta) where that was.
    tolerance : float
    """

    errors: dict[str, float]
    worst: dict[str, tuple[float, float]]
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether every quantity agrees within the tolerance."""
        return all(error <= self.tolerance for error in self.errors.values())

    def __str__(self) -> str:
        lines = [f"{'quantity':<14} {'error':>9}  worst at (y, eta)"]
        for name, error in self.errors.items():
            y, eta = self.worst[name]
            mark = "" if error <= self.tolerance else "   <-- wrong"
            lines.append(f"{name:<14} {error:9.1e}  ({y:g}, {eta:g}){mark}")
        return "\n".join(lines)


def _difference(f: Callable[[FloatArray], FloatArray], x: FloatArray, step: FloatArray) -> FloatArray:
    """Eighth-order central difference of each row of f."""
    return sum(c * (f(x + k * step) - f(x - k * step)) for k, c in enumerate(_STENCIL, 1)) / step


class UserFamily(Family):
    """A family made from one function.

    Parameters
    ----------
    name : str
    point : function ``(y, eta, a, base, phi) -> (l, s, h, w, dh, dw)``
        One observation; see ``kernel``. Must return exact zeros for a = 0, and l = -inf outside the domain.
    link : str or Link
        Built-in name, or a :class:`~refglmm.families.links.Link` of your own: what the density makes of eta.
    density : function ``(y, a, eta, first, second, third) -> jet``
        In place of ``point``: log density of one observation of weight a, without its base measure, from jets of eta
        and of the shape parameters on their natural scale; nan outside the domain.
    shapes : mapping, with ``density``
        Shape parameters to be estimated, three at most with the known ones: name -> ``"log"`` (a positive one),
        ``"identity"``, or ``(low, high)``.
    variance : function mu -> V(mu), with ``density`` (mu, phi) -> variance, optional
        phi: all shape parameters. Needed for residuals in units of the standard deviation.
    unit_deviance : function (y, mu) -> deviance of a row of weight one, 0 where y equals mu, optional
    mean : function (mu, phi) -> expected response, optional
        Where that is not the inverse link mu itself.
    shape_point : function ``(y, eta, a, phi, j) -> (dl, ds, dh, dw)/dphi_j``, with ``point``
    shape_names : sequence of str, with ``point``
        Shape parameters to be estimated.
    shape_start : sequence of float
        Where their estimation starts; by default 1 for a positive one, 0, or the middle of its interval.
    fixed_shape : sequence of float
        Known shape parameters; they follow those that are estimated.
    base_measure : function y -> part of l that is free of eta and phi, weight one; default 0
    initial_mu : function y -> means to start from; by default half way between y and its mean
    valid_y : function y -> bool array; default: finite
    simulate : function (mu, a, phi, rng) -> y, optional
    is_count : bool
        Whether the responses are counts without a bound.
    weights_repeat : bool
        Whether the prior weight repeats a row: multiplies the log density. By default with ``density``.
    has_scale, is_canonical, log_concave : bool
        See :class:`.Family`; of a point function only.
    jit : bool
        Compile with numba (default). False runs the plain Python loop: slow, but everything Python has.

    Raises
    ------
    ArgumentError
        Neither or both functions; settings of the other one; no link; shapes that cannot be read.

    Examples
    --------
    The negative binomial, with zi= and dispersion= as for built-in families:

    >>> import refglmm as rg
    >>> from scipy.special import gammaln
    >>> from refglmm.families.jet import add, exp_of, log_gamma_of, log_of, multiply, shift, subtract, times
    >>> def density(y, a, eta, size, second, third):
    ...     total = add(size, exp_of(eta))
    ...     gammas = subtract(log_gamma_of(shift(size, y)), log_gamma_of(size))
    ...     powers = subtract(multiply(size, log_of(size)), multiply(shift(size, y), log_of(total)))
    ...     return times(a, add(add(gammas, powers), times(y, eta)))
    >>> family = rg.families.UserFamily(
    ...     "own_nb", density=density, link="log", shapes={"size": "log"},
    ...     base_measure=lambda y: -gammaln(y + 1), variance=lambda mu, phi: mu + mu**2 / phi[0],
    ... )
    >>> family.check(y=[0.0, 3.0], eta=0.5).ok
    True
    """

    has_scale: bool  # type: ignore[misc]
    is_count: bool  # type: ignore[misc]
    weights_repeat: bool  # type: ignore[misc]
    _start: tuple[float, ...]
    _known: tuple[float, ...]
    _scales: tuple[ShapeScale, ...]
    _point: Point | None
    _density: Point | None
    _shape_point: Point | None
    _variance: Callable[..., FloatArray] | None
    _unit_deviance: Callable[[FloatArray, FloatArray], FloatArray] | None
    _mean: Callable[[FloatArray, FloatArray], FloatArray] | None
    _base_measure: Callable[[FloatArray], FloatArray]
    _initial_mu: Callable[[FloatArray], FloatArray] | None
    _valid_y: Callable[[FloatArray], Any]
    _simulate: Callable[..., FloatArray] | None
    _is_canonical: bool
    _log_concave: bool
    _jit: bool

    def __init__(
        self,
        name: str,
        point: Point | None = None,
        link: str | Link | None = None,
        *,
        density: Point | None = None,
        shapes: Mapping[str, Any] | None = None,
        variance: Callable[..., FloatArray] | None = None,
        unit_deviance: Callable[[FloatArray, FloatArray], FloatArray] | None = None,
        mean: Callable[[FloatArray, FloatArray], FloatArray] | None = None,
        shape_point: Point | None = None,
        shape_names: Sequence[str] = (),
        shape_start: Sequence[float] | None = None,
        fixed_shape: Sequence[float] = (),
        base_measure: Callable[[FloatArray], FloatArray] = np.zeros_like,
        initial_mu: Callable[[FloatArray], FloatArray] | None = None,
        valid_y: Callable[[FloatArray], Any] = np.isfinite,
        simulate: Callable[..., FloatArray] | None = None,
        is_count: bool = False,
        weights_repeat: bool | None = None,
        has_scale: bool = False,
        is_canonical: bool = False,
        log_concave: bool = False,
        jit: bool = True,
    ) -> None:
        of_point = {"shape_point": shape_point, "shape_names": shape_names, "has_scale": has_scale}
        of_point |= {"is_canonical": is_canonical, "log_concave": log_concave}
        _check_kind(name, point, density, of_point, {"shapes": shapes, "mean": mean})
        if link is None:
            raise ArgumentError(f"the {name} family needs a link=, the one that its function makes a mean with")
        if shape_names and shape_point is None:
            raise ArgumentError(f"estimating {', '.join(shape_names)} needs shape_point", family=name)
        scales = {key: _scale(name, key, given) for key, given in (shapes or dict.fromkeys(shape_names, "log")).items()}
        if density is not None and len(scales) + len(fixed_shape) > MOST_SHAPES:
            raise ArgumentError(f"a density takes {MOST_SHAPES} shape parameters at most", family=name)
        self._set("name", name)
        self._set("r_name", name)
        self._set("link", link if isinstance(link, Link) else get_link(link))
        self._set("shape_names", tuple(scales))
        self._set("has_scale", has_scale)
        self._set("is_count", is_count)
        self._set("weights_repeat", density is not None if weights_repeat is None else weights_repeat)
        self._set("_start", _start_values(name, scales, shape_start))
        self._set("_known", tuple(map(float, fixed_shape)))
        self._set("_scales", tuple(scales.values()))
        self._set("_point", point)
        self._set("_density", density)
        self._set("_shape_point", shape_point)
        self._set("_variance", variance)
        self._set("_unit_deviance", unit_deviance)
        self._set("_mean", mean)
        self._set("_base_measure", base_measure)
        self._set("_initial_mu", initial_mu)
        self._set("_valid_y", valid_y)
        self._set("_simulate", simulate)
        self._set("_is_canonical", is_canonical)
        self._set("_log_concave", log_concave)
        self._set("_jit", jit)

    def __repr__(self) -> str:
        return f"UserFamily({self.name!r}, link={self.link.name!r})"

    def _key(self) -> tuple[Any, ...]:
        return type(self), tuple(vars(self).values())

    @property
    def fixed_shape(self) -> FloatArray:
        """Known shape parameters."""
        return np.array(self._known)

    @property
    def shape_scales(self) -> tuple[ShapeScale, ...]:
        """Working scales of the shape parameters that are estimated."""
        return self._scales

    @property
    def points(self) -> Mapping[str, Point]:  # type: ignore[override]
        """The author's point function under the family's link, if there is one."""
        return {} if self._point is None else {self.link.name: self._point}

    @property
    def shape_points(self) -> Mapping[str, Point]:  # type: ignore[override]
        """The author's shape function."""
        return {} if self._shape_point is None else {self.link.name: self._shape_point}

    @property
    def densities(self) -> Mapping[str, Point]:  # type: ignore[override]
        """The author's density."""
        return {} if self._density is None else {self.link.name: self._density}

    def built(self, builder: Callable[..., Any], *parts: Any) -> Any:
        """The loop of a builder, compiled for this session only."""
        return _compiled(builder, self._jit, *parts)

    def with_link(self, link: str | Link) -> Family:
        """Refused: the author's function makes something of eta that another link would not."""
        raise NotAvailableError(f"the {self.name} family is written for the {self.link.name} link; make another one")

    def at(self, phi: FloatArray) -> UserFamily:
        """Return the same family with its shape parameters known, if its variance or mean depends on them."""
        if self._density is None:
            return self
        known = copy(self)
        known._set("_known", tuple(map(float, self.complete(phi))))
        for attribute in ("shape_names", "_scales", "_start"):
            known._set(attribute, ())
        return known

    def _shapes(self) -> FloatArray:
        """All shape parameters, where they are known."""
        if self.shape_names:
            raise NotAvailableError(
                f"what is asked of the {self.name} family depends on its estimated {', '.join(self.shape_names)}; ask "
                "family.at(phi), which knows them"
            )
        return self.fixed_shape

    @property
    def is_canonical(self) -> bool:
        """Whether observed and expected information are the same function, as its author says."""
        return self._is_canonical

    @property
    def log_concave(self) -> bool:
        """Whether the observed information is never negative, as its author says."""
        return self._log_concave or self._is_canonical

    def variance(self, mu: FloatArray) -> FloatArray:
        """The author's variance function."""
        if self._variance is None:
            raise NotAvailableError(
                f"the {self.name} family was given no variance function, so nothing is known of the spread of a "
                "response: give variance= for Pearson residuals and the like"
            )
        return self._variance(mu) if self._density is None else self._variance(mu, self._shapes())

    def mean(self, mu: FloatArray) -> FloatArray:
        """The author's mean; mu itself where none was given."""
        return mu if self._mean is None else self._mean(mu, self._shapes())

    @property
    def mean_is_inverse_link(self) -> bool:  # type: ignore[override]
        """Whether the author gave no mean."""
        return self._mean is None

    def fitted_slope(self, eta: FloatArray) -> FloatArray:
        """Derivative of the mean in the linear predictor, by differences where the mean is the author's."""
        if self._mean is None:
            return self.link.mu_eta(eta)
        return _difference(self.fitted_mean, eta, _STEP * np.clip(np.abs(eta), 0.1, 1.0))

    def _deviance(self, y: FloatArray, mu: FloatArray) -> FloatArray:
        """The author's deviance; nan, no saturated model, where none was given."""
        if self._unit_deviance is None:
            return np.full(np.broadcast_shapes(np.shape(y), np.shape(mu)), np.nan)
        return self._unit_deviance(y, mu)

    def base_measure(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """Weight times the author's base measure."""
        return weighted(a, self._base_measure(y))

    def initial_mu(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """The author's means to start from, or half way between y and its mean."""
        if self._initial_mu is None:
            return 0.5 * (y + np.average(y, weights=a))
        return np.asarray(self._initial_mu(y), dtype=np.float64)

    def initial_shape(self, y: FloatArray, mu: FloatArray, a: FloatArray) -> FloatArray:
        """The author's starting values."""
        return np.array(self._start) if self.shape_names else self.fixed_shape

    def check_response(self, y: FloatArray, a: FloatArray) -> None:
        """The author's rule."""
        self._require(np.asarray(self._valid_y(y)), y, f"a value that the {self.name} family does not allow")

    def minus_two_log_density(self, y: FloatArray, mu: FloatArray, a: FloatArray, deviance: float) -> float:
        """-2 times the sum of l, where no shape parameter is estimated."""
        if self.shape_names:
            raise NotAvailableError(
                f"mode='lme4' cannot estimate {', '.join(self.shape_names)} of the {self.name} family; use mode='exact'"
            )
        out = np.empty((6, y.size))
        base = self.base_measure(y, a)
        return -2.0 * float(self.observe(y, self.link.link(mu), a, base, self.fixed_shape, VALUE, out))

    def simulate(self, mu: FloatArray, a: FloatArray, phi: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Draw a response by the author's function."""
        if self._simulate is None:
            raise NotAvailableError(f"the {self.name} family was given no simulate function")
        return np.asarray(self._simulate(mu, a, phi, rng), dtype=np.float64)

    def check(
        self,
        y: ArrayLike,
        eta: ArrayLike,
        a: ArrayLike = 1.0,
        phi: ArrayLike | None = None,
        tolerance: float = 1e-7,
    ) -> FamilyCheck:
        """Compare every derivative with high-order differences of the quantity that it differentiates.

        Parameters
        ----------
        y, eta, a : array-like
            Observations to try, broadcast against each other. Choose eta well inside the domain.
        phi : array-like, optional
            Shape parameters to try; by default where estimation starts; known ones are added.
        tolerance : float
            Largest ``|given - difference| / (1 + |difference|)`` that counts as agreement.
        """
        rows = np.broadcast_arrays(*(np.atleast_1d(np.asarray(x, dtype=np.float64)) for x in (y, eta, a)))
        y_, eta_, a_ = (np.ascontiguousarray(x).ravel() for x in rows)
        start = (*self._start, *self._known) if phi is None else self.complete(np.atleast_1d(phi))
        return check_derivatives(self, y_, eta_, a_, np.array(start, dtype=np.float64), tolerance)


def _check_kind(
    name: str, point: Point | None, density: Point | None, of_point: dict[str, Any], of_density: dict[str, Any]
) -> None:
    """Refuse neither or both functions, and what goes with the other one."""
    if (point is None) == (density is None):
        raise ArgumentError(f"the {name} family needs point or density=: one of them", family=name)
    kind, strange = ("point", of_density) if density is None else ("density", of_point)
    given = [key for key, value in strange.items() if value]
    if given:
        raise ArgumentError(f"{given[0]}= does not go with {kind}= (the {name} family)", family=name)


def _scale(family: str, name: str, given: Any) -> ShapeScale:
    """The working scale of a shape parameter."""
    if isinstance(given, ShapeScale):
        return given
    if given in ("log", "identity"):
        return LogScale() if given == "log" else ShapeScale()
    try:
        low, high = map(float, given)
    except (TypeError, ValueError):
        low, high = np.nan, np.nan
    if not -np.inf < low < high < np.inf:
        raise ArgumentError(
            f"shapes[{name!r}] of the {family} family must be 'log', 'identity' or (low, high), not {given!r}",
            family=family,
        )
    return IntervalScale(low, high)


def _start_values(family: str, scales: Mapping[str, ShapeScale], given: Sequence[float] | None) -> tuple[float, ...]:
    """Where the estimation of shape parameters starts."""
    if given is None:
        return tuple(float(scale.natural(0.0)) for scale in scales.values())
    if len(given) != len(scales):
        raise ArgumentError(f"{len(scales)} shape parameters but {len(given)} values in shape_start", family=family)
    for (name, scale), value in zip(scales.items(), given, strict=True):
        if not scale.low < value < scale.high:
            raise ArgumentError(f"shape_start of {name} must lie between {scale.low:g} and {scale.high:g}, not {value}")
    return tuple(map(float, given))


def check_derivatives(
    family: Family, y: FloatArray, eta: FloatArray, a: FloatArray, phi: FloatArray, tolerance: float
) -> FamilyCheck:
    """Return the comparison of :meth:`UserFamily.check`, for any family."""
    base = family.base_measure(y, a)
    errors: dict[str, float] = {}
    worst: dict[str, tuple[float, float]] = {}

    def observe(at: FloatArray, shape: FloatArray) -> FloatArray:
        out = np.empty((6, y.size))
        family.observe(y, at, a, base, shape, ALL, out)
        return out

    def compare(name: str, given: FloatArray, wanted: FloatArray) -> None:
        error = np.abs(given - wanted) / (1.0 + np.abs(wanted))
        row = int(np.argmax(np.where(np.isnan(error), np.inf, error)))
        errors[name] = float(np.inf if np.isnan(error[row]) else error[row])
        worst[name] = float(y[row]), float(eta[row])

    given = observe(eta, phi)
    in_eta = _difference(lambda x: observe(x, phi), eta, _STEP * np.clip(np.abs(eta), 0.1, 1.0))
    compare("s = dl", given[S], in_eta[L])
    compare("h = -ds", given[H], -in_eta[S])
    compare("dh", given[DH], in_eta[H])
    compare("dw", given[DW], in_eta[W])
    for j, name in enumerate(family.shape_names):
        out = np.empty((4, y.size))
        family.observe_shape(y, eta, a, phi, j, out)
        in_phi = _difference(
            lambda x, j=j: observe(eta, np.concatenate([phi[:j], x, phi[j + 1 :]]))[:4],  # type: ignore[misc]
            phi[j : j + 1],
            _STEP * phi[j : j + 1],
        )
        for row, symbol in enumerate("lshw"):
            compare(f"d{symbol}/d{name}", out[row], in_phi[row])
    return FamilyCheck(errors, worst, tolerance)
