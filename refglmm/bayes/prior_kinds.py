r"""What a user says about priors: six kinds, their numbers, and priors of single parameters by name.

Place in the reading order: after ``distributions``; ``priors`` gives every parameter of a model the one that follows.

==========  =====================================  ============================  ===================  ==================
kind        centred intercept                      slope of a column x           residual sigma       random-effect SD
==========  =====================================  ============================  ===================  ==================
flat        flat                                   flat                          flat                 flat
normal      normal(0, 10)                          normal(0, 10)                 exponential(1/5)     exponential(1/5)
weak        normal(middle, half range)             normal(0, s / sd(x))          exponential(1 / s)   exponential(1 / s)
rhs         as weak                                regularised horseshoe         as weak              as weak
ssp         as weak                                soft spike and slab           as weak              as weak
jzs         flat                                   multivariate Cauchy | sigma   1 / sigma            exponential(1 / s)
==========  =====================================  ============================  ===================  ==================

The intercept is that at the means of the predictors. s is the unit of the linear predictor: half the theoretical range
of the response times ``sd_ratio`` for continuous responses, the standard deviation of the latent law for binary and
ordinal ones (logit: pi/sqrt(3)), 1 under a log link.

Every kind but flat is proper in all that it does not name (jzs but for the intercept and sigma): nu ~ gamma(2, 0.1)
above 1; the negative binomial's ``phi``, precisions, and the gamma's ``shape`` x with x^(-1/2) half-normal(1); ordered
thresholds so that the category probabilities at the means of the predictors are uniform; correlation matrices uniform.

Sources: Gelman, Jakulin, Pittau and Su (2008) for priors in units of the predictors; Piironen and Vehtari (2017) for
the regularised horseshoe; Rouder and Morey (2012) for jzs, after Zellner and Siow.

Examples
--------
>>> import refglmm as rg
>>> rg.prior_normal(b_sd=2)
prior_normal(Intercept_sd=10, b_sd=2, sigma_rate=0.2, tau_rate=0.2)
>>> rg.prior_weak(y_range=(1, 5), lkj_eta=2)
prior_weak(sd_ratio=0.5, max_beta=1, lkj_eta=2, y_range=(1, 5))
>>> rg.prior_normal(b={"talk": rg.priors.Normal(0, 1)}, sigma_rate=None)
prior_normal(Intercept_sd=10, b_sd=10, sigma_rate=None, tau_rate=0.2, coefficients={'b[talk]': Normal(0, 1)})
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from refglmm.bayes.distributions import LKJ, Distribution
from refglmm.errors import ArgumentError

#: Numbers that every kind but flat takes; None drops the prior.
EXTRA = (
    "Intercept_sd",
    "sigma_rate",
    "sd_rate",
    "nu_rate",
    "shape_rate",
    "phi_rate",
    "cutpoint_sd",
    "lkj_eta",
)
#: Numbers that cannot be dropped, because others follow from them.
NEEDED = ("sd_ratio", "expected_vars", "slab_scale", "slab_df", "ssp_ratio", "r")

Coefficients = Mapping[str, Distribution | LKJ | None]


@dataclass(frozen=True, repr=False)
class Prior:
    """What was said about the priors of a model, see :mod:`refglmm.bayes.prior_kinds`.

    Attributes
    ----------
    kind : str
        "flat", "normal", "weak", "rhs", "ssp" or "jzs".
    settings : mapping
        Its numbers by name; None where a prior is dropped.
    coefficients : mapping
        Priors of single parameters, by name.
    y_range : (low, high) or None
        Theoretical range of the response.
    """

    kind: str
    settings: Mapping[str, float | None] = field(default_factory=dict)
    coefficients: Coefficients = field(default_factory=dict)
    y_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        """Nobody changes the mappings."""
        for name in ("settings", "coefficients"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def __reduce__(self) -> Any:  # a mapping proxy cannot be pickled
        return Prior, (self.kind, dict(self.settings), dict(self.coefficients), self.y_range)

    def __repr__(self) -> str:
        parts = [f"{name}={value if value is None else format(value, '.6g')}" for name, value in self.settings.items()]
        if self.y_range is not None:
            parts.append(f"y_range=({self.y_range[0]:g}, {self.y_range[1]:g})")
        if self.coefficients:
            parts.append(f"coefficients={dict(self.coefficients)!r}")
        return f"prior_{self.kind}({', '.join(parts)})"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Names near this one, and all there are, as the end of a message."""
    names = list(dict.fromkeys(known))
    folded = {other.lower(): other for other in names}
    near = [folded[key] for key in difflib.get_close_matches(name.lower(), folded, n=2, cutoff=0.6)]
    meant = f", did you mean {' or '.join(map(repr, near))}?" if near else "."
    return f"{meant} There are {', '.join(names)}" if names else meant


