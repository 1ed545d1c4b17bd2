r"""Families that are written as one log density, in jets.

Place in the reading order: after ``base``, before the distributions that use it. A module gives, for each link, a
density ``(y, a, eta, first, second, third) -> jet`` (see :func:`.kernel.density_kernel`); all derivatives, in the
linear predictor and in the shape parameters, come from there. What is left to a subclass is the support, the variance,
a start and a way to draw.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from refglmm.errors import ArgumentError, FamilyError, NotAvailableError
from refglmm.families.base import Family, FloatArray
from refglmm.families.kernel import VALUE
from refglmm.families.links import Link
from refglmm.families.shape_scales import LogScale, ShapeScale


class DensityFamily(Family):
    """A family from its log density. Shape parameters are estimated, or known if given to the constructor.

    Parameters
    ----------
    link : str or Link, optional
    **known : float
        Known shape parameters by name. Those that are estimated come first in :attr:`all_shapes`, so a parameter can
        be known only together with those that follow it.

    Attributes
    ----------
    all_shapes : mapping
        Name and scale of every shape parameter, in the order in which the density takes them.
    """

    all_shapes: ClassVar[dict[str, ShapeScale]] = {"phi": LogScale()}
    known: tuple[float, ...]

    def __init__(self, link: str | Link | None = None, **known: float | None) -> None:
        super().__init__(link)
        given = {name: float(value) for name, value in known.items() if value is not None}
        for name, value in given.items():
            if name not in self.all_shapes:
                raise FamilyError(
                    f"the {self.name} family has no parameter {name!r}; it has {', '.join(self.all_shapes)}",
                    family=self.name,
                    parameter=name,
                )
            scale = self.all_shapes[name]
            if not scale.low < value < scale.high:
                raise ArgumentError(
                    f"{name} of the {self.name} family must lie between {scale.low:g} and {scale.high:g}, not "
                    f"{value!r}",
                    **{name: value},
                )
        free = tuple(name for name in self.all_shapes if name not in given)
        if free != tuple(self.all_shapes)[: len(free)]:
            raise ArgumentError(
                f"the {self.name} family estimates its parameters in the order {', '.join(self.all_shapes)}: what "
                f"follows a known one must be known too"
            )
        self._set("shape_names", free)
        self._set("known", tuple(given[name] for name in self.all_shapes if name in given))

    def __repr__(self) -> str:
        names = list(self.all_shapes)[self.n_shape :]
        known = "".join(f", {name}={value:g}" for name, value in zip(names, self.known, strict=True))
        return f"{type(self).__name__}(link={self.link.name!r}{known})"

    @property
    def r_name(self) -> str:  # type: ignore[override]
        """The name, with the parameters that are known."""
        return self.name if not self.known else f"{self.name}({', '.join(f'{value:.4g}' for value in self.known)})"

    @property
    def fixed_shape(self) -> FloatArray:
        """Known shape parameters, the last ones."""
        return np.array(self.known)

    @property
    def shape_scales(self) -> tuple[ShapeScale, ...]:
        """Working scales of the shape parameters that are estimated."""
        return tuple(self.all_shapes[name] for name in self.shape_names)

    def at(self, phi: FloatArray) -> DensityFamily:
        """Return the same family with every shape parameter known."""
        values = self.complete(phi)
        return type(self)(self.link.name, **dict(zip(self.all_shapes, map(float, values), strict=True)))

    def shape(self, name: str) -> float:
        """Value of a known shape parameter."""
        if self.n_shape:
            raise NotAvailableError(
                f"what is asked of the {self.name} family depends on its estimated {', '.join(self.shape_names)}; ask "
                "family.at(phi), which knows them"
            )
        return self.known[list(self.all_shapes).index(name)]

    def log_density(self, y: FloatArray, mu: FloatArray, a: FloatArray, phi: FloatArray | None = None) -> FloatArray:
        """Log density of each row, weighted, with all constants; phi: the estimated shape parameters."""
        out = np.empty((6, y.size))
        shapes = self.complete(np.empty(0) if phi is None else phi)
        with np.errstate(all="ignore"):
            self.observe(y, self.link.link(mu), a, self.base_measure(y, a), shapes, VALUE, out)
        return out[0]

    def _deviance(self, y: FloatArray, mu: FloatArray) -> FloatArray:
        """No saturated model is defined."""
        return np.full(np.broadcast_shapes(np.shape(y), np.shape(mu)), np.nan)

    def minus_two_log_density(self, y: FloatArray, mu: FloatArray, a: FloatArray, deviance: float) -> float:
        """-2 sum l, where every shape parameter is known (lme4 itself has no such family)."""
        if self.n_shape:
            raise NotAvailableError(
                f"mode='lme4' cannot estimate {', '.join(self.shape_names)} of the {self.name} family; use mode='exact'"
            )
        return float(-2.0 * np.sum(self.log_density(y, mu, a)))
