r"""How much of the variance the model explains: marginal and conditional R^2, and intraclass correlations.

Place in the reading order: in ``inference``. On the scale of the linear predictor,

.. math::
    R^2_m = \frac{\sigma^2_f}{\sigma^2_f + \sigma^2_\alpha + \sigma^2_\varepsilon},\quad
    R^2_c = \frac{\sigma^2_f + \sigma^2_\alpha}{\sigma^2_f + \sigma^2_\alpha + \sigma^2_\varepsilon},\quad
    ICC_{adj} = \frac{\sigma^2_\alpha}{\sigma^2_\alpha + \sigma^2_\varepsilon},\quad
    ICC = \frac{\sigma^2_\alpha}{\sigma^2_f + \sigma^2_\alpha + \sigma^2_\varepsilon}

* :math:`\sigma^2_f`: sample variance of X beta over the rows (the offset is no explanation).
* :math:`\sigma^2_\alpha`: mean over the rows of z_i' Sigma z_i, summed over terms; for intercepts their variance. A
  term with a level for each row is additive overdispersion and counts as :math:`\sigma^2_\varepsilon`.
* :math:`\sigma^2_\varepsilon`: sigma^2 in a linear mixed model. Otherwise, with :math:`c = \phi V(\mu)/\mu^2` the
  squared coefficient of variation of a response of weight one at the mean mu of the null model:

=================  ==================================================  ========================================
approximation      variance                                            for
=================  ==================================================  ========================================
``"theoretical"``  pi^2/3 logit, 1 probit, pi^2/6 cloglog              binomial, ordered: the latent variable's own
``"lognormal"``    log(1 + c)                                          log link (default there)
``"trigamma"``     psi'(1/c)                                           log link
``"delta"``        phi V(mu) / (dmu/deta)^2                            any link (default elsewhere)
=================  ==================================================  ========================================

The null model keeps all random effects and has an intercept only. Its mean is, under a log link,
exp(beta_0 + offset + z'Sigma z/2) averaged over the rows; under other links the inverse link of beta_0 + offset.

Sources: Nakagawa, Johnson and Schielzeth (2017), "The coefficient of determination R^2 and intra-class correlation
coefficient from generalized linear mixed-effects models revisited and expanded"; Johnson (2014) for random slopes.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.errors import ArgumentError, ConvergenceWarning, NotAvailableError, RefglmmWarning, warn
from refglmm.fit.html import html_block, html_lines, html_table
from refglmm.fit.parts import refuse_several
from refglmm.fit.residuals import conditional_family
from refglmm.fit.rformat import format_numbers, table

if TYPE_CHECKING:
    from refglmm.fitted import FittedModel

FloatArray = NDArray[np.float64]
APPROXIMATIONS = ("auto", "theoretical", "lognormal", "trigamma", "delta")
#: Variance of the latent variable that the link takes for granted.
LATENT = {"logit": np.pi**2 / 3.0, "probit": 1.0, "cloglog": np.pi**2 / 6.0}


@dataclass(frozen=True, eq=False, repr=False)
class VarianceExplained:
    """Variance components on the scale of the linear predictor, and the ratios made of them.

    Attributes
    ----------
    fixed : float
        Variance of X beta.
    overdispersion : float
        Variance of terms with a level for each row.
    distribution : float
        Variance of the response itself, carried to this scale.
    approximation : str
        How ``distribution`` was found ("residual" in a linear mixed model).
    mean : float
        Mean of the null model that was used; NaN where none was needed.
    """

    fixed: float
    overdispersion: float
    distribution: float
    approximation: str
    mean: float
    _terms: Mapping[str, float]

    @property
    def random(self) -> pd.Series:
        """Mean variance of each random-effects term but those in ``overdispersion``."""
        return pd.Series(dict(self._terms), name="variance", dtype=float)

    @property
    def residual(self) -> float:
        """distribution + overdispersion."""
        return self.distribution + self.overdispersion

    @property
    def total(self) -> float:
        """Sum of all components."""
        return self.fixed + float(self.random.sum()) + self.residual

    @property
    def r2(self) -> pd.Series:
        """Marginal and conditional R^2."""
        parts = [self.fixed, self.fixed + float(self.random.sum())]
        return pd.Series(np.array(parts) / self.total, index=["marginal", "conditional"], name="R2")

    @property
    def icc(self) -> pd.Series:
        """Adjusted and unadjusted intraclass correlation."""
        between = float(self.random.sum())
        values = [between / (between + self.residual), between / self.total]
        return pd.Series(values, index=["adjusted", "unadjusted"], name="ICC")

    @property
    def icc_by_term(self) -> pd.Series:
        """Share of each random-effects term in random plus residual variance (they add up to the adjusted ICC)."""
        return (self.random / (self.random.sum() + self.residual)).rename("ICC")

    def _components(self) -> list[tuple[str, float]]:
        parts = [("fixed effects", self.fixed), *((str(name), float(v)) for name, v in self.random.items())]
        parts += [("overdispersion", self.overdispersion)] if self.overdispersion else []
        return [*parts, (f"distribution ({self.approximation})", self.distribution)]

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows of the table of components."""
        names, values = zip(*self._components())
        shares = format_numbers(np.round(np.array(values) / self.total, 4), 4)
        return ["", "Variance", "Share"], [list(row) for row in zip(names, format_numbers(values, 4), shares)]

    def _lines(self) -> list[str]:
        r2, icc = self.r2, self.icc
        return [
            f"R2: marginal {r2['marginal']:.4f}, conditional {r2['conditional']:.4f}",
            f"ICC: adjusted {icc['adjusted']:.4f}, unadjusted {icc['unadjusted']:.4f}",
        ]

    def __repr__(self) -> str:
        return "\n".join(["Variance explained", table(*self.cells(), [True, False, False]), *self._lines()])

    def _repr_html_(self) -> str:
        return html_block([html_table(*self.cells(), "Variance explained"), html_lines(self._lines())])