def check_range(y_range: Any) -> tuple[float, float] | None:
    """Take two finite numbers that increase.

    Raises
    ------
    ArgumentError
        Anything else.
    """
    if y_range is None:
        return None
    try:
        low, high = map(float, y_range)
    except (TypeError, ValueError):
        low = high = np.nan
    if not (np.isfinite([low, high]).all() and low < high):
        raise ArgumentError(
            "y_range must be the lowest and the highest value that the response can take, e.g. (1, 5), "
            f"not {y_range!r}",
            y_range=y_range,
        )
    return low, high


def _check_setting(kind: str, name: str, value: Any) -> float | None:
    """Take a positive number, or None where a prior can be dropped."""
    if value is None and name not in NEEDED:
        return None
    is_number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not is_number or not np.isfinite(value) or value <= 0:
        otherwise = "" if name in NEEDED else ", or None for no prior"
        raise ArgumentError(
            f"{name} of prior_{kind} must be a positive number{otherwise}, not {value!r}", **{name: value}
        )
    if name == "ssp_ratio" and value >= 1:
        raise ArgumentError(f"ssp_ratio of prior_ssp must lie between 0 and 1, not {value!r}", ssp_ratio=value)
    return float(value)


def _check_coefficients(coefficients: Any, b: Any) -> Coefficients:
    """Priors by name from both ways of giving them."""
    if b is not None and not isinstance(b, Mapping | Distribution):
        raise ArgumentError(f"b must be a distribution or a dict from columns to distributions, not {b!r}")
    slopes = {} if b is None else {f"b[{k}]": v for k, v in b.items()} if isinstance(b, Mapping) else {"b": b}
    if coefficients is not None and not isinstance(coefficients, Mapping):
        raise ArgumentError(f"coefficients must be a dict from parameters to distributions, not {coefficients!r}")
    out = dict(coefficients or {})
    if twice := [name for name in slopes if name in out]:
        raise ArgumentError(f"{twice[0]!r} has a prior in both coefficients= and b=", name=twice[0])
    out |= slopes
    for name, value in out.items():
        if not isinstance(name, str) or not (value is None or isinstance(value, Distribution | LKJ)):
            raise ArgumentError(
                f"the prior of {name!r} must be a distribution such as refglmm.priors.Normal(0, 1), or None for none, "
                f"not {value!r}",
                name=name,
            )
        if isinstance(value, LKJ) != (name == "corr" or name.startswith("corr[")) and value is not None:
            raise ArgumentError(
                f"{name!r} cannot have the prior {value!r}: LKJ(eta) is a prior of the correlations of a term, "
                "e.g. {'corr[group]': LKJ(2)}, and they take no other",
                name=name,
            )
    return out


def _make(kind: str, settings: dict[str, Any], extra: dict[str, Any], y_range: Any = None) -> Prior:
    """Check and freeze."""
    coefficients = _check_coefficients(extra.pop("coefficients", None), extra.pop("b", None))
    for name in extra:
        if name not in EXTRA:
            known = [*settings, *EXTRA, "coefficients", "b"]
            raise ArgumentError(f"prior_{kind} has no {name!r}{did_you_mean(name, known)}", name=name)
    checked = {name: _check_setting(kind, name, value) for name, value in (settings | extra).items()}
    return Prior(kind, checked, coefficients, check_range(y_range))


def prior_flat(*, coefficients: Coefficients | None = None, b: Any = None) -> Prior:
    """No priors: the posterior is the likelihood, and may be improper.

    Parameters
    ----------
    coefficients, b
        Priors of single parameters, see :func:`prior_normal`.

    Returns
    -------
    Prior
    """
    return _make("flat", {}, {"coefficients": coefficients, "b": b})


def prior_normal(
    Intercept_sd: float | None = 10.0,
    b_sd: float | None = 10.0,
    sigma_rate: float | None = 0.2,
    tau_rate: float | None = 0.2,
    **extra: Any,
) -> Prior:
    r"""Normal priors of intercept and slopes, exponential ones of the standard deviations.

    Parameters
    ----------
    Intercept_sd : float or None
        SD of the intercept at the means of the predictors; its prior mean is zero. None: no prior.
    b_sd : float or None
        SD of every slope.
    sigma_rate, tau_rate : float or None
        Rates of the residual SD and of the random effects' SDs; their prior means are 1 / rate.
    **extra
        ``coefficients``: priors of single parameters by name, e.g. ``{"Intercept": Normal(0, 2),
        "b[talk]": Normal(0, 1), "sd[group:Int]": HalfNormal(1), "corr[group]": LKJ(2)}``; "b", "sd", "corr" and
        "cutpoints" mean all of their kind, None means no prior. ``b``: the same for slopes, ``{"talk": Normal(0, 1)}``
        or one for all. ``mu_sd``: another name of ``Intercept_sd``; ``sd_rate``: of ``tau_rate``. ``nu_rate``,
        ``shape_rate``, ``phi_rate``: exponential priors of the family's nu, shape, phi; ``cutpoint_sd``: thresholds are
        normal(0, cutpoint_sd); ``lkj_eta``: parameter of the LKJ prior of correlations. None drops a prior.

    Returns
    -------
    Prior

    Raises
    ------
    ArgumentError
        An unknown name, or a number that is not positive.
    """
    named = {"Intercept_sd": Intercept_sd, "b_sd": b_sd, "sigma_rate": sigma_rate, "tau_rate": tau_rate}
    for alias, name, usual in (("mu_sd", "Intercept_sd", 10.0), ("sd_rate", "tau_rate", 0.2)):
        if alias in extra:
            value = extra.pop(alias)
            if named[name] not in (usual, value):
                raise ArgumentError(f"{alias} is another name of {name}: give one of them", name=alias)
            named[name] = value
    return _make("normal", named, extra)


