r"""What a profile leaves behind: points, and the curve psi(zeta) through them, from which everything is read.

Place in the reading order: after ``parameters``, before ``profile``, which makes it.

* An interval of level 1 - alpha: :math:`[\psi(-z),\,\psi(z)]`, z the normal quantile of 1 - alpha/2. A side that does
  not reach z ends at the bound that the walk came to (0, or a correlation of one), or is nan.
* The density that zeta implies, if it were standard normal: :math:`\varphi(\zeta)\,\zeta'(\psi)`.
* Pairs: the trace of each parameter along the profile of the other, and the contours of the two-parameter likelihood
  that the traces imply,

  .. math:: \zeta_i = \tau\cos(t + d/2),\qquad \zeta_j = \tau\cos(t - d/2),

  with the phase difference d(t) interpolated periodically between the four points where a contour crosses a trace
  (there it runs parallel to an axis).

All of it is equivariant: on the scale of log standard deviations or of variances the same curves are read through
another mapping.

Source: Bates and Watts (1988), appendix 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.errors import ArgumentError, ProfileWarning, warn
from refglmm.fit.html import html_block, html_lines, html_table
from refglmm.fit.rformat import format_numbers, table
from refglmm.inference.parameters import Parameter, percent_names, select, tail_shares
from refglmm.inference.picture import Pictured

if TYPE_CHECKING:
    from refglmm.fitted import FittedModel

FloatArray = NDArray[np.float64]

#: Scales on which standard deviations (and sigma) can be shown, with the names that they get.
SCALES = {"sd": "{}", "log": "log({})", "variance": "var[{}]"}
#: Points of a curve drawn through the profile.
FINE = 400
#: Halvings that find a value on a cubic.
BISECTIONS = 52
#: A fall of zeta that is none.
ROUNDING = 1e-6
#: Points on a contour.
ROUND = 181


@dataclass(frozen=True)
class Curve:
    """The profile of one parameter: points in increasing order of the parameter.

    Attributes
    ----------
    parameter : Parameter
    inner : float array, shape (m,)
        The parameter on its inner scale (see :meth:`.Parameter.inner`); empty if it is not defined at the estimate.
    zeta, slope : float array, shape (m,)
        zeta and d zeta / d inner; the slope is nan where it is not known.
    values : float array, shape (m, number of parameters)
        Every parameter at each point.
    evaluations : int
        Evaluations of -2 log L that it took.
    """

    parameter: Parameter
    inner: FloatArray
    zeta: FloatArray
    slope: FloatArray
    values: FloatArray
    evaluations: int

    def __post_init__(self) -> None:
        for array in (self.inner, self.zeta, self.slope, self.values):
            array.setflags(write=False)

    @property
    def is_monotone(self) -> bool:
        """Whether zeta rises with the parameter everywhere: neither flat nor with several humps."""
        return bool(np.all(np.diff(self.zeta) > 0.0))

    @property
    def falls(self) -> bool:
        """Whether zeta falls somewhere: the estimate is not the only optimum."""
        return bool(np.any(np.diff(self.zeta) < -ROUNDING))

    def at(self, zeta: FloatArray) -> FloatArray:
        """The parameter (inner scale) at which the profile has these zeta; nan beyond its ends."""
        zeta = np.asarray(zeta, dtype=float)
        if self.zeta.size < 2:
            return np.full(zeta.shape, np.nan)
        if not self.is_monotone:
            return np.array([self._crossing(z) for z in zeta.ravel()]).reshape(zeta.shape)
        inside = (zeta >= self.zeta[0]) & (zeta <= self.zeta[-1])
        k = np.clip(np.searchsorted(self.zeta, zeta, side="right") - 1, 0, self.zeta.size - 2)
        return np.where(inside, self._in_segment(k, np.where(inside, zeta, self.zeta[k])), np.nan)

    def _in_segment(self, k: NDArray[np.int64], zeta: FloatArray) -> FloatArray:
        """Psi at zeta between the points k and k + 1, by the cubic in psi or in zeta, whichever bends less.

        zeta(psi) is flat at a standard deviation of zero (-2 log L is even there), psi(zeta) at an estimate of a
        correlation on its bound: one of the two cubics is poor there, the other one good.
        """
        x0, x1, z0, z1 = self.inner[k], self.inner[k + 1], self.zeta[k], self.zeta[k + 1]
        secant, slope = (z1 - z0) / (x1 - x0), self.known_slopes()
        s0, s1 = slope[k], slope[k + 1]
        with np.errstate(divide="ignore", invalid="ignore"):
            steep, lowest = np.maximum(s0, s1) / secant, np.minimum(s0, s1)
            flat = np.where(lowest > 0.0, secant / lowest, np.inf)
            backward = hermite((zeta - z0) / (z1 - z0), x0, x1, (z1 - z0) / s0, (z1 - z0) / s1)
        s0, s1 = np.where(np.isfinite(s0), s0, 0.0), np.where(np.isfinite(s1), s1, 0.0)
        low, high = np.zeros(zeta.shape), np.ones(zeta.shape)
        for _ in range(BISECTIONS):
            middle = 0.5 * (low + high)
            above = hermite(middle, z0, z1, (x1 - x0) * s0, (x1 - x0) * s1) > zeta
            low, high = np.where(above, low, middle), np.where(above, middle, high)
        return np.where(steep <= flat, x0 + 0.5 * (low + high) * (x1 - x0), backward)

    def known_slopes(self) -> FloatArray:
        """d zeta / d inner, with what it must be at an estimate on its boundary.

        There zeta rises like the parameter itself (a standard deviation, the secant will do) or, for a correlation
        on its bound, like the root of the distance (infinite slope).
        """
        slope = self.slope.copy()
        for k, other in ((0, 1), (-1, -2)):
            if np.isnan(slope[k]):
                secant = (self.zeta[other] - self.zeta[k]) / (self.inner[other] - self.inner[k])
                slope[k] = np.inf if self.parameter.kind in ("cor", "pacf") and self.zeta[k] == 0.0 else secant
        return np.where(np.isnan(slope), np.gradient(self.zeta, self.inner), slope)

    def _crossing(self, z: float) -> float:
        """The first crossing of z on the way out from the estimate, by linear interpolation."""
        start = int(np.flatnonzero(self.zeta == 0.0)[0])
        way = range(start, self.zeta.size - 1) if z > 0 else range(start, 0, -1)
        for k in way if z else ():
            following = k + 1 if z > 0 else k - 1
            low, high = self.zeta[k], self.zeta[following]
            if min(low, high) <= z <= max(low, high) and low != high:
                share = (z - low) / (high - low)
                return float(self.inner[k] + share * (self.inner[following] - self.inner[k]))
        return np.nan if z else float(self.inner[start])

    def end(self, z: float) -> float:
        """One end of an interval, on the outer scale: the parameter at zeta = z, or the bound short of it."""
        if self.zeta.size == 0:
            return np.nan
        found = float(self.at(np.array([z]))[0])
        if np.isfinite(found):
            return float(self.parameter.outer(found))
        bound = self.parameter.lower if z < 0 else self.parameter.upper
        reached = float(self.parameter.outer(self.inner[0 if z < 0 else -1]))
        if reached == bound or self.parameter.kind in ("shape", "log"):
            return float(bound)
        return np.nan

    def fine(self, n: int = FINE) -> tuple[FloatArray, FloatArray]:
        """Zeta and the parameter (outer scale) on a fine grid of zeta."""
        if self.zeta.size < 2:
            return np.empty(0), np.empty(0)
        if not self.is_monotone:
            return self.zeta.copy(), self.parameter.outer(self.inner)
        zeta = np.linspace(self.zeta[0], self.zeta[-1], n)
        return zeta, self.parameter.outer(self.at(zeta))


def hermite(t: FloatArray, y0: FloatArray, y1: FloatArray, d0: FloatArray, d1: FloatArray) -> FloatArray:
    """The cubic on [0, 1] with these values and slopes at the ends."""
    u = 1.0 - t
    return u * u * ((1.0 + 2.0 * t) * y0 + t * d0) + t * t * ((1.0 + 2.0 * u) * y1 - u * d1)


@dataclass(frozen=True, eq=False, repr=False)
class Profile(Pictured):
    """Profiles of some or all parameters of a fit.

    Attributes
    ----------
    curves : tuple of Curve
        One for each parameter that was profiled.
    parameters : tuple of Parameter
        All parameters of the model.
    estimate : float array
        Their estimates.
    cutoff : float
        The abs(zeta) that the walks aimed for.
    notes : tuple of str
        What to know about it.
    scale : {"sd", "log", "variance"}
        How standard deviations are shown; see :meth:`on_scale`.
    better_fit : FittedModel, optional
        The fit that this is the profile of, if a lower -2 log L was found than that of the fit asked about.
    """

    picture = "profile.plot_zeta"

    curves: tuple[Curve, ...]
    parameters: tuple[Parameter, ...]
    estimate: FloatArray
    cutoff: float
    notes: tuple[str, ...] = ()
    scale: str = "sd"
    better_fit: FittedModel | None = None

    def __post_init__(self) -> None:
        self.estimate.setflags(write=False)

    # -- names and scales ------------------------------------------------------------------------------------

    def on_scale(self, scale: str) -> Profile:
        """The same profiles with standard deviations as themselves ("sd"), their logarithms ("log") or squares.

        ("variance" names the last.) Correlations, shapes and coefficients stay as they are.
        """
        if scale not in SCALES:
            raise ArgumentError(f"unknown scale {scale!r}; choose from {', '.join(SCALES)}")
        return replace(self, scale=scale)

    def shown(self, parameter: Parameter, value: Any) -> Any:
        """A value on the scale shown."""
        if parameter.kind not in ("sd", "sigma") or self.scale == "sd":
            return value
        with np.errstate(divide="ignore"):
            return np.log(value) if self.scale == "log" else np.square(value)

    def name(self, parameter: Parameter) -> str:
        """Its name on the scale shown."""
        return SCALES[self.scale].format(parameter.name) if parameter.kind in ("sd", "sigma") else parameter.name

    @property
    def names(self) -> list[str]:
        """Names of the parameters that were profiled, on the scale shown."""
        return [self.name(curve.parameter) for curve in self.curves]

    def curve(self, name: str) -> Curve:
        """The curve of one parameter, by its name on either scale."""
        for curve in self.curves:
            if name in (curve.parameter.name, self.name(curve.parameter)):
                return curve
        raise ArgumentError(f"{name!r} was not profiled; there are: {', '.join(self.names)}", parameter=name)

    # -- what is read from it --------------------------------------------------------------------------------

    @property
    def points(self) -> pd.DataFrame:
        """All points: zeta, every parameter at the constrained minimum, and which parameter was held."""
        names = [self.name(p) for p in self.parameters]
        frames = []
        for curve in self.curves:
            values = [self.shown(p, curve.values[:, k]) for k, p in enumerate(self.parameters)]
            frame = pd.DataFrame(dict(zip(names, values)))
            frame.insert(0, "zeta", curve.zeta)
            frames.append(frame.assign(parameter=self.name(curve.parameter)))
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["zeta", *names, "parameter"])

    def confint(self, parm: Any = None, *, level: float = 0.95) -> pd.DataFrame:
        """Intervals by parameter: columns "2.5 %" and "97.5 %" (for level 0.95).

        Parameters
        ----------
        parm : str, int or sequence, optional
            Among the parameters that were profiled; all by default.
        level : float
            Beyond the level that the walks were made for, ends are nan.
        """
        from scipy.stats import norm

        z = float(norm.ppf(tail_shares(level)[1]))
        chosen = select([curve.parameter for curve in self.curves], parm)
        curves = [curve for p in chosen for curve in self.curves if curve.parameter is p]
        self._warn_about_shape(curves)
        rows = [[self.shown(c.parameter, c.end(-z)), self.shown(c.parameter, c.end(z))] for c in curves]
        array = np.array(rows, dtype=float).reshape(-1, 2)
        return pd.DataFrame(array, index=[self.name(p) for p in chosen], columns=percent_names(level))

    @staticmethod
    def _warn_about_shape(curves: Sequence[Curve]) -> None:
        bent = [c.parameter.name for c in curves if c.falls]
        if bent:
            warn(
                ProfileWarning(
                    f"zeta is not monotone for {', '.join(bent)} (the likelihood has several humps); intervals end "
                    "where it is crossed first, by linear interpolation",
                    parameters=tuple(bent),
                )
            )

    def density(self, parm: Any = None, *, n: int = FINE) -> pd.DataFrame:
        """The density that each profile implies: columns parameter, value, density (on the scale shown)."""
        chosen = select([curve.parameter for curve in self.curves], parm)
        frames = []
        for parameter in chosen:
            zeta, outer = self.curve(parameter.name).fine(n)
            value = self.shown(parameter, outer)
            keep = np.isfinite(value)
            zeta, value = zeta[keep], value[keep]
            if value.size < 3:
                continue
            with np.errstate(divide="ignore", invalid="ignore"):
                height = np.exp(-0.5 * zeta**2) / np.sqrt(2.0 * np.pi) / np.gradient(value, zeta)
            frames.append(pd.DataFrame({"parameter": self.name(parameter), "value": value, "density": height}))
        empty = pd.DataFrame({"parameter": [], "value": [], "density": []})
        return pd.concat(frames, ignore_index=True) if frames else empty

    # -- pairs -----------------------------------------------------------------------------------------------

    def zeta_of(self, name: str, value: FloatArray) -> FloatArray:
        """Zeta of a parameter at values of its own (on the sd scale); nan outside the profile."""
        zeta, outer = self.curve(name).fine(10 * FINE)
        return np.interp(value, outer, zeta, left=np.nan, right=np.nan) if outer.size else np.full(value.shape, np.nan)

    def trace(self, held: str, other: str) -> tuple[FloatArray, FloatArray]:
        """How zeta of ``other`` moves along the profile of ``held``: (zeta of held, zeta of other)."""
        curve, k = self.curve(held), self.parameters.index(self.curve(other).parameter)
        return curve.zeta.copy(), self.zeta_of(other, curve.values[:, k])

    def contour(self, x: str, y: str, level: float) -> tuple[FloatArray, FloatArray]:
        r"""Zeta of x and of y along a contour of the likelihood of both: :math:`\tau^2 = \chi^2_{level}(2)`.

        Nan where the traces do not reach it (a variance that is bounded by zero, or a short profile).
        """
        from scipy.interpolate import CubicSpline
        from scipy.stats import chi2

        tau = float(np.sqrt(chi2.ppf(level, 2)))
        (x_up, x_down), (y_up, y_down) = self._cosines(x, y, tau), self._cosines(y, x, tau)
        a = np.array([0.0, -y_up, np.pi, y_down])  # angle of x and of y where the contour crosses the traces
        b = np.array([x_up, 0.0, 2.0 * np.pi - x_down, np.pi])
        if not np.all(np.isfinite(a + b)):
            return np.full(ROUND, np.nan), np.full(ROUND, np.nan)
        middle, phase = 0.5 * (a + b), a - b
        order = np.argsort(middle)
        knots, phases = middle[order], phase[order]
        d = CubicSpline(np.append(knots, knots[0] + 2.0 * np.pi), np.append(phases, phases[0]), bc_type="periodic")
        t = np.linspace(0.0, 2.0 * np.pi, ROUND)
        return tau * np.cos(t + 0.5 * d(t)), tau * np.cos(t - 0.5 * d(t))

    def _cosines(self, held: str, other: str, tau: float) -> tuple[float, float]:
        """The angle of ``other`` where its trace along ``held`` is at zeta = tau, and at -tau."""
        zeta, along = self.trace(held, other)
        usable = np.isfinite(along)
        zeta, along = zeta[usable], along[usable]
        if zeta.size < 3 or zeta.max() < tau or zeta.min() > -tau:
            return np.nan, np.nan
        from scipy.interpolate import PchipInterpolator

        at = PchipInterpolator(zeta, along)(np.array([tau, -tau]))
        up, down = np.arccos(np.clip(at / tau, -1.0, 1.0))
        return float(up), float(down)

    def pairs(self, x: str, y: str, levels: Sequence[float] = (0.5, 0.8, 0.9, 0.95, 0.99)) -> pd.DataFrame:
        """Contours of two parameters in long form: level, zeta_x, zeta_y, and both on the scale shown."""
        frames = []
        for level in levels:
            zeta_x, zeta_y = self.contour(x, y, level)
            values = [self._shown_at(name, zeta) for name, zeta in ((x, zeta_x), (y, zeta_y))]
            frames.append(
                pd.DataFrame({"level": level, "zeta_x": zeta_x, "zeta_y": zeta_y, "x": values[0], "y": values[1]})
            )
        return pd.concat(frames, ignore_index=True)

    def _shown_at(self, name: str, zeta: FloatArray) -> FloatArray:
        curve = self.curve(name)
        return self.shown(curve.parameter, curve.parameter.outer(curve.at(zeta)))

    # -- print -----------------------------------------------------------------------------------------------

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        header = ["", "Estimate", *percent_names(0.95), "points", "zeta from", "to"]
        rows = []
        for curve in self.curves:
            k, p = self.parameters.index(curve.parameter), curve.parameter
            low, high = (self.shown(p, curve.end(z)) for z in (-1.959963984540054, 1.959963984540054))
            numbers = format_numbers([self.shown(p, self.estimate[k]), low, high], 4)
            ends = (curve.zeta[0], curve.zeta[-1]) if curve.zeta.size else (np.nan, np.nan)
            rows.append([self.name(p), *numbers, str(curve.zeta.size), *(f"{z:.2f}" for z in ends)])
        return header, rows

    def __str__(self) -> str:
        header, rows = self._cells()
        lines = [f"Likelihood profile of {len(self.curves)} parameters", *self.notes]
        return "\n".join([*lines, table(header, rows, [True] + [False] * (len(header) - 1))])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        header, rows = self._cells()
        return html_block([html_table(header, rows, "Likelihood profile"), html_lines(self.notes)])
