r"""The numbers that predictions and simulations are made from: those of a fit, or others given in their place.

Place in the reading order: in ``fit``, after ``vcov``; ``rows``, ``predict`` and ``simulate`` come next.

A model says :math:`\eta = o + X\beta + \sum_t Z_t b_t`, :math:`b_t = T_t u` for each level, and then how y scatters
about :math:`\mu(\eta)`. :class:`Parameters` holds beta, the factors T_t on the scale of b (in a linear mixed model they
are sigma times the relative ones) and the shape parameters phi that the family draws with (sigma^2 for a linear mixed
model). Other values come as a mapping with any of ``par`` (or ``theta``), ``beta``, ``sigma`` (or ``phi``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refglmm.errors import ArgumentError
from refglmm.fit.parts import all_names
from refglmm.fit.ranef import mode_blocks, term_starts

if TYPE_CHECKING:
    from refglmm.covariance.base import Structure
    from refglmm.families.base import Family
    from refglmm.fitted import FittedModel

FloatArray = NDArray[np.float64]
KNOWN = ("par", "theta", "beta", "sigma", "phi")


@dataclass(frozen=True)
class Parameters:
    """What a model needs to say where a response lies and how it scatters.

    Attributes
    ----------
    par : float array
        Covariance parameters, relative to sigma in a linear mixed model.
    beta : float array, shape (p,)
    phi : float array
        Shape parameters that the family draws with; (sigma^2,) for families with a scale.
    factors : tuple of float arrays, shape (k, k)
        T of each term: Var(b) = T T' for each level.
    """

    par: FloatArray
    beta: FloatArray
    phi: FloatArray
    factors: tuple[FloatArray, ...]


def join_parameters(
    structures: Sequence[Structure], par: FloatArray, beta: FloatArray, phi: FloatArray, is_lmm: bool
) -> Parameters:
    """Parameters from their parts: T_t, times sigma in a linear mixed model."""
    ends = np.cumsum([structure.n_par for structure in structures])[:-1]
    pieces = np.split(par, ends) if structures else []
    scale = float(np.sqrt(phi[0])) if is_lmm else 1.0
    factors = tuple(scale * structure.factor(piece) for structure, piece in zip(structures, pieces, strict=True))
    return Parameters(par, beta, phi, factors)


def drawing_phi(fit: FittedModel) -> FloatArray:
    """Shape parameters at the estimate; sigma^2 where the residual variance is kept outside of phi."""
    if fit.is_lmm or (fit.mode_name == "lme4" and fit.has_scale):
        return np.array([fit.sigma**2])
    return fit.kernel_phi


def fit_parameters(fit: FittedModel, newparams: Mapping[str, Any] | None = None) -> Parameters:
    """Estimates of a fit, those named in ``newparams`` replaced.

    Raises
    ------
    ArgumentError
        Unknown names, wrong lengths, values out of bounds.
    """
    par, beta = np.array(fit.optimum.par, dtype=float), np.array(fit.optimum.beta, dtype=float)
    phi = drawing_phi(fit)
    if newparams is not None:
        given = check_given(newparams)
        par = given_par(given, fit.structures, fit.problem.par_names, par)
        beta = given_beta(given, all_names(fit), beta)
        phi = given_phi(given, fit.family, phi)
    return join_parameters(fit.structures, par, beta, phi, fit.is_lmm)


def conditional_modes(fit: FittedModel, newparams: Mapping[str, Any] | None = None) -> list[FloatArray]:
    """Modes of b of each term given the data, shape (levels, k); found anew at other parameters."""
    if newparams is None:
        return mode_blocks(fit)
    from refglmm.likelihood.pirls import Pirls

    given = fit_parameters(fit, newparams)
    without_scale = fit.is_lmm or (fit.mode_name == "lme4" and fit.has_scale)  # u is relative to sigma there
    search = Pirls(fit.problem, fit.settings["control"].engine)
    search.find_mode(given.par, given.beta, np.ones(1) if without_scale else given.phi)
    b = search.lambda_times(search.u, np.empty(fit.problem.q))
    starts = term_starts(fit)
    return [b[i:j].reshape(-1, term.k) for term, i, j in zip(fit.design.terms, starts, starts[1:], strict=False)]


def check_given(given: Any) -> Mapping[str, Any]:
    """Refuse what is no mapping, unknown names, and two names for one thing."""
    if not isinstance(given, Mapping):
        raise ArgumentError(f"parameters are a mapping such as {{'beta': ...}}, not {type(given).__name__}")
    unknown = [name for name in given if name not in KNOWN]
    if unknown:
        raise ArgumentError(f"unknown parameter {unknown[0]!r}; known are {', '.join(KNOWN)}", name=unknown[0])
    for one, other in (("par", "theta"), ("sigma", "phi")):
        if one in given and other in given:
            raise ArgumentError(f"give {one} or {other}, not both: one follows from the other")
    return given


def given_par(
    given: Mapping[str, Any], structures: Sequence[Structure], names: Sequence[str], default: FloatArray | None
) -> FloatArray:
    """Covariance parameters from ``par`` or ``theta``, within their bounds."""
    if "theta" in given:
        par = par_from_theta(structures, _vector(given["theta"], "theta", None))
    elif "par" in given:
        par = _vector(given["par"], "par", names)
    elif default is not None:
        return default
    else:
        raise ArgumentError(f"the covariance parameters are missing: give par ({', '.join(names)}) or theta")
    lower = np.concatenate([s.lower for s in structures] + [np.empty(0)])
    upper = np.concatenate([s.upper for s in structures] + [np.empty(0)])
    wrong = np.flatnonzero((par < lower) | (par > upper))
    if wrong.size:
        j = int(wrong[0])
        raise ArgumentError(
            f"covariance parameter {names[j]} must lie in [{lower[j]:g}, {upper[j]:g}], not {par[j]:g}",
            name=names[j],
            value=float(par[j]),
        )
    return par


def par_from_theta(structures: Sequence[Structure], theta: FloatArray) -> FloatArray:
    """Covariance parameters of all terms from the entries of their factors."""
    sizes = [structure.n_theta for structure in structures]
    if theta.shape != (sum(sizes),):
        raise ArgumentError(f"theta must have length {sum(sizes)}, not {theta.size}")
    pieces = np.split(theta, np.cumsum(sizes)[:-1]) if sizes else []
    found = [s.par_from_theta(piece) for s, piece in zip(structures, pieces, strict=True)]
    return np.concatenate([*found, np.empty(0)])


def given_beta(given: Mapping[str, Any], names: Sequence[str], default: FloatArray | None) -> FloatArray:
    """Fixed effects from ``beta``, by name or in order."""
    if "beta" in given:
        return _vector(given["beta"], "beta", names)
    if default is None:
        raise ArgumentError(f"the fixed effects are missing: give beta for {', '.join(names) or 'no column'}")
    return default


def given_phi(given: Mapping[str, Any], family: Family, default: FloatArray | None) -> FloatArray:
    """Shape parameters from ``sigma`` (of a family with a scale) or ``phi``, within their bounds."""
    if "sigma" in given and not family.has_scale:
        raise ArgumentError(f"the {family.name} family has no sigma; leave it out")
    if "sigma" not in given and "phi" not in given:
        if default is None and family.n_shape:
            wanted = "sigma" if family.has_scale else f"phi ({', '.join(family.shape_names)})"
            raise ArgumentError(f"the {family.name} family needs {wanted}")
        return family.fixed_shape if default is None else default
    if not family.n_shape:
        raise ArgumentError(f"the {family.name} family here has no shape parameter to give; leave phi out")
    by_sigma = "sigma" in given
    if by_sigma:
        values = _vector(given["sigma"], "sigma", None)
        if values.shape != (1,) or values[0] <= 0:
            raise ArgumentError(f"sigma must be 1 positive number(s), not {values}")
        return values**2
    values = _vector(given["phi"], "phi", family.shape_names)
    for name, value, scale in zip(family.shape_names, values, family.shape_scales, strict=True):
        if not scale.low < value < scale.high:
            rule = "positive" if scale.low == 0.0 and scale.high == np.inf else f"in ({scale.low:g}, {scale.high:g})"
            raise ArgumentError(f"{name} must be {rule}, not {value:g}", name=name, value=float(value))
    return values


def _vector(value: Any, what: str, names: Sequence[str] | None) -> FloatArray:
    """Finite numbers as a new vector; mappings and Series are put in the order of ``names``."""
    if hasattr(value, "to_dict") and hasattr(value, "index"):
        value = value.to_dict()
    if isinstance(value, Mapping):
        value = _in_order(value, what, names)
    try:
        vector = np.array(value, dtype=float, ndmin=1)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"{what} must be numbers, not {value!r}") from error
    if vector.ndim != 1 or not np.all(np.isfinite(vector)):
        raise ArgumentError(f"{what} must be finite numbers in one dimension, not {value!r}")
    if names is not None and vector.size != len(names):
        raise ArgumentError(f"{what} must have {len(names)} values ({', '.join(names)}), not {vector.size}")
    return vector


def _in_order(value: Mapping[Any, Any], what: str, names: Sequence[str] | None) -> list[Any]:
    """Values of a mapping by name."""
    if names is None:
        return list(value.values())
    lost = [name for name in names if name not in value]
    extra = [str(name) for name in value if name not in names]
    if lost or extra:
        raise ArgumentError(
            f"{what} must name {', '.join(names)}; missing: {', '.join(lost) or 'none'}, unknown: "
            f"{', '.join(extra) or 'none'}",
            missing=tuple(lost),
            unknown=tuple(extra),
        )
    return [value[name] for name in names]
