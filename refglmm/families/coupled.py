r"""Families with several linear predictors: zeros apart from the law of the counts, and a dispersion of its own.

Place in the reading order: after the distributions, before ``registry``. Made from a base family with log density
f(y; eta, phi) (see ``density``):

* dispersion: the first shape parameter is :math:`\phi_1 = e^\delta`, with a linear predictor delta.
* zeros: with :math:`\operatorname{logit}\pi = \zeta` a row is zero with probability pi *besides*, or, where the law has
  no zeros of its own (a hurdle model: truncated counts, gamma, beta, ...), *instead* of following the law:

.. math::
    l = \begin{cases} \log\{\pi + (1 - \pi) e^{f(0)}\} = \log\pi + \log(1 + e^{f(0) - \zeta}) & y = 0 \\
                      \log(1 - \pi) + f(y) & y > 0 \end{cases}

and log pi alone at y = 0 for a hurdle. The predictors are, in this order, that of the mean, zeta and delta as far as
they exist. With two of them every derivative comes out of the arithmetic of jets; with all three, and for shape
parameters beside two, the softplus of a jet minus zeta is written out (Faa di Bruno's formula).

Where the observed information of a row is not positive definite, w stands in: diagonal, each element the sum of the
sizes of its row of h, so that w - h is positive semidefinite (Gershgorin).

Sources: Lambert (1992), "Zero-inflated Poisson regression"; Mullahy (1986) for the hurdle; Smyth (1989) for the
dispersion.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from refglmm._jit import inline, kernel
from refglmm.errors import FamilyError, NotAvailableError, ResponseError
from refglmm.families.base import Family, FloatArray
from refglmm.families.coupled_nodes import add_zero_part, add_zero_part_to_shape, law_nodes, law_shape_nodes
from refglmm.families.jet import (
    F1,
    F2,
    F11,
    F12,
    F22,
    F111,
    F112,
    F122,
    F222,
    F,
    add,
    constant,
    exp_of,
    first_variable,
    second_variable,
    shift,
    softplus_of,
    times,
)
from refglmm.families.kernel import shape_jets
from refglmm.families.links import Link, get_link
from refglmm.families.shape_scales import LogScale, ShapeScale
from refglmm.families.special import LARGE

#: Names of the predictors.
MAIN, ZI, DISPERSION = "main", "zi", "dispersion"
#: Step in the logarithm of a dispersion, and weights, of a central difference of order four.
STEP, STENCIL = 1e-3, ((1, 8.0 / 12.0), (2, -1.0 / 12.0))


# -- one row ---------------------------------------------------------------------------------------------------


@inline
def logistic_slopes(x):
    """1/(1 + e^-x) and its first two derivatives."""
    e = np.exp(-abs(x))
    small, large = e / (1.0 + e), 1.0 / (1.0 + e)
    p, q = (large, small) if x > 0.0 else (small, large)
    return p, p * q, p * q * (q - p)


@inline
def zero_row(f, zeta):
    """log pi + softplus(f - zeta) with its derivatives in (x, zeta, z), f a jet in (x, z).

    In the order l; x, zeta, z; pairs; triples, each as a lower triangle (see ``likelihood.coupled``).
    """
    d = f[F] - zeta
    e = np.exp(-abs(d))
    p, s2, s3 = logistic_slopes(d)
    k, k2, k3 = logistic_slopes(-zeta)
    f1, f2, f11, f12, f22 = f[F1], f[F2], f[F11], f[F12], f[F22]
    return (
        (d if d > 0.0 else 0.0) + np.log1p(e) + log_share(constant(zeta))[F],
        p * f1,
        k - p,
        p * f2,
        s2 * f1 * f1 + p * f11,
        -s2 * f1,
        s2 - k2,
        s2 * f1 * f2 + p * f12,
        -s2 * f2,
        s2 * f2 * f2 + p * f22,
        s3 * f1 * f1 * f1 + 3.0 * s2 * f1 * f11 + p * f[F111],
        -s3 * f1 * f1 - s2 * f11,
        s3 * f1,
        k3 - s3,
        s3 * f1 * f1 * f2 + s2 * (f11 * f2 + 2.0 * f12 * f1) + p * f[F112],
        -s3 * f1 * f2 - s2 * f12,
        s3 * f2,
        s3 * f1 * f2 * f2 + s2 * (f22 * f1 + 2.0 * f12 * f2) + p * f[F122],
        -s3 * f2 * f2 - s2 * f22,
        s3 * f2 * f2 * f2 + 3.0 * s2 * f2 * f22 + p * f[F222],
    )


@inline
def sum_row(f, g):
    """f + g with its derivatives in (x, zeta, z), f a jet in (x, z), g one in zeta alone; in the same order."""
    return (
        f[F] + g[F],
        f[F1],
        g[F1],
        f[F2],
        f[F11],
        0.0,
        g[F11],
        f[F12],
        0.0,
        f[F22],
        f[F111],
        0.0,
        0.0,
        g[F111],
        f[F112],
        0.0,
        0.0,
        f[F122],
        0.0,
        f[F222],
    )


@inline
def log_share(zeta):
    """log pi as a jet, logit pi = zeta."""
    return times(-1.0, softplus_of(times(-1.0, zeta)))


@inline
def with_zeros(y, f, zeta, inflated):
    """The row of a model with a zero part: f is the law's log density at y, a jet in (x, z)."""
    if y != 0.0:
        return sum_row(f, times(-1.0, softplus_of(first_variable(zeta))))
    if inflated:
        return zero_row(f, zeta)
    return sum_row(constant(0.0), log_share(first_variable(zeta)))


