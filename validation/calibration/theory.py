r"""What coverage and rejection rates should be, where that has a closed form.

Place in the reading order: after ``counting``. In a balanced linear mixed model ``y ~ x + (x | group)`` with J groups
that all have the same rows, and an estimate inside the parameter space, the least-squares coefficients of the groups
are J independent draws from a normal distribution whose covariance matrix is free, and the residual sum of squares
about them is an independent :math:`\sigma^2\chi^2_m`, m = n - 2J. So

* :math:`t = (\hat\beta - \beta)/se_{REML}` has J - 1 degrees of freedom; maximum likelihood divides by J where REML
  divides by J - 1, so that its standard error is smaller by :math:`\sqrt{(J-1)/J}`;
* the likelihood ratio statistic of one coefficient is :math:`J\log\{1 + t^2/(J-1)\}`;
* with :math:`c = \hat\sigma^2/\sigma^2 \sim \chi^2_m/m`, that of sigma is :math:`m(c - 1 - \log c)`, and the standard
  error of :math:`\log\hat\sigma` is :math:`1/\sqrt{2m}`;
* parametric replicates are :math:`\hat\beta^* - \hat\beta \sim N(0, se_{ML}^2)` and
  :math:`\hat\sigma^{*2}/\hat\sigma^2 \sim \chi^2_m/m`, here with as many replicates as one likes.

**A limit for the standard deviation of random effects**: if the effects of J groups, with p means among them, could be
seen, :math:`\hat\sigma_b^2/\sigma_b^2 \sim \chi^2_{J-p}/J` with the same statistics, m replaced by J. Noise in the
rows only blurs that, as long as the variance is far from zero.

Estimates on the boundary (a correlation of one, no variance) break this, and are rare in the design it is used for.

Source: Anderson (1984), "An Introduction to Multivariate Statistical Analysis", chapters 5 and 8, for the statistics.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq
from scipy.stats import chi2, norm, t

#: Methods whose intervals of a coefficient are those of a normal distribution with ML's standard error.
NORMAL = ("Wald", "percentile", "basic")


def normal_quantile(level: float) -> float:
    """z of a central interval."""
    return float(norm.ppf(0.5 * (1.0 + level)))


def largest_t(method: str, level: float, groups: int) -> float:
    """The abs(t) at which an interval of a coefficient stops holding the truth."""
    z = normal_quantile(level)
    if method in NORMAL:
        return z * float(np.sqrt((groups - 1) / groups))
    return float(np.sqrt((groups - 1) * np.expm1(z**2 / groups)))


def coefficient_coverage(method: str, level: float, groups: int) -> float:
    """Coverage of an interval of a coefficient."""
    return float(1.0 - 2.0 * t.sf(largest_t(method, level, groups), groups - 1))


def variance_ratios(method: str, level: float, df: int, divisor: int) -> tuple[float, float]:
    r"""Smallest and largest :math:`c = \hat\sigma^2/\sigma^2` for which an interval of sigma holds the truth.

    The estimate is a :math:`\chi^2_{df}` over ``divisor``; maximum likelihood takes it for one of ``divisor`` degrees
    of freedom.
    """
    z = normal_quantile(level)
    if method == "Wald":
        return float(np.exp(-z * np.sqrt(2.0 / divisor))), float(np.exp(z * np.sqrt(2.0 / divisor)))
    if method == "profile":

        def excess(c: float) -> float:
            return divisor * (c - 1.0 - float(np.log(c))) - z**2

        return float(brentq(excess, 1e-9, 1.0)), float(brentq(excess, 1.0, 50.0))
    low, high = chi2.ppf([0.5 * (1.0 - level), 0.5 * (1.0 + level)], df) / divisor
    if method == "percentile":
        return float(1.0 / high), float(1.0 / low)
    return float((2.0 - np.sqrt(low)) ** -2), float((2.0 - np.sqrt(high)) ** -2)


def sigma_coverage(method: str, level: float, df: int, divisor: int | None = None) -> float:
    """Coverage of an interval of a standard deviation; ``divisor`` is df unless given."""
    divisor = df if divisor is None else divisor
    low, high = variance_ratios(method, level, df, divisor)
    return float(chi2.cdf(divisor * high, df) - chi2.cdf(divisor * low, df))


def rejection_rate(test: str, size: float, groups: int) -> float:
    """How often a test of one coefficient rejects at a nominal size; the estimates are those of REML."""
    z = normal_quantile(1.0 - size)
    limits = {"z test": z, "likelihood ratio": largest_t("profile", 1.0 - size, groups)}
    return float(2.0 * t.sf(limits[test], groups - 1)) if test in limits else size
