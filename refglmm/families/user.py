r"""A family of your own, from one function of one observation.

Place in the reading order: after the distributions. Write the ``point`` function of ``kernel`` in plain
Python, ``(y, eta, a, base, phi) -> (l, s, h, w, dh, dw)``, and, if the distribution has shape parameters, a
shape function ``(y, eta, a, phi, j) -> (dl, ds, dh, dw)``. :meth:`UserFamily.check` compares them with
differences of order eight

.. math:: f'(x) \approx \frac1h \sum_{k=1}^4 c_k \{f(x + kh) - f(x - kh)\},\qquad
          c = (4/5, -1/5, 4/105, -1/280)

of the quantity before: s with dl, h with -ds, and so on. Whether w is the expectation of h no difference can
tell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from refglmm.families.kernel import (
    ALL,
    DH,
    DW,
    VALUE,
    H,
    L,
    S,
    W,
    array_kernel,
    inline,
    node_kernel,
    shape_kernel,
    shape_node_kernel,
)
from refglmm.families.links import Link, get_link

_STENCIL = (4 / 5, -1 / 5, 4 / 105, -1 / 280)
#: Step of the differences, relative to the argument: truncation near 1e-16, rounding near 1e-14.
_STEP = 0.01


@cache
def _compiled(builder: Callable[..., Any], point: Point | None, jit: bool) -> Any:
    """Loop of a user's function; not in the disk cache, which would not notice an edited function."""
    loop = pure(builder(inline(point) if jit and isinstance(point, FunctionType) else point))
    return numba.njit(error_model="numpy", nogil=True)(loop) if jit else loop


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
        Built-in name, or a :class:`~refglmm.families.links.Link` of your own.
    variance : function mu -> V(mu)
    unit_deviance : function (y, mu) -> deviance of a row of weight one, 0 where y equals mu
    shape_point : function ``(y, eta, a, phi, j) -> (dl, ds, dh, dw)/dphi_j``, optional
    shape_names : sequence of str
        Shape parameters to be estimated.
    shape_start : sequence of float
        Where their estimation starts.
    fixed_shape : sequence of float
        What ``point`` finds in ``phi`` where nothing is estimated.
    base_measure : function y -> part of l that is free of eta and phi, weight one; default 0
    initial_mu : function y -> means to start from; default y itself
    valid_y : function y -> bool array; default: finite
    simulate : function (mu, a, phi, rng) -> y, optional
    has_scale, is_canonical, log_concave : bool
    jit : bool
        Compile with numba (default). False runs the plain Python loop: slow, but everything Python has.
    """

    has_scale: bool  # type: ignore[misc]
    _start: tuple[float, ...]
    _known: tuple[float, ...]
    _point: Point
    _shape_point: Point | None
    _variance: Callable[[FloatArray], FloatArray]
    _unit_deviance: Callable[[FloatArray, FloatArray], FloatArray]
    _base_measure: Callable[[FloatArray], FloatArray]
    _initial_mu: Callable[[FloatArray], FloatArray]
    _valid_y: Callable[[FloatArray], Any]
    _simulate: Callable[..., FloatArray] | None
    _is_canonical: bool
    _log_concave: bool
    _jit: bool

    def __init__(
        self,
        name: str,
        point: Point,
        link: str | Link,
        *,
        variance: Callable[[FloatArray], FloatArray],
        unit_deviance: Callable[[FloatArray, FloatArray], FloatArray],
        shape_point: Point | None = None,
        shape_names: Sequence[str] = (),
        shape_start: Sequence[float] = (),
        fixed_shape: Sequence[float] = (),
        base_measure: Callable[[FloatArray], FloatArray] = np.zeros_like,
        initial_mu: Callable[[FloatArray], FloatArray] = np.array,
        valid_y: Callable[[FloatArray], Any] = np.isfinite,
        simulate: Callable[..., FloatArray] | None = None,
        has_scale: bool = False,
        is_canonical: bool = False,
        log_concave: bool = False,
        jit: bool = True,
    ) -> None:
        if len(shape_names) != len(shape_start):
            raise ArgumentError(
                f"{len(shape_names)} shape_names but {len(shape_start)} values in shape_start", family=name
            )
        if shape_names and shape_point is None:
            raise ArgumentError(f"estimating {', '.join(shape_names)} needs shape_point", family=name)
        self._set("name", name)
        self._set("r_name", name)
        self._set("link", link if isinstance(link, Link) else get_link(link))
        self._set("shape_names", tuple(shape_names))
        self._set("has_scale", has_scale)
        self._set("_start", tuple(map(float, shape_start)))
        self._set("_known", tuple(map(float, fixed_shape)))
        self._set("_point", point)
        self._set("_shape_point", shape_point)
        self._set("_variance", variance)
        self._set("_unit_deviance", unit_deviance)
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
    def is_canonical(self) -> bool:
        """Whether observed and expected information are the same function, as its author says."""
        return self._is_canonical

    @property
    def log_concave(self) -> bool:
        """Whether the observed information is never negative, as its author says."""
        return self._log_concave or self._is_canonical

    @property
    def observe(self) -> Any:
        """Kernel of the author's point function."""
        return _compiled(array_kernel, self._point, self._jit)

    @property
    def observe_shape(self) -> Any:
        """Kernel of the author's shape function."""
        if self._shape_point is None:
            raise NotAvailableError(f"the {self.name} family was given no shape_point")
        return _compiled(shape_kernel, self._shape_point, self._jit)

    @property
    def observe_nodes(self) -> Any:
        """Kernel of the author's point function for the nodes of a quadrature."""
        return _compiled(node_kernel, self._point, self._jit)

    @property
    def observe_shape_nodes(self) -> Any:
        """The same of the author's shape function."""
        return _compiled(shape_node_kernel, self._shape_point, self._jit)

    def variance(self, mu: FloatArray) -> FloatArray:
        """Variance function."""
        return self._variance(mu)

    def _deviance(self, y: FloatArray, mu: FloatArray) -> FloatArray:
        """The author's deviance."""
        return self._unit_deviance(y, mu)

    def base_measure(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """Weight times the author's base measure."""
        return weighted(a, self._base_measure(y))

    def initial_mu(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """Means to start from."""
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
            Shape parameters to try; by default where estimation starts, or the fixed ones.
        tolerance : float
            Largest ``|given - difference| / (1 + |difference|)`` that counts as agreement.
        """
        rows = np.broadcast_arrays(*(np.atleast_1d(np.asarray(x, dtype=np.float64)) for x in (y, eta, a)))
        y_, eta_, a_ = (np.ascontiguousarray(x).ravel() for x in rows)
        start = (self._start or self._known) if phi is None else phi
        return check_derivatives(self, y_, eta_, a_, np.array(start, dtype=np.float64), tolerance)


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