@inline
def put_two(out, i, a, l, s0, s1, h00, h10, h11, t0, t1, t2, t3):  # noqa: E741  the field's symbol
    """Write a row of two predictors: weight times l and its derivatives; h and t are derivatives of -l."""
    out[0, i], out[1, i], out[2, i] = a * l, a * s0, a * s1
    out[3, i], out[4, i], out[5, i] = -a * h00, -a * h10, -a * h11
    out[6, i], out[7, i], out[8, i] = a * (abs(h00) + abs(h10)), 0.0, a * (abs(h10) + abs(h11))
    out[9, i], out[10, i], out[11, i], out[12, i] = -a * t0, -a * t1, -a * t2, -a * t3
    return a * l


@inline
def put_three(out, i, a, row):
    """Write a row of three predictors."""
    for j in range(4):
        out[j, i] = a * row[j]
    for j in range(4, 10):
        out[j, i] = -a * row[j]
        out[j + 6, i] = 0.0
    for j in range(10, 20):
        out[j + 6, i] = -a * row[j]
    low, middle, high = abs(row[5]), abs(row[7]), abs(row[8])
    out[10, i] = a * (abs(row[4]) + low + middle)
    out[12, i] = a * (abs(row[6]) + low + high)
    out[15, i] = a * (abs(row[9]) + middle + high)
    return a * row[0]


# -- the loops over rows -----------------------------------------------------------------------------------------
# ``repeat``: the prior weight repeats the row (multiplies its log density); otherwise it belongs to the law, as the
# number of trials does. ``inflated``: the law has zeros of its own. Both are constants to the compiler.


def zero_kernel(density: Callable[..., Any], repeat: bool, inflated: bool) -> Any:
    """Kernel ``observe`` of a family with a zero part."""

    def observe(y, eta, a, base, phi, order, out):
        first, second, third = shape_jets(phi, -1)
        total = 0.0
        for i in range(y.size):
            if a[i] == 0.0:
                out[:, i] = 0.0
                continue
            inside, outside = (1.0, a[i]) if repeat else (a[i], 1.0)
            f = constant(0.0)
            if inflated or y[i] != 0.0:
                f = density(y[i], inside, first_variable(eta[0, i]), first, second, third)
                f = add(f, constant(base[i] / outside))
            r = with_zeros(y[i], f, eta[1, i], inflated)
            total += put_two(out, i, outside, r[0], r[1], r[2], r[4], r[5], r[6], r[10], r[11], r[12], r[13])
        return total

    return kernel(observe)


