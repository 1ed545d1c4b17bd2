r"""What a family offers: its link, its kernels, and the numpy functions around them.

Place in the reading order: after ``links``, before the distributions. A distribution module defines one point
function for each link (see ``kernel``) and a subclass of :class:`Family`. Families are frozen, hashable and
picklable; their kernels are made on first use and shared, so that numba compiles each once in a process.

Weights: ``a`` is the prior weight as R defines it, that is, the variance of y is :math:`\phi V(\mu)/a`; for
counts the log density is multiplied by a. A row with a = 0 contributes exactly nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from refglmm.errors import FamilyError, NonIntegerWarning, NotAvailableError, ResponseError, warn
from refglmm.families.kernel import (
    array_kernel,
    density_kernel,
    density_node_kernel,
    density_shape_kernel,
    density_shape_node_kernel,
    node_kernel,
    prepared_node_kernel,
    prepared_shape_node_kernel,
    shape_kernel,
    shape_node_kernel,
)
from refglmm.families.links import DOMAINS, EPS, Link, get_link
from refglmm.families.shape_scales import LogScale, ShapeScale
from refglmm.families.special import (
    HALF_LOG_2PI,
    LARGE,
    NEAR,
    near_excess,
    stirling_rests,
)

FloatArray = NDArray[np.float64]
Point = Callable[..., Any]

#: A count is whole if it is this close to an integer (R's tolerance for binomial counts; ours for all).
WHOLE = 1e-3
LARGEST_COUNT = 2.0**53
TINY = float(np.finfo(np.float64).tiny)


@cache
def built(builder: Callable[..., Any], *parts: Any) -> Any:
    """The kernel that a builder makes of functions; one for the life of the process: numba compiles an object once."""
    return builder(*parts)


class Family:
    """A response distribution with its link. Subclasses are what users name.

    Parameters
    ----------
    link : str or Link, optional
        One of the family's links by R's name; the default one if left out.

    Attributes
    ----------
    name : str
        Lower-case name: "binomial", "inverse_gaussian", ...
    link : Link
    shape_names : tuple of str
        Shape parameters to be estimated, on their natural scale.
    shape_scales : tuple of ShapeScale
        On which scale each of them is estimated: its logarithm, unless the family says otherwise.
    fixed_shape : float array
        Shape parameters that are known; in what ``observe`` takes as ``phi`` they follow the estimated ones.
    has_scale : bool
        Whether the first shape parameter is a dispersion phi with variance phi V(mu) / a.
    is_binomial, is_count, is_canonical, log_concave : bool
        ``is_count``: y is a count without an upper bound.
        ``log_concave``: the observed information is never negative.
    is_ordinal, has_intercept : bool
        Whether the response is an ordered factor, and whether the fixed part has an intercept (else thresholds or the
        like stand in its place, and the design leaves it out).
    weights_repeat : bool
        Whether the prior weight repeats a row (multiplies the log density) and so has no part in drawing one.
    is_zero_truncated : bool
        Whether the law gives zero no mass, so that it can be the positive part of a hurdle model.
    mean_is_inverse_link : bool
        Whether the expected response is the inverse link itself; else :meth:`mean` tells it, and it depends on the
        shape parameters.
    takes_codes : bool
        Whether a response ``cbind(value, code)`` is read, with a method ``with_codes(y, codes)`` that returns the
        family made ready for it.
    """

    name: ClassVar[str]
    r_name: ClassVar[str]
    default_link: ClassVar[str]
    canonical_link: ClassVar[str | None] = None
    concave_links: ClassVar[frozenset[str]] = frozenset()
    #: link name -> point function, and the same for the shape parameters
    points: ClassVar[Mapping[str, Point]] = {}
    shape_points: ClassVar[Mapping[str, Point]] = {}
    #: link name -> log density as a function of jets, instead of the two before (see :func:`.kernel.density_kernel`)
    densities: ClassVar[Mapping[str, Point]] = {}
    #: link name -> which rows the point function is not made for, and the one that is
    rare_points: ClassVar[Mapping[str, tuple[Point, Point]]] = {}
    #: link name -> what :func:`.kernel.prepared_node_kernel` takes (and its relative for shapes), where that is faster
    node_points: ClassVar[Mapping[str, tuple[Point, Point, Point, Point]]] = {}
    shape_node_points: ClassVar[Mapping[str, tuple[Point, Point]]] = {}
    #: link name -> domain of eta, where it is narrower than the link's own
    domains: ClassVar[Mapping[str, str]] = {}
    has_scale: ClassVar[bool] = False
    is_binomial: ClassVar[bool] = False
    is_ordinal: ClassVar[bool] = False
    has_intercept: ClassVar[bool] = True
    is_count: ClassVar[bool] = False
    weights_repeat: ClassVar[bool] = False
    is_zero_truncated: ClassVar[bool] = False
    takes_codes: ClassVar[bool] = False
    mean_is_inverse_link: ClassVar[bool] = True

    #: linear predictors that the density depends on, and what they are for
    n_parts: ClassVar[int] = 1
    part_names: ClassVar[tuple[str, ...]] = ("main",)

    link: Link
    shape_names: tuple[str, ...] = ()

    def __init__(self, link: str | Link | None = None) -> None:
        self._set("link", self._resolve_link(self.default_link if link is None else link))

    def _set(self, attribute: str, value: Any) -> None:
        """Set an attribute during construction; afterwards the object is frozen."""
        object.__setattr__(self, attribute, value)

    def _resolve_link(self, link: str | Link) -> Link:
        name = link.name if isinstance(link, Link) else str(link)
        known = self.points or self.densities
        if name not in known:
            raise FamilyError(
                f"the {self.name} family has no link {name!r}; it has {', '.join(known)}",
                family=self.name,
                link=name,
            )
        built_in = get_link(name)
        return replace(built_in, valid_eta=DOMAINS[self.domains[name]]) if name in self.domains else built_in

    def __setattr__(self, attribute: str, value: Any) -> None:
        raise AttributeError(f"a family is frozen: make another one instead of setting {attribute!r}")

    def _key(self) -> tuple[Any, ...]:
        return type(self), self.link, self.shape_names, tuple(self.fixed_shape)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Family) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"{type(self).__name__}(link={self.link.name!r})"

    # -- what kind of family ---------------------------------------------------------------------------------

    @property
    def n_shape(self) -> int:
        """Shape parameters to be estimated."""
        return len(self.shape_names)

    @property
    def shape_scales(self) -> tuple[ShapeScale, ...]:
        """Working scales of the shape parameters."""
        return (LogScale(),) * self.n_shape

    @property
    def fixed_shape(self) -> FloatArray:
        """Known shape parameters."""
        return np.empty(0)

    @property
    def is_canonical(self) -> bool:
        """Whether observed and expected information are the same function."""
        return self.link.name == self.canonical_link

    @property
    def log_concave(self) -> bool:
        """Whether the observed information is >= 0 for every y and eta."""
        return self.link.name in self.concave_links

    @property
    def links(self) -> tuple[Link, ...]:
        """The link of each linear predictor."""
        return (self.link,)

    @property
    def display(self) -> str:
        """The family as R's summary heads it: "binomial ( logit )"."""
        return f"{self.r_name} ( {self.link.name} )"

    # -- kernels ---------------------------------------------------------------------------------------------

    def built(self, builder: Callable[..., Any], *parts: Any) -> Any:
        """The kernel that a builder makes of functions of this family."""
        return built(builder, *parts)

    @property
    def observe(self) -> Any:
        """Kernel ``observe(y, eta, a, base, phi, order, out)``, see :func:`.kernel.array_kernel`."""
        name = self.link.name
        if name not in self.points:
            return self.built(density_kernel, self.densities[name])
        return self.built(array_kernel, self.points[name], *self.rare_points.get(name, ()))

    @property
    def observe_shape(self) -> Any:
        """Kernel ``observe_shape(y, eta, a, phi, j, out)``, see :func:`.kernel.shape_kernel`."""
        name = self.link.name
        if name in self.shape_points:
            return self.built(shape_kernel, self.shape_points[name])
        if name not in self.densities or not self.shape_names:
            raise NotAvailableError(f"the {self.name} family has no shape parameter")
        return self.built(density_shape_kernel, self.densities[name])

    @property
    def observe_nodes(self) -> Any:
        """Kernel ``observe_nodes(y, eta, a, base, phi, l, s)``, see :func:`.kernel.node_kernel`."""
        name = self.link.name
        if name not in self.points:
            return self.built(density_node_kernel, self.densities[name])
        if name in self.node_points:
            return self.built(prepared_node_kernel, *self.node_points[name])
        return self.built(node_kernel, self.points[name], *self.rare_points.get(name, ()))

    @property
    def observe_shape_nodes(self) -> Any:
        """Kernel ``observe_shape_nodes(y, eta, a, phi, j, out)``, see :func:`.kernel.shape_node_kernel`."""
        name = self.link.name
        if name in self.shape_node_points:
            return self.built(prepared_shape_node_kernel, *self.shape_node_points[name])
        if name in self.shape_points:
            return self.built(shape_node_kernel, self.shape_points[name])
        return self.built(density_shape_node_kernel, self.densities[name])

    @property
    def log_likelihood(self) -> Any:
        """Kernel ``log_likelihood(rows, eta, phi, s, d_phi)``, see :mod:`.fused`."""
        from refglmm.families.fused import fused_density, fused_points, no_shape

        name = self.link.name
        if name not in self.points or (self.shape_names and name not in self.shape_points):
            return self.built(fused_density, self.densities[name])
        shape_point = self.shape_points[name] if self.shape_names else no_shape
        return self.built(fused_points, self.points[name], shape_point, *self.rare_points.get(name, ()))

    def with_link(self, link: str | Link) -> Family:
        """Return the same family with another link."""
        return type(self)(link)

    # -- numpy -----------------------------------------------------------------------------------------------

    def complete(self, phi: FloatArray) -> FloatArray:
        """All shape parameters as the kernels take them: the estimated ones, then those that are known."""
        return np.concatenate([np.asarray(phi, dtype=np.float64)[: self.n_shape], self.fixed_shape])

    def fitted_mean(self, eta: FloatArray) -> FloatArray:
        """Expected response of each row at its linear predictor, shape parameters known (see ``at``), shape (n,)."""
        return self.mean(self.link.inverse(eta))

    def fitted_slope(self, eta: FloatArray) -> FloatArray:
        """Derivative of :meth:`fitted_mean` in the linear predictor."""
        return self.link.mu_eta(eta)

    def at(self, phi: FloatArray) -> Family:
        """Return the family with its shape parameters known, if its variance depends on them; here itself."""
        return self

    def with_codes(self, y: FloatArray, codes: FloatArray) -> Family:
        """Return the family made ready for a response ``cbind(value, code)``, see ``takes_codes``."""
        raise NotImplementedError

    def base_measure(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """Part of the log density that is free of eta and phi, weighted; 0 where a is 0."""
        raise NotImplementedError

    def density_base(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """The same for the log density in jets, where that differs from what the point functions leave out."""
        return self.base_measure(y, a)

    def variance(self, mu: FloatArray) -> FloatArray:
        """Variance function V(mu)."""
        raise NotImplementedError

    def mean(self, mu: FloatArray) -> FloatArray:
        """Expected response where the inverse link is mu: mu itself, except for truncated laws and their like."""
        return mu

    def unit_deviance(self, y: FloatArray, mu: FloatArray, a: FloatArray) -> FloatArray:
        """Deviance of each row, weighted, free of phi; exactly 0 where y equals mu."""
        with np.errstate(all="ignore"):
            return weighted(a, np.maximum(self._deviance(y, mu), 0.0))

    def _deviance(self, y: FloatArray, mu: FloatArray) -> FloatArray:
        """Deviance of a row of weight one."""
        raise NotImplementedError

    def initial_mu(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """Means to start from, inside the family's range."""
        raise NotImplementedError

    def initial_shape(self, y: FloatArray, mu: FloatArray, a: FloatArray) -> FloatArray:
        """Moment estimate of the shape parameters; for a scale family Pearson's chi-square over n."""
        if not self.has_scale:
            return self.fixed_shape
        used = a > 0
        pearson = a[used] * (y[used] - mu[used]) ** 2 / self.variance(mu[used])
        return np.array([max(float(pearson.mean()), EPS)])

    def check_response(self, y: FloatArray, a: FloatArray) -> None:
        """Raise ResponseError for the first value outside the support; warn once of broken counts."""
        raise NotImplementedError

    def check_new_response(self, y: FloatArray, a: FloatArray) -> None:
        """Raise ResponseError for the first value outside the support, in rows that are not to be fitted."""
        self.check_response(y, a)

    def minus_two_log_density(self, y: FloatArray, mu: FloatArray, a: FloatArray, deviance: float) -> float:
        """Minus twice the conditional log likelihood as lme4 keeps its books (spec of lme4, section 5.7)."""
        raise NotImplementedError

    def simulate(self, mu: FloatArray, a: FloatArray, phi: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Draw a response for each mean, on the scale of y."""
        raise NotImplementedError

    # -- shared pieces of the subclasses ---------------------------------------------------------------------

    def _require(self, ok: NDArray[np.bool_], y: FloatArray, rule: str) -> None:
        """Raise ResponseError about the first row where ``ok`` is False."""
        if ok.all():
            return
        row = int(np.argmin(ok))
        raise ResponseError(
            f"{rule}: row {row} (counted from 0) of the response is {y[row]:g}"
            + (f", and {int((~ok).sum()) - 1} more rows are wrong" if (~ok).sum() > 1 else ""),
            row=row,
            value=float(y[row]),
            count=int((~ok).sum()),
        )

    def _require_counts(self, y: FloatArray, family: str) -> None:
        """Counts are not negative, and no larger than the integers that a float64 can tell apart."""
        self._require((y >= 0.0) & (y < np.inf), y, f"negative values are not allowed for the {family} family")
        rule = "counts beyond 2^53 are not exact as float64; count in larger units, or use a gamma model"
        self._require(y <= LARGEST_COUNT, y, rule)
        self._warn_not_whole(y, "counts")

    def _warn_not_whole(self, counts: FloatArray, what: str) -> None:
        """One NonIntegerWarning with the number of counts that are not whole."""
        off = np.abs(counts - np.round(counts)) > WHOLE * np.maximum(1.0, np.abs(counts))
        if off.any():
            row, number = int(np.argmax(off)), int(off.sum())
            warn(
                NonIntegerWarning(
                    f"non-integer {what} in {number} of {counts.size} rows; first in row {row} "
                    f"(counted from 0): {counts[row]:g}",
                    row=row,
                    value=float(counts[row]),
                    count=number,
                )
            )


def weighted(a: FloatArray, value: FloatArray) -> FloatArray:
    """Product a * value that is exactly 0 where a is 0, whatever the value."""
    with np.errstate(all="ignore"):
        return np.where(a == 0.0, 0.0, a * value)


def log_ratio_excess(y: FloatArray | float, mu: FloatArray) -> FloatArray:
    """Return y log(mu / y) - (mu - y) <= 0, which is -mu at y = 0; no cancellation where mu is near y."""
    with np.errstate(all="ignore"):
        d = mu - y
        far = np.where(y == 0.0, 0.0, y * np.log(mu / y)) - d
        return np.where(np.abs(d) <= NEAR * y, near_excess(np.maximum(y, TINY), d), far)


def count_base(y: FloatArray, a: FloatArray) -> FloatArray:
    """Return -a log y!, or from LARGE on the log density a log Poisson(y; mu = y) of the saturated model."""
    with np.errstate(all="ignore"):
        saturated = -0.5 * np.log(y) - HALF_LOG_2PI - stirling_rests(y)
        log_factorial = np.where(y == 0.0, 0.0, y * np.log(y) - y - saturated)
    return weighted(a, np.where(y < LARGE, -log_factorial, saturated))


def minus_log_factorial(y: FloatArray, a: FloatArray) -> FloatArray:
    """Return -a log y! for counts of any size."""
    with np.errstate(all="ignore"):
        rest = y * (np.log(y) - 1.0) + 0.5 * np.log(y) + HALF_LOG_2PI + stirling_rests(y)
    return weighted(a, np.where(y == 0.0, 0.0, -rest))


def drawing_weight(a: FloatArray) -> FloatArray:
    """Weights to draw with: a row of weight zero is drawn as if it had weight one."""
    return np.where(a > 0.0, a, 1.0)