def prior_weak(y_range: Any = None, sd_ratio: float = 0.5, max_beta: float | None = 1.0, **extra: Any) -> Prior:
    r"""Weakly informative priors in the units of the data.

    Slopes are normal(0, max_beta s / sd(x)): a change of x by one of its SDs moves the linear predictor by some s.

    Parameters
    ----------
    y_range : (low, high), optional
        Theoretical range of the response, e.g. ``(1, 5)`` for a rating scale. Needed for continuous responses.
    sd_ratio : float
        s is half the range times this.
    max_beta : float or None
        See above.
    **extra
        As for :func:`prior_normal`; ``Intercept_sd``, ``sigma_rate`` and ``sd_rate`` replace what follows from s.

    Returns
    -------
    Prior
    """
    return _make("weak", {"sd_ratio": sd_ratio, "max_beta": max_beta}, extra, y_range)


def prior_rhs(
    expected_vars: float = 3.0, slab_scale: float = 2.0, slab_df: float = 4.0, y_range: Any = None, **extra: Any
) -> Prior:
    r"""Regularised horseshoe: most slopes near zero, a few as large as the data say.

    .. math:: b_k = z_k\,\tau\sigma\tilde\lambda_k / sd(x_k),\qquad
        \tilde\lambda_k^2 = \frac{c^2\lambda_k^2}{c^2 + \tau^2\sigma^2\lambda_k^2}

    with z standard normal, lambda half-Cauchy(1), tau half-Cauchy(tau0), :math:`\tau_0 = p_0 / \{(K - p_0)\sqrt n\}`,
    :math:`c^2` inverse gamma (slab_df / 2, slab_df slab_scale^2 / 2). sigma is that of the family, where it is on the
    scale of the linear predictor, or else the unit s. With one slope :math:`p_0/(K - p_0)` counts as one.

    Parameters
    ----------
    expected_vars : float
        Expected number p0 of slopes that matter; taken as at least 1 and at most K - 1.
    slab_scale, slab_df : float
        Scale (per SD of the column, in units of the linear predictor) and degrees of freedom of the large slopes.
    y_range : (low, high), optional
        See :func:`prior_weak`, whose other priors are used.
    **extra
        As for :func:`prior_normal`. Slopes with a prior of their own stay outside.

    Returns
    -------
    Prior
    """
    settings = {"expected_vars": expected_vars, "slab_scale": slab_scale, "slab_df": slab_df}
    return _make("rhs", settings, extra, y_range)


def prior_ssp(ssp_ratio: float = 0.25, y_range: Any = None, **extra: Any) -> Prior:
    r"""Soft spike and slab: each slope with a weight between 0 and 1.

    .. math:: b_k = w_k r_k t_k

    w Laplace(0, 1/2), r logit-normal(logit(ssp_ratio), 3) on (0.001, 0.999), t exponential with mean s / sd(x_k). r is
    a soft weight, no probability of inclusion, and nothing here has a point mass at zero.

    Parameters
    ----------
    ssp_ratio : float
        Median of r, in (0, 1).
    y_range : (low, high), optional
        See :func:`prior_weak`, whose other priors are used.
    **extra
        As for :func:`prior_normal`. Slopes with a prior of their own stay outside.

    Returns
    -------
    Prior
    """
    return _make("ssp", {"ssp_ratio": ssp_ratio}, extra, y_range)


def prior_jzs(r: float = 0.707, y_range: Any = None, **extra: Any) -> Prior:
    r"""Jeffreys-Zellner-Siow: the default prior of Bayes factors for slopes of gaussian, lognormal and t models.

    .. math:: b \mid \sigma \sim \mathrm{Cauchy}_K\{0,\; r^2\sigma^2 (X_c'X_c/n)^{-1}\}

    with a flat intercept and density 1/sigma, which are improper: they cancel between models that share them.

    Parameters
    ----------
    r : float
        Scale.
    y_range : (low, high), optional
        Gives the unit s of the random effects' SDs, exponential(1 / s); without it s is the SD of the response.
    **extra
        As for :func:`prior_normal`; ``Intercept_sd`` (about the middle of the range, or zero) and ``sigma_rate`` make
        everything proper. Slopes with a prior of
        their own stay outside.

    Returns
    -------
    Prior
    """
    return _make("jzs", {"r": r}, extra, y_range)