def dispersion_kernel(density: Callable[..., Any], repeat: bool) -> Any:
    """Kernel ``observe`` of a family whose first shape parameter has a predictor of its own."""

    def observe(y, eta, a, base, phi, order, out):
        second, third, _ = shape_jets(phi, -1)
        total = 0.0
        for i in range(y.size):
            if a[i] == 0.0:
                out[:, i] = 0.0
                continue
            inside, outside = (1.0, a[i]) if repeat else (a[i], 1.0)
            delta = exp_of(second_variable(eta[1, i]))
            f = density(y[i], inside, first_variable(eta[0, i]), delta, second, third)
            l = f[F] + base[i] / outside  # noqa: E741  the field's symbol
            total += put_two(
                out, i, outside, l, f[F1], f[F2], f[F11], f[F12], f[F22], f[F111], f[F112], f[F122], f[F222]
            )
        return total

    return kernel(observe)


def zero_dispersion_kernel(density: Callable[..., Any], repeat: bool, inflated: bool) -> Any:
    """Kernel ``observe`` of a family with both."""

    def observe(y, eta, a, base, phi, order, out):
        second, third, _ = shape_jets(phi, -1)
        total = 0.0
        for i in range(y.size):
            if a[i] == 0.0:
                out[:, i] = 0.0
                continue
            inside, outside = (1.0, a[i]) if repeat else (a[i], 1.0)
            f = constant(0.0)
            if inflated or y[i] != 0.0:
                delta = exp_of(second_variable(eta[2, i]))
                f = density(y[i], inside, first_variable(eta[0, i]), delta, second, third)
                f = add(f, constant(base[i] / outside))
            total += put_three(out, i, outside, with_zeros(y[i], f, eta[1, i], inflated))
        return total

    return kernel(observe)


def zero_shape_kernel(density: Callable[..., Any], repeat: bool, inflated: bool) -> Any:
    """Kernel ``observe_shape`` of a family with a zero part."""

    def observe_shape(y, eta, a, phi, j, out):
        first, second, third = shape_jets(phi, j)
        for i in range(y.size):
            if a[i] == 0.0:
                out[:, i] = 0.0
                continue
            inside, outside = (1.0, a[i]) if repeat else (a[i], 1.0)
            f = constant(0.0)
            if inflated or y[i] != 0.0:
                f = density(y[i], inside, first_variable(eta[0, i]), first, second, third)
            r = with_zeros(y[i], f, eta[1, i], inflated)
            out[0, i], out[1, i], out[2, i] = outside * r[3], outside * r[7], outside * r[8]
            out[3, i], out[4, i], out[5, i] = -outside * r[14], -outside * r[15], -outside * r[16]

    return kernel(observe_shape)


def dispersion_shape_kernel(density: Callable[..., Any], repeat: bool) -> Any:
    r"""Kernel ``observe_shape`` of a family with a predictor for its first shape parameter, in one of the others, psi.

    A density's shape parameters move with the second variable only. So derivatives in delta and psi come from those
    along psi and along :math:`\pm\delta + \psi`, f and :math:`f^\pm`:
    :math:`4 l_{\delta\psi} = f^+_{22} - f^-_{22}`, :math:`4 l_{\eta\delta\psi} = f^+_{122} - f^-_{122}`,
    :math:`6 l_{\delta\delta\psi} = f^+_{222} + f^-_{222} - 2 f_{222}`.
    """

    def observe_shape(y, eta, a, phi, j, out):
        second, third, _ = shape_jets(phi, j)
        for i in range(y.size):
            if a[i] == 0.0:
                out[:, i] = 0.0
                continue
            inside, outside = (1.0, a[i]) if repeat else (a[i], 1.0)
            x, delta = first_variable(eta[0, i]), second_variable(eta[1, i])
            f = density(y[i], inside, x, constant(np.exp(eta[1, i])), second, third)
            up = density(y[i], inside, x, exp_of(delta), second, third)
            down = density(y[i], inside, x, exp_of(shift(times(-1.0, delta), 2.0 * eta[1, i])), second, third)
            by_delta, mixed = 0.25 * (up[F22] - down[F22]), 0.25 * (up[F122] - down[F122])
            twice = (up[F222] + down[F222] - 2.0 * f[F222]) / 6.0
            out[0, i], out[1, i], out[2, i] = outside * f[F2], outside * f[F12], outside * by_delta
            out[3, i], out[4, i], out[5, i] = -outside * f[F112], -outside * mixed, -outside * twice

    return kernel(observe_shape)