def row_variances(fit: FittedModel) -> tuple[list[str], FloatArray]:
    """Labels of the terms, and z_i' Sigma_t z_i of each row and term, shape (terms, n)."""
    out = np.empty((len(fit.design.terms), fit.nobs))
    for t, (term, label) in enumerate(zip(fit.design.terms, fit.varcorr, strict=True)):
        out[t] = np.einsum("ij,jk,ik->i", term.Z, fit.varcorr[label].cov, term.Z)
    return list(fit.varcorr), out


def null_fit(fit: FittedModel) -> FittedModel:
    """The fit with the same random effects and an intercept as its only fixed effect."""
    if fit.design.names == ("(Intercept)",):
        return fit
    ones, names = np.ones((fit.nobs, 1)), ("(Intercept)",)
    model = copy(fit.model)
    model.design = replace(
        fit.design, X=ones, names=names, all_names=names, dropped=(), assign=(0,), term_labels=(), kept_columns=(0,)
    )
    model.problem = replace(fit.problem, X=ones, beta_names=names)
    with warnings.catch_warnings():  # its own troubles are not those of the fit that was asked about
        warnings.simplefilter("ignore", RefglmmWarning)
        null = model.fit(**fit.settings)
    if not null.convergence.converged:
        warn(ConvergenceWarning("the null model, whose mean R2 and ICC need, did not converge: they are approximate"))
    return null


def null_mean(fit: FittedModel) -> float:
    """Mean response of the null model."""
    null = null_fit(fit)
    eta = null.beta[0] + np.array(null.frame.offset)
    if null.family.link.name == "log":
        return float(np.mean(np.exp(eta + 0.5 * row_variances(null)[1].sum(axis=0))))
    return float(np.mean(null.family.link.inverse(eta)))


def chosen_approximation(fit: FittedModel, approximation: str) -> str:
    """The approximation to use; an error where it means nothing for this family and link."""
    link = fit.family.link.name
    latent = (fit.family.is_binomial or fit.family.name == "ordered") and link in LATENT
    if fit.family.is_ordinal and not (latent and approximation in ("auto", "theoretical")):
        raise NotAvailableError(
            "of ordinal models, cumulative ones with logit, probit or cloglog have a latent variable whose variance is "
            "known: R2 and ICC exist for those, with approximation='theoretical'"
        )
    if approximation == "auto":
        return "theoretical" if latent else "lognormal" if link == "log" and not fit.family.is_binomial else "delta"
    if approximation == "theoretical" and not latent:
        raise NotAvailableError("the theoretical variance exists for binomial models with logit, probit or cloglog")
    if approximation in ("lognormal", "trigamma") and link != "log":
        raise NotAvailableError(f"the {approximation} approximation is for the log link, not {link}; use 'delta'")
    return approximation


def distribution_variance(fit: FittedModel, approximation: str, mean: float) -> float:
    """Variance of the response on the scale of the linear predictor (table in the module's docstring)."""
    if approximation == "theoretical":
        return float(LATENT[fit.family.link.name])
    mu = np.array([mean])
    variance = float(np.asarray(conditional_family(fit).variance(mu))[0])
    variance *= fit.sigma**2 if fit.has_scale else 1.0
    if approximation == "delta":
        link: Any = fit.family.link
        return variance / float(link.mu_eta(np.atleast_1d(link.link(mu)))[0]) ** 2
    c = variance / mean**2
    if approximation == "lognormal":
        return float(np.log1p(c))
    from scipy.special import polygamma

    return float(polygamma(1, 1.0 / c))


def variance_explained(fit: FittedModel, approximation: str = "auto") -> VarianceExplained:
    """Variance components, R^2 and ICC.

    Parameters
    ----------
    fit : FittedModel
    approximation : {"auto", "theoretical", "lognormal", "trigamma", "delta"}
        How the variance of the response reaches the scale of the linear predictor; no part in linear mixed models.

    Raises
    ------
    ArgumentError, NotAvailableError
        Unknown approximation, or one that this family and link do not have.
    """
    if approximation not in APPROXIMATIONS:
        raise ArgumentError(f"unknown approximation {approximation!r}; use one of {', '.join(APPROXIMATIONS)}")
    refuse_several(fit, "variance explained (R2, ICC)")
    labels, by_row = row_variances(fit)
    random = pd.Series(by_row.mean(axis=1), index=labels, dtype=float)
    per_row = np.array([term.n_levels == fit.nobs for term in fit.design.terms], dtype=bool)
    fixed = float(np.var(fit.problem.X @ fit.beta, ddof=1))
    mean = float("nan")
    if fit.is_lmm:
        chosen, distribution = "residual", fit.sigma**2
    else:
        chosen = chosen_approximation(fit, approximation)
        mean = mean if chosen == "theoretical" else null_mean(fit)
        distribution = distribution_variance(fit, chosen, mean)
    overdispersion = float(random[per_row].sum())
    return VarianceExplained(fixed, overdispersion, distribution, chosen, mean, random[~per_row].to_dict())
