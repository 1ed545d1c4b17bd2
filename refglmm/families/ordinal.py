r"""Ordered categories: cumulative, sequential (continuation-ratio) and adjacent-category models.

Place in the reading order: after ``latent``. y is the number of the category, 0 to K - 1; the K - 1 thresholds
:math:`c_0, c_1, \ldots` are shape parameters on their own scale and stand where other families have an intercept. In
all of them a larger linear predictor means higher categories:

==================  ================================================================================================
cumulative          :math:`P(y \le k) = F(c_k - \eta)`, thresholds increasing
sequential          :math:`P(y = k \mid y \ge k) = F(c_k - \eta)`, from the lowest category upwards ("forward")
sequential          :math:`P(y = k + 1 \mid y \le k + 1) = F(\eta - c_k)`, from the highest downwards ("backward")
adjacent            :math:`P(y = k \mid y \in \{k, k + 1\}) = F(c_k - \eta)`, F logistic
==================  ================================================================================================

With two categories all of them are the binomial model with intercept :math:`-c_0` (under cloglog, which is not
symmetric, the forward and the cumulative one are that of the lower category, with all signs reversed). Under cloglog
the sequential model forward and the cumulative model are the same but for their thresholds (Laara and Matthews 1985).

The inverse link of these families is the identity: "mu" is the mean of the latent variable, not of y. The categories'
probabilities come from ``probabilities``; the *code* of y, 0 to K - 1, has the mean and variance that ``mean`` and
``variance`` give.

Sources: McCullagh (1980) for the cumulative model; Agresti, *Analysis of ordinal categorical data*, chapters 3 to 5;
Tutz (1991) for the sequential one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from refglmm._jit import inline
from refglmm.errors import ArgumentError, FamilyError, NotAvailableError, ResponseError
from refglmm.families.base import Family, FloatArray, weighted
from refglmm.families.jet import F, add, compose, constant, second_variable, subtract
from refglmm.families.kernel import (
    VALUE,
    threshold_kernel,
    threshold_node_kernel,
    threshold_shape_kernel,
    threshold_shape_node_kernel,
)
from refglmm.families.latent import (
    cauchit_above,
    cauchit_below,
    cauchit_between,
    cloglog_above,
    cloglog_below,
    cloglog_between,
    logit_above,
    logit_below,
    logit_between,
    probit_above,
    probit_below,
    probit_between,
)
from refglmm.families.links import Link, get_link
from refglmm.families.shape_scales import ShapeScale

# One kernel object for each density, for the life of the process (see ``base``).

#: Directions in which a sequential model goes through the categories.
DIRECTIONS = ("forward", "backward")


# -- densities -----------------------------------------------------------------------------------------------------


@inline
def any_order(phi):
    """Thresholds may stand in any order."""
    return True


@inline
def increasing(phi):
    """Thresholds increase."""
    ordered = True
    for j in range(phi.size - 1):
        ordered = ordered and phi[j] < phi[j + 1]
    return ordered


@inline
def _threshold(phi, j, active):
    """Jet of threshold j."""
    return second_variable(phi[j]) if j == active else constant(phi[j])


@inline
def _cumulative(y, eta, phi, active, below, above, between):
    """Log {F(c_k - eta) - F(c_k-1 - eta)}."""
    k = int(y)
    if k == 0:
        return below(subtract(_threshold(phi, 0, active), eta))
    lower = subtract(_threshold(phi, k - 1, active), eta)
    if k == phi.size:
        return above(lower)
    return between(lower, subtract(_threshold(phi, k, active), eta))


@inline
def _forward(y, eta, phi, active, below, above):
    """Sum of log {1 - F(c_j - eta)} over the categories passed, and log F(c_k - eta) for the one where it ends."""
    k, total = int(y), constant(0.0)
    for j in range(k):
        total = add(total, above(subtract(_threshold(phi, j, active), eta)))
    if k == phi.size:
        return total
    return add(total, below(subtract(_threshold(phi, k, active), eta)))


@inline
def _backward(y, eta, phi, active, below, above):
    """The same from above: log {1 - F(eta - c_j)} for the categories passed, log F(eta - c_k-1) at the end."""
    k, total = int(y), constant(0.0)
    for j in range(k, phi.size):
        total = add(total, above(subtract(eta, _threshold(phi, j, active))))
    if k == 0:
        return total
    return add(total, below(subtract(eta, _threshold(phi, k - 1, active))))


@inline
def cumulative_logit(y, eta, phi, active):
    """Proportional odds."""
    return _cumulative(y, eta, phi, active, logit_below, logit_above, logit_between)


@inline
def cumulative_probit(y, eta, phi, active):
    """Ordered probit."""
    return _cumulative(y, eta, phi, active, probit_below, probit_above, probit_between)


@inline
def cumulative_cloglog(y, eta, phi, active):
    """Grouped proportional hazards."""
    return _cumulative(y, eta, phi, active, cloglog_below, cloglog_above, cloglog_between)


@inline
def cumulative_cauchit(y, eta, phi, active):
    """A latent variable with heavy tails."""
    return _cumulative(y, eta, phi, active, cauchit_below, cauchit_above, cauchit_between)


@inline
def forward_logit(y, eta, phi, active):
    """Continuation ratios."""
    return _forward(y, eta, phi, active, logit_below, logit_above)


@inline
def forward_probit(y, eta, phi, active):
    """Sequential probit."""
    return _forward(y, eta, phi, active, probit_below, probit_above)


@inline
def forward_cloglog(y, eta, phi, active):
    """Proportional hazards in discrete time."""
    return _forward(y, eta, phi, active, cloglog_below, cloglog_above)


@inline
def backward_logit(y, eta, phi, active):
    """Continuation ratios from the highest category."""
    return _backward(y, eta, phi, active, logit_below, logit_above)


@inline
def backward_probit(y, eta, phi, active):
    """Sequential probit from the highest category."""
    return _backward(y, eta, phi, active, probit_below, probit_above)


@inline
def backward_cloglog(y, eta, phi, active):
    """Discrete hazards from the highest category."""
    return _backward(y, eta, phi, active, cloglog_below, cloglog_above)


@inline
def adjacent_logit(y, eta, phi, active):
    r"""Log p_k with :math:`p_r \propto \exp\{r\eta - c_0 - \ldots - c_{r-1}\}`."""
    k, score, own = int(y), constant(0.0), constant(0.0)
    largest, plain = 0.0, 0.0
    for j in range(phi.size):
        plain += eta[F] - phi[j]
        largest = max(largest, plain)
    total = compose(score, np.exp(-largest), 1.0, 0.0, 0.0)
    for j in range(phi.size):
        score = add(score, subtract(eta, _threshold(phi, j, active)))
        if j + 1 == k:
            own = score
        e = np.exp(score[F] - largest)
        total = add(total, compose(score, e, e, e, e))
    r = 1.0 / total[F]
    return subtract(own, compose(total, largest + np.log(total[F]), r, -r * r, 2.0 * r * r * r))


# -- families ------------------------------------------------------------------------------------------------------


def _itself(x: FloatArray) -> FloatArray:
    return np.array(x, dtype=np.float64)


def _ones(x: FloatArray) -> FloatArray:
    return np.ones_like(np.asarray(x, dtype=np.float64))


def latent_link(name: str) -> Link:
    """The link of an ordinal family under its name: the linear predictor is the mean of the latent variable."""
    return Link(name, _itself, _itself, _ones, np.isfinite)


class OrdinalFamily(Family):
    """What the ordinal families share.

    Parameters
    ----------
    link : str or Link, optional
    levels : sequence of str, optional
        Names of the categories, lowest first; a model takes them from its response.
    thresholds : sequence of float, optional
        Known thresholds, one less than categories. If left out they are estimated.

    Attributes
    ----------
    levels : tuple of str
        Empty until :meth:`for_levels` gives them.
    thresholds : tuple of float
        Known thresholds, else empty.
    """

    is_ordinal = True
    has_intercept = False
    weights_repeat = True
    concave_links = frozenset({"logit", "probit", "cloglog"})
    #: Which thresholds define a distribution.
    admits: ClassVar[Callable[..., Any]] = staticmethod(any_order)

    levels: tuple[str, ...]
    thresholds: tuple[float, ...]

    def __init__(
        self,
        link: str | Link | None = None,
        *,
        levels: Sequence[str] | None = None,
        thresholds: Sequence[float] | None = None,
    ) -> None:
        super().__init__(link)
        names = () if levels is None else tuple(map(str, levels))
        known = () if thresholds is None else tuple(float(c) for c in thresholds)
        self._check_categories(names, known)
        self._set("levels", names)
        self._set("thresholds", known)
        self._set("shape_names", () if known else tuple(f"{low}|{high}" for low, high in pairwise(names)))

    def _check_categories(self, names: tuple[str, ...], known: tuple[float, ...]) -> None:
        """Refuse a single category, two of one name, and thresholds that define no distribution."""
        if names and (len(names) < 2 or len(set(names)) < len(names)):
            raise ArgumentError(f"levels must be two or more different names, not {names}", levels=names)
        if not known:
            return
        if len(names) != len(known) + 1:
            raise ArgumentError(
                f"{len(known)} thresholds separate {len(known) + 1} categories; give that many levels, not "
                f"{len(names)}",
                levels=names,
                thresholds=known,
            )
        if not np.all(np.isfinite(known)) or not type(self).admits(np.array(known)):
            rule = "finite" if type(self).admits is any_order else "finite and increasing"
            raise ArgumentError(f"thresholds must be {rule}, not {known}", thresholds=known)

    def _resolve_link(self, link: str | Link) -> Link:
        return latent_link(super()._resolve_link(link).name)

    def _key(self) -> tuple[Any, ...]:
        return type(self), self.link.name, self.levels, self.thresholds

    def __repr__(self) -> str:
        known = f", thresholds={self.thresholds}" if self.thresholds else ""
        return f"{type(self).__name__}(link={self.link.name!r}{known})"

    @property
    def r_name(self) -> str:  # type: ignore[override]
        """The family's name."""
        return self.name

    def for_levels(self, levels: Sequence[str]) -> Self:
        """The same family for a response with these categories, lowest first; known thresholds stay."""
        return self._made(self.link.name, levels=levels, thresholds=self.thresholds or None)

    def with_link(self, link: str | Link) -> Self:
        """The same family with another link."""
        return self._made(link, levels=self.levels or None, thresholds=self.thresholds or None)

    def at(self, phi: FloatArray) -> Self:
        """Return the same family with its thresholds known."""
        return self._made(self.link.name, levels=self.levels, thresholds=tuple(map(float, self.complete(phi))))

    def _made(self, link: str | Link, **categories: Any) -> Self:
        """A family of the same kind."""
        return type(self)(link, **categories)

    @property
    def n_levels(self) -> int:
        """Number of categories."""
        if not self.levels:
            raise FamilyError(
                f"the {self.name} family does not know its categories yet; family.for_levels(['low', ...]) gives them",
                family=self.name,
            )
        return len(self.levels)

    @property
    def fixed_shape(self) -> FloatArray:
        """Known thresholds."""
        return np.array(self.thresholds)

    @property
    def shape_scales(self) -> tuple[ShapeScale, ...]:
        """Thresholds are estimated as they are."""
        return (ShapeScale(),) * self.n_shape

    @property
    def observe(self) -> Any:
        """Kernel ``observe(y, eta, a, base, phi, order, out)``, see :func:`.kernel.threshold_kernel`."""
        return self.built(threshold_kernel, self.densities[self.link.name], type(self).admits)

    @property
    def observe_shape(self) -> Any:
        """Kernel ``observe_shape(y, eta, a, phi, j, out)``, see :func:`.kernel.threshold_shape_kernel`."""
        return self.built(threshold_shape_kernel, self.densities[self.link.name])

    @property
    def observe_nodes(self) -> Any:
        """Kernel ``observe_nodes(y, eta, a, base, phi, l, s)``, see :func:`.kernel.threshold_node_kernel`."""
        return self.built(threshold_node_kernel, self.densities[self.link.name], type(self).admits)

    @property
    def observe_shape_nodes(self) -> Any:
        """Kernel ``observe_shape_nodes(y, eta, a, phi, j, out)``, see :func:`.kernel.threshold_shape_node_kernel`."""
        return self.built(threshold_shape_node_kernel, self.densities[self.link.name])

    @property
    def log_likelihood(self) -> Any:
        """Kernel ``log_likelihood(rows, eta, phi, s, d_phi)``, see :func:`.fused.fused_thresholds`."""
        from refglmm.families.fused import fused_thresholds

        return self.built(fused_thresholds, self.densities[self.link.name], type(self).admits)

    # -- probabilities -------------------------------------------------------------------------------------------

    def log_density(
        self, y: FloatArray, eta: FloatArray, a: FloatArray | float, phi: FloatArray | None = None
    ) -> FloatArray:
        """Log probability of each row's category, weighted; phi: the thresholds where they are not known."""
        y, eta, a = (np.ascontiguousarray(v, dtype=np.float64) for v in np.broadcast_arrays(y, eta, a))
        out = np.empty((6, y.size))
        thresholds = self.complete(np.empty(0) if phi is None else phi)
        with np.errstate(all="ignore"):
            self.observe(y, eta, a, np.zeros(y.size), thresholds, VALUE, out)
        return out[0]

    def probabilities(self, eta: FloatArray, phi: FloatArray | None = None) -> FloatArray:
        """Probability of each category at each linear predictor, shape (n, K)."""
        eta = np.asarray(eta, dtype=np.float64)
        columns = [self.log_density(np.full(eta.size, float(k)), eta, 1.0, phi) for k in range(self.n_levels)]
        return np.exp(np.column_stack(columns))

    def fitted_mean(self, eta: FloatArray) -> FloatArray:
        """Mean of the latent variable, which is what a linear predictor gives."""
        return self.link.inverse(eta)

    def mean(self, mu: FloatArray) -> FloatArray:
        """Expected code of the category, thresholds known."""
        return self.probabilities(mu) @ np.arange(self.n_levels)

    def variance(self, mu: FloatArray) -> FloatArray:
        """Variance of the code of the category, thresholds known."""
        p, codes = self.probabilities(mu), np.arange(self.n_levels)
        return np.sum(p * (codes - (p @ codes)[:, None]) ** 2, axis=1)

    def unit_deviance(self, y: FloatArray, mu: FloatArray, a: FloatArray) -> FloatArray:
        """-2 log probability of the row's category (the saturated model has probability one), weighted."""
        return weighted(a, -2.0 * self.log_density(y, mu, 1.0))

    def base_measure(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """Nothing is free of the parameters."""
        return np.zeros(np.shape(y))

    def minus_two_log_density(self, y: FloatArray, mu: FloatArray, a: FloatArray, deviance: float) -> float:
        """lme4 has no ordinal models."""
        raise NotAvailableError(f"mode='lme4' has no {self.name} family; use mode='exact'")

    def simulate(self, mu: FloatArray, a: FloatArray, phi: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Codes of categories; the weight, which repeats a row, plays no part in drawing it."""
        p = self.probabilities(mu, phi)
        passed = np.cumsum(p[:, :-1], axis=1) / p.sum(axis=1, keepdims=True)
        return np.sum(rng.random(len(p))[:, None] >= passed, axis=1).astype(np.float64)

    def decides(self, y: FloatArray, j: int) -> NDArray[np.bool_]:
        """Rows whose category says on which side of threshold j they fell: all, unless they never came to it."""
        return np.ones(y.size, dtype=bool)

    # -- response and starts -------------------------------------------------------------------------------------

    def check_response(self, y: FloatArray, a: FloatArray) -> None:
        """Codes 0 to K - 1, each of them in some row of positive weight (else a threshold has no estimate)."""
        K = self.n_levels
        rule = f"the response of the {self.name} family is a category code from 0 to {K - 1}"
        self._require((y >= 0) & (y < K) & (y == np.floor(y)), y, rule)
        empty = [level for level, share in zip(self.levels, self._shares(y, a), strict=True) if share == 0.0]
        if empty and not self.thresholds:
            raise ResponseError(
                f"no row is in category {', '.join(map(repr, empty))}: its threshold has no estimate; drop the "
                "category or join it with its neighbour",
                levels=tuple(empty),
            )

    def _shares(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """Weighted share of each category."""
        count = np.bincount(y.astype(np.intp), weights=a, minlength=self.n_levels)
        return np.asarray(count / count.sum())

    def initial_mu(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """Latent scores: the quantile of the middle of each category's share."""
        share = self._shares(y, a)
        middle = np.clip(np.cumsum(share) - 0.5 * share, 1e-6, 1.0 - 1e-6)
        return np.asarray(get_link(self.link.name).link(middle))[y.astype(np.intp)]

    def initial_shape(self, y: FloatArray, mu: FloatArray, a: FloatArray) -> FloatArray:
        """Thresholds that give the shares of the categories where every row has the mean linear predictor."""
        if self.thresholds:
            return self.fixed_shape
        share = np.maximum(self._shares(y, a), 0.1 / max(float(a.sum()), 1.0))
        return self._start(share / share.sum()) + np.average(mu, weights=a)

    def _start(self, share: FloatArray) -> FloatArray:
        """Thresholds at eta = 0 from the shares of the categories."""
        raise NotImplementedError

    def _quantile(self, p: FloatArray) -> FloatArray:
        """Quantile of the latent law."""
        return np.asarray(get_link(self.link.name).link(p))


class Ordered(OrdinalFamily):
    """Cumulative model of ordered categories. Links: logit (default, proportional odds), probit, cloglog, cauchit.

    P(y <= k) = F(c_k - eta); parameters as for :class:`OrdinalFamily`. Same signs as ``ordinal::clmm`` and ``polr``.

    Examples
    --------
    >>> import refglmm as rg
    >>> wine = rg.datasets.load("wine")
    >>> fit = rg.glmer("rating ~ temp + contact + (1 | judge)", wine, "ordered")
    >>> round(fit.loglik, 4)
    -81.5654
    """

    name = "ordered"
    default_link = "logit"
    densities: ClassVar = {
        "logit": cumulative_logit,
        "probit": cumulative_probit,
        "cloglog": cumulative_cloglog,
        "cauchit": cumulative_cauchit,
    }
    admits = staticmethod(increasing)

    def _start(self, share: FloatArray) -> FloatArray:
        return self._quantile(np.cumsum(share)[:-1])


class Sequential(OrdinalFamily):
    """Sequential model: categories are passed one after the other. Links: logit (default), probit, cloglog.

    Parameters
    ----------
    link : str or Link, optional
    direction : {"forward", "backward"}
        "forward": P(y = k | y >= k) = F(c_k - eta), from the lowest category; "backward":
        P(y = k | y <= k) = F(eta - c_(k-1)), from the highest.
    levels, thresholds
        As for :class:`OrdinalFamily`.

    Notes
    -----
    One coefficient serves all categories. Effects that differ between them: expand the data with
    :func:`refglmm.cr_setup` and fit a binomial model with ``cohort:x``.
    """

    name = "sequential"
    default_link = "logit"
    densities: ClassVar = {"logit": forward_logit, "probit": forward_probit, "cloglog": forward_cloglog}
    backward: ClassVar = {"logit": backward_logit, "probit": backward_probit, "cloglog": backward_cloglog}
    direction: str

    def __init__(self, link: str | Link | None = None, *, direction: str = "forward", **categories: Any) -> None:
        if direction not in DIRECTIONS:
            raise ArgumentError(f"direction must be 'forward' or 'backward', not {direction!r}", direction=direction)
        self._set("direction", direction)
        super().__init__(link, **categories)

    def __repr__(self) -> str:
        return super().__repr__()[:-1] + f", direction={self.direction!r})"

    @property
    def r_name(self) -> str:  # type: ignore[override]
        """The name, with the direction if it is backward."""
        return self.name if self.direction == "forward" else f"{self.name} (backward)"

    def _key(self) -> tuple[Any, ...]:
        return *super()._key(), self.direction

    def _made(self, link: str | Link, **categories: Any) -> Self:
        return type(self)(link, direction=self.direction, **categories)

    def _density(self) -> Any:
        return (self.densities if self.direction == "forward" else self.backward)[self.link.name]

    @property
    def observe(self) -> Any:
        """Kernel ``observe(y, eta, a, base, phi, order, out)``, see :func:`.kernel.threshold_kernel`."""
        return self.built(threshold_kernel, self._density(), any_order)

    @property
    def observe_shape(self) -> Any:
        """Kernel ``observe_shape(y, eta, a, phi, j, out)``, see :func:`.kernel.threshold_shape_kernel`."""
        return self.built(threshold_shape_kernel, self._density())

    @property
    def observe_nodes(self) -> Any:
        """Kernel ``observe_nodes(y, eta, a, base, phi, l, s)``, see :func:`.kernel.threshold_node_kernel`."""
        return self.built(threshold_node_kernel, self._density(), any_order)

    @property
    def observe_shape_nodes(self) -> Any:
        """Kernel ``observe_shape_nodes(y, eta, a, phi, j, out)``, see :func:`.kernel.threshold_shape_node_kernel`."""
        return self.built(threshold_shape_node_kernel, self._density())

    @property
    def log_likelihood(self) -> Any:
        """Kernel ``log_likelihood(rows, eta, phi, s, d_phi)``, see :func:`.fused.fused_thresholds`."""
        from refglmm.families.fused import fused_thresholds

        return self.built(fused_thresholds, self._density(), any_order)

    def decides(self, y: FloatArray, j: int) -> NDArray[np.bool_]:
        """Rows that came as far as threshold j."""
        return y >= j if self.direction == "forward" else y <= j + 1

    def _start(self, share: FloatArray) -> FloatArray:
        if self.direction == "forward":
            left = np.cumsum(share[::-1])[::-1]
            return self._quantile(share[:-1] / left[:-1])
        return -self._quantile(share[1:] / np.cumsum(share)[1:])


class Adjacent(OrdinalFamily):
    """Adjacent-category logits: log P(y = k) / P(y = k + 1) = c_k - eta; parameters as for :class:`OrdinalFamily`."""

    name = "adjacent"
    default_link = "logit"
    densities: ClassVar = {"logit": adjacent_logit}

    def _start(self, share: FloatArray) -> FloatArray:
        return np.log(share[:-1] / share[1:])