# -- the family ----------------------------------------------------------------------------------------------------


def accepts(family: Family, value: float) -> bool:
    """Whether a family admits a response."""
    try:
        family.check_response(np.array([value]), np.ones(1))
    except ResponseError:
        return False
    return True


class CoupledFamily(Family):
    """A base family with a zero part, a predictor for its dispersion, or both.

    Parameters
    ----------
    base : Family
    zi : bool
        A zero part: zero inflation where the base family has zeros of its own, a hurdle where it has none.
    dispersion : bool
        The logarithm of the first shape parameter has a predictor.

    Attributes
    ----------
    part_names : tuple of str
        "main", then "zi" and "dispersion" as far as they exist: what each linear predictor is for.
    inflated : bool
        Whether the base family has zeros of its own beside those of the zero part.

    Raises
    ------
    FamilyError
        A zero part for a law on the whole line; a dispersion for a family without (or with a known) shape parameter.
    """

    base: Family
    zi: bool
    dispersion: bool
    inflated: bool
    phi: tuple[float, ...] | None

    def __init__(self, base: Family, zi: bool, dispersion: bool) -> None:
        self._set("base", base)
        self._set("link", base.link)
        self._set("zi", zi)
        self._set("dispersion", dispersion)
        self._set("phi", None)
        if base.link.name not in base.densities:
            raise NotAvailableError(
                f"zi= and dispersion= need the log density of the {base.name} family with the {base.link.name} link in "
                f"a form that it has for {', '.join(base.densities) or 'no link'}"
            )
        self._set("inflated", zi and self._zeros_of_its_own())
        self._set("shape_names", base.shape_names[1:] if dispersion else base.shape_names)
        if dispersion and (not base.shape_names or not isinstance(base.shape_scales[0], LogScale)):
            raise FamilyError(
                f"dispersion= models the dispersion or size of a family; the {base.name} family here has none to "
                "estimate",
                family=base.name,
            )
        if zi and dispersion and self.shape_names:
            raise NotAvailableError(
                f"zi= together with dispersion= needs a family with one shape parameter; the {base.name} family has "
                f"{', '.join(base.shape_names)}: give {', '.join(self.shape_names)} a known value"
            )

    def _zeros_of_its_own(self) -> bool:
        """Whether the base family admits zero; an error if it is a law on the whole line."""
        if accepts(self.base, 0.0) and accepts(self.base, -1.0):
            raise FamilyError(
                f"zi= adds zeros to a response that is not negative; a {self.base.name} response has no mass at zero. "
                "For a positive response with zeros take a hurdle model: family='gamma' or 'lognormal' with zi=",
                family=self.base.name,
            )
        return accepts(self.base, 0.0)

    def _key(self) -> tuple[Any, ...]:
        return type(self), self.base, self.zi, self.dispersion, self.phi

    @property
    def name(self) -> str:  # type: ignore[override]
        """The base family's name after what kind of zeros are added."""
        return f"{self.kind} {self.base.name}" if self.zi else self.base.name

    @property
    def kind(self) -> str:
        """What the zero part does."""
        return "zero-inflated" if self.inflated else "hurdle"

    @property
    def r_name(self) -> str:  # type: ignore[override]
        """The base family as R's summary names it."""
        return self.base.r_name

    def __repr__(self) -> str:
        return f"CoupledFamily({self.base!r}, zi={self.zi}, dispersion={self.dispersion})"

    @property
    def part_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """What each linear predictor is for."""
        return (MAIN,) + (ZI,) * self.zi + (DISPERSION,) * self.dispersion

    @property
    def n_parts(self) -> int:  # type: ignore[override]
        """Linear predictors."""
        return len(self.part_names)

    @property
    def links(self) -> tuple[Link, ...]:
        """The base family's link, the logit of the zero part, the logarithm of the dispersion."""
        return (self.link,) + (get_link("logit"),) * self.zi + (get_link("log"),) * self.dispersion

    @property
    def shape_scales(self) -> tuple[ShapeScale, ...]:
        """Working scales of the shape parameters that are left."""
        return self.base.shape_scales[1:] if self.dispersion else self.base.shape_scales

    @property
    def fixed_shape(self) -> FloatArray:
        """Known shape parameters."""
        return self.base.fixed_shape

    @property
    def is_canonical(self) -> bool:
        """Never: there is no expected information."""
        return False

    @property
    def log_concave(self) -> bool:
        """Never for certain."""
        return False

    @property
    def is_binomial(self) -> bool:  # type: ignore[override]
        """Whether the response is a proportion of trials."""
        return self.base.is_binomial

    @property
    def is_count(self) -> bool:  # type: ignore[override]
        """Whether the law is one of counts."""
        return self.base.is_count

    @property
    def mean_is_inverse_link(self) -> bool:  # type: ignore[override]
        """Whether the law's mean is its inverse link, whatever its shape parameters are."""
        return self.base.mean_is_inverse_link

    @property
    def weights_repeat(self) -> bool:  # type: ignore[override]
        """Whether the prior weight multiplies the log density."""
        return self.base.weights_repeat

    # -- kernels -------------------------------------------------------------------------------------------------

    @property
    def observe(self) -> Any:
        """Kernel ``observe(y, eta, a, base, phi, order, out)``, eta (K, n); rows by :func:`.observation_rows`."""
        density, repeat = self.base.densities[self.link.name], self.weights_repeat
        if self.zi and self.dispersion:
            return self.base.built(zero_dispersion_kernel, density, repeat, self.inflated)
        if self.zi:
            return self.base.built(zero_kernel, density, repeat, self.inflated)
        return self.base.built(dispersion_kernel, density, repeat)

    @property
    def observe_nodes(self) -> Any:
        """Function ``observe_nodes(y, eta, a, base, phi, l, s)``: eta and s have shape (K, n, nodes), l (n, nodes)."""
        return self._observe_nodes

    def _observe_nodes(
        self,
        y: FloatArray,
        eta: FloatArray,
        a: FloatArray,
        base: FloatArray,
        phi: FloatArray,
        l: FloatArray,  # noqa: E741  the field's symbol
        s: FloatArray,
    ) -> None:
        inside, outside = self._split_weights(y, a)
        law_base = np.divide(base, outside, out=np.zeros_like(base), where=inside != 0.0)
        if self.dispersion:
            law = self.base.built(law_nodes, self.base.densities[self.link.name])
            law(y, eta, inside, law_base, phi, self.n_parts - 1, l, s)
        else:
            large = np.maximum(y, inside) >= LARGE  # where point functions leave out something else than the density
            if large.any():
                law_base[large] = self.base.base_measure(y[large], inside[large])
            self.base.observe_nodes(y, eta[0], inside, law_base, phi, l, s[0])
        if self.zi:
            add_zero_part(y, outside, self.inflated, eta[1], l, s)
        else:
            l *= outside[:, None]  # noqa: E741
            s *= outside[:, None]

    def _split_weights(self, y: FloatArray, a: FloatArray) -> tuple[FloatArray, FloatArray]:
        """What of the prior weight belongs to the law (zero where the law does not matter), and what repeats a row."""
        counts = (a != 0.0).astype(np.float64)
        inside, outside = (counts, a) if self.weights_repeat else (a, counts)
        return inside if self.inflated or not self.zi else np.where(y == 0.0, 0.0, inside), outside

    @property
    def observe_shape_nodes(self) -> Any:
        """Function ``observe_shape_nodes(y, eta, a, phi, j, out)``: eta has shape (K, n, nodes), out (n, nodes)."""
        return self._observe_shape_nodes

    def _observe_shape_nodes(
        self, y: FloatArray, eta: FloatArray, a: FloatArray, phi: FloatArray, j: int, out: FloatArray
    ) -> None:
        inside, outside = self._split_weights(y, a)
        if self.dispersion:
            law = self.base.built(law_shape_nodes, self.base.densities[self.link.name])
            law(y, eta, inside, phi, j, out)
        else:
            self.base.observe_shape_nodes(y, eta[0], inside, phi, j, out)
        if self.inflated:
            zeros = np.flatnonzero(y == 0.0)
            f, slope = np.empty((2, zeros.size, out.shape[1]))
            self.base.observe_nodes(y[zeros], eta[0, zeros], inside[zeros], np.zeros(zeros.size), phi, f, slope)
            add_zero_part_to_shape(zeros, f, eta[1], out)
        out *= outside[:, None]
        out[inside == 0.0] = 0.0

    @property
    def observe_shape(self) -> Any:
        """Kernel ``observe_shape(y, eta, a, phi, j, out)``; rows by :func:`.shape_rows`."""
        density, repeat = self.base.densities[self.link.name], self.weights_repeat
        if not self.shape_names:
            raise NotAvailableError(f"the {self.name} family has no shape parameter beside its predictors")
        if self.zi:
            return self.base.built(zero_shape_kernel, density, repeat, self.inflated)
        return self.base.built(dispersion_shape_kernel, density, repeat)

    def base_measure(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """What the densities leave out; nothing at the zeros of a hurdle."""
        law = self.base.density_base(self.of_the_law(y), a)
        return law if self.inflated or not self.zi else np.where(y == 0.0, 0.0, law)

    def of_the_law(self, y: FloatArray) -> FloatArray:
        """The response with the zeros that the law cannot have replaced by one of its other values."""
        if self.inflated or not self.zi:
            return y
        others = y[y != 0.0]
        return np.where(y == 0.0, others[0] if others.size else 1.0, y)

    def check_response(self, y: FloatArray, a: FloatArray) -> None:
        """What the base family asks for; zeros for a zero part to explain, and not only zeros."""
        zero = (y == 0.0) & (a > 0.0)
        if self.zi and not zero.any():
            raise ResponseError(f"the response has no zeros (its least value is {y.min():g}): leave zi= out")
        if self.zi and not np.any((y != 0.0) & (a > 0.0)):
            raise ResponseError("the response is zero in every row: there is nothing but the zero part to model")
        self.base.check_response(self.of_the_law(y), a)

    def check_new_response(self, y: FloatArray, a: FloatArray) -> None:
        """What the base family asks for; there may be no zeros, or nothing else."""
        if self.inflated or not self.zi or np.any(y != 0.0):
            self.base.check_new_response(self.of_the_law(y), a)

    # -- moments and draws, for a family that knows its shape parameters (see ``at``) -----------------------------

    def at(self, phi: FloatArray) -> CoupledFamily:
        """Return the same family with its shape parameters known."""
        other = CoupledFamily(self.base, self.zi, self.dispersion)
        other._set("phi", tuple(float(value) for value in np.asarray(phi)[: self.n_shape]))
        return other

    def _known(self) -> FloatArray:
        """The shape parameters beside the predictors."""
        if self.phi is None:
            raise NotAvailableError(
                f"what is asked of the {self.name} family depends on its parameters; ask family.at(phi), which knows "
                "them"
            )
        return np.array(self.phi)

    def _deviance(self, y: FloatArray, mu: FloatArray) -> FloatArray:
        """No saturated model is defined."""
        return np.full(np.broadcast_shapes(np.shape(y), np.shape(mu)), np.nan)

    def share(self, eta: FloatArray) -> FloatArray:
        """Probability of a zero from the zero part, shape (m,); zeros where there is none."""
        return get_link("logit").inverse(eta[1]) if self.zi else np.zeros(eta.shape[1])

    def first_shape(self, eta: FloatArray) -> FloatArray:
        """The dispersion of each row, shape (m,)."""
        if self.dispersion:
            return np.exp(eta[-1])
        known = self.base.complete(self._known())
        return np.full(eta.shape[1], known[0] if known.size else 1.0)

    def law_mean(self, eta: FloatArray) -> FloatArray:
        """Mean of the law, the zero part left out, shape (m,)."""
        if self.mean_is_inverse_link:
            return self.link.inverse(eta[0])
        return self._by_dispersion(eta, lambda family, rows: family.fitted_mean(eta[0, rows]))

    def law_slopes(self, eta: FloatArray) -> FloatArray:
        """Derivatives of the law's mean in each predictor, shape (K, m); in the dispersion by differences."""
        slopes = np.zeros_like(eta)
        if self.mean_is_inverse_link:
            slopes[0] = self.link.mu_eta(eta[0])
            return slopes
        slopes[0] = self._by_dispersion(eta, lambda family, rows: family.fitted_slope(eta[0, rows]))
        if self.dispersion:
            step = np.zeros((self.n_parts, 1))
            step[-1] = STEP
            slopes[-1] = sum(c * (self.law_mean(eta + k * step) - self.law_mean(eta - k * step)) for k, c in STENCIL)
            slopes[-1] /= STEP
        return slopes

    def law_variance(self, eta: FloatArray) -> FloatArray:
        """Variance of an observation of weight one under the law, shape (m,)."""
        mu = self.link.inverse(eta[0])
        value = self._by_dispersion(eta, lambda family, rows: family.variance(mu[rows]))
        return value * self.first_shape(eta) if self.base.has_scale else value

    def fitted_mean(self, eta: FloatArray) -> FloatArray:
        """Mean of the response, (1 - pi) times that of the law, shape (m,)."""
        return (1.0 - self.share(eta)) * self.law_mean(eta)

    def response_slopes(self, eta: FloatArray) -> FloatArray:
        """Derivatives of the mean of the response in each predictor, shape (K, m)."""
        p = self.share(eta)
        slopes = (1.0 - p) * self.law_slopes(eta)
        if self.zi:
            slopes[1] = -p * (1.0 - p) * self.law_mean(eta)
        return slopes

    def response_variance(self, eta: FloatArray) -> FloatArray:
        """(1 - pi) (V + pi m^2), for an observation of weight one, shape (m,)."""
        p = self.share(eta)
        return (1.0 - p) * (self.law_variance(eta) + p * self.law_mean(eta) ** 2)

    def draw(self, eta: FloatArray, a: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Responses at the linear predictors (K, m)."""
        mu = self.link.inverse(eta[0])
        rest, shape = self._known(), self.first_shape(eta)

        def drawn(family: Family, rows: Any) -> FloatArray:
            phi = np.concatenate([shape[rows][:1], rest]) if self.dispersion else rest
            return self.base.simulate(mu[rows], a[rows], self.base.complete(phi), rng)

        y = self._by_dispersion(eta, drawn)
        return np.where(rng.random(y.size) < self.share(eta), 0.0, y) if self.zi else y

    def _by_dispersion(self, eta: FloatArray, compute: Callable[[Family, Any], FloatArray]) -> FloatArray:
        """``compute(base family that knows its shapes, rows)`` for each distinct dispersion, put together."""
        rest, out = self._known(), np.empty(eta.shape[1])
        if not self.dispersion:
            return compute(self.base.at(rest), slice(None))
        values, which = np.unique(eta[-1], return_inverse=True)
        order = np.argsort(which, kind="stable")
        for value, rows in zip(values, np.split(order, np.searchsorted(which[order], np.arange(1, values.size)))):
            out[rows] = compute(self.base.at(np.concatenate([[np.exp(value)], rest])), rows)
        return out
