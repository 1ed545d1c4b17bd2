"""A fitted mixed model: the end of the road, and where everything after it begins.

Place in the reading order: after everything that works on a fit, before ``model``. The class is thin: each method
names a quantity and asks the module that computes it: ``fit`` for what the fit is and shows, ``inference`` for
intervals, tests and diagnostics, ``effects`` for means and slopes, ``plots`` for pictures (the last three are loaded
when they are first asked for). A fit never changes: what it holds is read-only, what it hands out is a copy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd

from refglmm.errors import ArgumentError
from refglmm.fit import criteria, getme, serialise
from refglmm.fit import ranef as ranef_module
from refglmm.fit import residuals as residuals_module
from refglmm.fit import summary as summary_module
from refglmm.fit import trace as trace_module
from refglmm.fit import varcorr as varcorr_module
from refglmm.fit import vcov as vcov_module
from refglmm.fit.arrays import freeze_arrays
from refglmm.fit.html import html_block, html_lines, html_table
from refglmm.fit.rformat import format_numbers, named_numbers

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from scipy import sparse

    from refglmm.covariance.base import Structure
    from refglmm.families.base import Family
    from refglmm.formula.design import Design
    from refglmm.formula.frame import ModelFrame
    from refglmm.formula.grammar import Formula
    from refglmm.inference.check_report import CheckReport
    from refglmm.inference.check_result import CheckResult
    from refglmm.inference.influence import Influence
    from refglmm.inference.residual_calibration import CalibratedTests
    from refglmm.inference.simulated_residuals import SimulatedResiduals
    from refglmm.inference.singular import RandomEffectsPCA
    from refglmm.inference.variance_explained import VarianceExplained
    from refglmm.likelihood.problem import Problem
    from refglmm.likelihood.state import Mode
    from refglmm.model import GLMM
    from refglmm.optimize.records import Certificate, Optimum

T = TypeVar("T")


@dataclass(frozen=True, eq=False, repr=False)
class FittedModel:
    """A fitted (generalized) linear mixed model.

    Built by :func:`refglmm.glmer`, :func:`refglmm.lmer` and their relatives, not by hand.

    Attributes
    ----------
    formula, frame, design : Formula, ModelFrame, Design
        What was asked for, the rows used, and the matrices made of them.
    family, structures : Family, tuple of Structure
        Conditional distribution; covariance structure of each term.
    mode_name : {"exact", "lme4"}
    is_lmm, reml : bool
    n_agq : int
        Quadrature points; 1 is Laplace, 0 profiles beta in the penalised problem.
    optimum : Optimum
        Estimates, objective, Hessian, certificate, records of the optimiser.
    conditional : Mode
        State at the conditional modes of the random effects.
    sigma : float
        Residual standard deviation; sqrt(phi) for other families with a scale, 1 for those without.
    data_name, call : str, dict
        Name of the data and arguments of the call, for printing.
    model : GLMM
        What was fitted; :meth:`refit` gives it another response.
    settings : dict
        Arguments of :meth:`refglmm.GLMM.fit` that led here (n_agq, reml, control, se), for further fits.
    se_type : {"hessian", "rx"}
        Which standard errors ``se`` and ``summary`` show (see :meth:`vcov`).
    """

    formula: Formula
    frame: ModelFrame
    design: Design
    family: Family
    structures: tuple[Structure, ...]
    mode_name: str
    is_lmm: bool
    reml: bool
    n_agq: int
    optimum: Optimum
    conditional: Mode
    sigma: float
    data_name: str
    call: dict[str, Any]
    se_type: str
    model: GLMM
    settings: dict[str, Any]
    _cache: dict[str, Any] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        for record in (self.optimum, self.conditional, self.optimum.certificate):
            freeze_arrays(record)

    def _cached(self, name: str, compute: Callable[[], T]) -> T:
        if name not in self._cache:
            self._cache[name] = compute()
        return self._cache[name]

    @property
    def problem(self) -> Problem:
        """The arrays that the likelihood was computed from."""
        return self.model.problem

    # -- estimates -------------------------------------------------------------------------------------------

    @property
    def fixef(self) -> pd.Series:
        """Fixed effects by name."""
        return pd.Series(np.array(self.optimum.beta, dtype=float), index=list(self.design.names), name="fixef")

    def coefficients(self, *, add_dropped: bool = False) -> pd.Series:
        """Fixed effects; with ``add_dropped`` also the rank-deficient columns, as NaN in their place."""
        return self.fixef.reindex(list(self.design.all_names)) if add_dropped else self.fixef

    @property
    def beta(self) -> np.ndarray:
        """Fixed effects as an array."""
        return np.array(self.optimum.beta, dtype=float)

    @property
    def theta(self) -> pd.Series:
        """Entries of the (relative) Cholesky factors of the random-effects covariances, by name."""
        return getme.theta(self)

    @property
    def par(self) -> pd.Series:
        """Covariance parameters as the optimiser sees them; equal to theta for unstructured terms."""
        return getme.par(self)

    @property
    def kernel_phi(self) -> np.ndarray:
        """Shape parameters as the family's kernels take them: the estimated ones, else those that are known."""
        estimated = np.array(self.optimum.phi, dtype=float)
        return estimated if estimated.size else np.array(self.family.fixed_shape, dtype=float)

    @property
    def phi(self) -> pd.Series:
        """Estimated dispersion and shape parameters by name."""
        values = np.array(self.optimum.phi, dtype=float)
        return pd.Series(values, index=list(self.family.shape_names)[: values.size], name="phi", dtype=float)

    @property
    def has_scale(self) -> bool:
        """Whether sigma is a parameter: linear mixed models and families with a dispersion."""
        return bool(self.is_lmm or self.family.has_scale)

    @property
    def varcorr(self) -> varcorr_module.VarCorr:
        """Variances and correlations of the random effects."""
        return self._cached("varcorr", lambda: varcorr_module.varcorr(self))

    def ranef(self, *, cond_var: bool = True) -> ranef_module.RandomEffects:
        """Conditional modes of the random effects by grouping factor, with their conditional covariances."""
        return self._cached(f"ranef {cond_var}", lambda: ranef_module.ranef(self, cond_var=cond_var))

    def coef(self) -> ranef_module.GroupFrames:
        """Fixed plus random effects of each level."""
        return self._cached("coef", lambda: ranef_module.coef(self))

    # -- uncertainty -----------------------------------------------------------------------------------------

    @property
    def covariance(self) -> vcov_module.FixedCovariance:
        """Covariance of the fixed effects with its kind and note (what ``se`` and ``summary`` use)."""

        def compute() -> vcov_module.FixedCovariance:
            result = vcov_module.fixed_covariance(self)
            result.matrix.setflags(write=False)
            return result

        return self._cached("covariance", compute)

    def vcov(self, kind: str | None = None, *, full: bool = False) -> pd.DataFrame:
        """Covariance matrix of the fixed effects.

        Parameters
        ----------
        kind : {"hessian", "rx"}, optional
            See :mod:`refglmm.fit.vcov`; the default is what the fit was asked for, as far as it exists.
        full : bool
            Joint covariance of (beta, b) given the covariance parameters, dense.
        """
        return vcov_module.vcov(self, kind, full=full)

    @property
    def se(self) -> pd.Series:
        """Standard errors of the fixed effects."""
        return pd.Series(np.sqrt(np.diag(self.covariance.matrix)), index=list(self.design.names), name="se")

    # -- criteria --------------------------------------------------------------------------------------------

    @property
    def minus_two_loglik(self) -> float:
        """-2 log L with all constants, random effects integrated out; the REML criterion of a REML fit."""
        return float(self.optimum.value)

    @property
    def loglik(self) -> float:
        """Log-likelihood (restricted, for a REML fit); its degrees of freedom are ``df``."""
        return -0.5 * self.minus_two_loglik

    @property
    def deviance(self) -> float:
        """GLMM: sum of unit deviances at the modes. LMM: -2 log L (ML), for REML at its estimates."""
        return criteria.deviance(self)

    @property
    def reml_criterion(self) -> float:
        """REML criterion; an error for other fits."""
        return criteria.reml_criterion(self)

    @property
    def aic(self) -> float:
        """-2 log L + 2 df."""
        return criteria.aic(self)

    @property
    def bic(self) -> float:
        """-2 log L + df log(nobs)."""
        return criteria.bic(self)

    @property
    def df(self) -> int:
        """Number of estimated parameters."""
        return criteria.n_parameters(self)

    @property
    def df_resid(self) -> int:
        """nobs - df."""
        return self.nobs - self.df

    @property
    def nobs(self) -> int:
        """Rows used."""
        return int(self.frame.n)

    @property
    def ngroups(self) -> pd.Series:
        """Levels of each grouping factor."""
        return criteria.ngroups(self)

    # -- rows ------------------------------------------------------------------------------------------------

    @property
    def fitted(self) -> pd.Series:
        """Conditional means, on the scale of the response."""
        return residuals_module.fitted_values(self)

    def residuals(self, type: str = "deviance", *, scaled: bool = False) -> pd.Series:
        """Residuals: "deviance", "pearson", "working" or "response"; ``scaled`` divides by sigma."""
        return residuals_module.residuals(self, type, scaled=scaled)

    def weights(self, type: str = "prior") -> pd.Series:
        """Prior or working weights."""
        return residuals_module.weights(self, type)

    def model_matrix(self, type: str = "fixed") -> pd.DataFrame | sparse.csc_array:
        """X as a DataFrame ("fixed"), or Z as a sparse matrix ("random")."""
        if type == "fixed":
            X = np.array(self.design.X)
            return pd.DataFrame(X, index=self.frame.index, columns=list(self.design.names))
        if type == "random":
            return self.design.Zt().T.tocsc()
        raise ArgumentError(f"unknown model matrix {type!r}; use 'fixed' or 'random'", type=type)

    def model_frame(self) -> pd.DataFrame:
        """The variables of the model, rows used."""
        return self.frame.data.copy(deep=True)

    # -- other data, other formulas --------------------------------------------------------------------------

    def refit(self, y: Any, weights: Any = None) -> FittedModel:
        """Fit the same model to another response, from the estimates of this fit.

        Nothing structural is built anew: frame, design, patterns and symbolic factorisation are shared.

        Parameters
        ----------
        y : array-like, shape (n,)
            For the rows of this fit, as ``frame.y`` holds them (binomial: proportions).
        weights : array-like, shape (n,), optional
            Prior weights (binomial: numbers of trials); those of this fit by default.
        """
        return self.model.with_response(y, weights).fit(**self.warm_settings())

    def warm_settings(self) -> dict[str, Any]:
        """Arguments of :meth:`GLMM.fit` for a further fit of a like model: one stage, from these estimates."""
        if self.optimum.certificate.singular:  # a zero variance is stationary: begin where every fit begins
            return dict(self.settings)
        start = {"par": np.array(self.optimum.par), "beta": self.beta}
        if self.optimum.phi.size:
            start["phi"] = np.array(self.optimum.phi)
        control = replace(self.settings["control"], initial_step=False)
        return {**self.settings, "control": control, "start": start}

    # -- prediction and simulation ---------------------------------------------------------------------------

    def simulate(
        self,
        nsim: int = 1,
        seed: Any = None,
        *,
        use_u: bool = False,
        re_form: Any = False,
        newparams: Any = None,
        cond_sim: bool = True,
    ) -> pd.DataFrame:
        """Draw responses from the fitted model.

        Parameters
        ----------
        nsim : int
            Number of responses.
        seed : int, numpy Generator or None
            Same seed, same draws; noted in ``.attrs["seed"]`` (for a Generator its state before the first draw).
        """
        from refglmm.fit.simulate import simulate_fit

        return simulate_fit(self, nsim, seed, use_u=use_u, re_form=re_form, newparams=newparams, cond_sim=cond_sim)

    # -- how it was fitted -----------------------------------------------------------------------------------

    @property
    def is_glmm(self) -> bool:
        """Whether this is a generalized linear mixed model."""
        return not self.is_lmm

    @property
    def is_reml(self) -> bool:
        """Whether REML was the criterion."""
        return bool(self.reml)

    @property
    def convergence(self) -> Certificate:
        """The certificate of the optimum."""
        return self.optimum.certificate

    def is_singular(self, tol: float = 1e-4) -> bool:
        """Whether some variance is zero or some correlation one in absolute value, within ``tol``.

        In the units of the columns, like lme4's ``isSingular``; ``convergence.singular`` does not depend on them.
        """
        parts = varcorr_module.split_par(self)
        return any(s.is_singular(par, tol) for s, par in zip(self.structures, parts, strict=True))

    @property
    def trace(self) -> trace_module.Trace:
        """Every objective evaluation and recorded PIRLS iteration."""
        return self._cached("trace", lambda: trace_module.trace(self))

    def get_me(self, *names: str) -> Any:
        """A piece of the model by the name that lme4's getME gives it; several names give a dict."""
        return getme.get_me(self, *names)

    # -- diagnostics -----------------------------------------------------------------------------------------

    def hat_values(self) -> pd.Series:
        """Leverage of each row at convergence, in [0, 1]; the sum is the effective number of parameters.

        See :mod:`refglmm.inference.hat`. Working weights in GLMMs, where lme4 puts prior weights.
        """
        from refglmm.inference import hat

        return hat.hat_values(self)

    def rstudent(self) -> pd.Series:
        """Deletion residuals; in a linear mixed model r / (sigma sqrt(1 - h))."""
        from refglmm.inference import hat

        return hat.rstudent(self)

    def rstandard(self, type: str = "deviance") -> pd.Series:
        """Standardised residuals "deviance" or "pearson": over sigma sqrt(1 - h)."""
        from refglmm.inference import hat

        return hat.rstandard(self, type)

    def cooks_distance(self) -> pd.Series:
        """Cook's distance of each row without a refit; :meth:`influence` gives the exact one."""
        from refglmm.inference import hat

        return hat.cooks_distance(self)

    def influence(
        self,
        group: Any = None,
        *,
        method: str = "deletion",
        executor: Executor | None = None,
        progress: bool | None = None,
    ) -> Influence:
        """Estimates without each row, or each level of a factor; see :func:`refglmm.inference.influence.influence`."""
        from refglmm.inference import influence

        return influence.influence(self, group, method=method, executor=executor, progress=progress)

    def re_pca(self) -> RandomEffectsPCA:
        """Principal components of the random effects of each grouping factor."""
        from refglmm.inference import singular

        return singular.re_pca(self)

    def vif(self) -> pd.DataFrame:
        """Generalised variance inflation factors, a row for each fixed-effects term."""
        from refglmm.inference import collinearity

        return collinearity.vif(self)

    def variance_explained(self, approximation: str = "auto") -> VarianceExplained:
        """Variance components, R2 and ICC; see :mod:`refglmm.inference.variance_explained`."""
        from refglmm.inference import variance_explained

        return variance_explained.variance_explained(self, approximation)

    def r2(self, approximation: str = "auto") -> pd.Series:
        """Marginal and conditional R2 of Nakagawa, Johnson and Schielzeth (2017)."""
        return self.variance_explained(approximation).r2

    def icc(self, approximation: str = "auto") -> pd.Series:
        """Adjusted and unadjusted intraclass correlation."""
        return self.variance_explained(approximation).icc

    def overdispersion(self) -> CheckResult:
        """Pearson's chi-square over its degrees of freedom, with its p-value."""
        from refglmm.inference import checks

        return checks.overdispersion(self)

    def quasi_table(self) -> pd.DataFrame:
        """Coefficients with standard errors scaled by the root of the dispersion ratio."""
        from refglmm.inference import checks

        return checks.quasi_table(self)

    def zero_inflation(self) -> CheckResult:
        """Zeros observed against zeros expected at the modes."""
        from refglmm.inference import checks

        return checks.zero_inflation(self)

    def simulated_residuals(self, nsim: int = 250, seed: Any = None, *, use_u: bool = False) -> SimulatedResiduals:
        """Scaled residuals from simulations; see :mod:`refglmm.inference.simulated_residuals`."""
        from refglmm.inference import simulated_residuals

        return simulated_residuals.simulated_residuals(self, nsim, seed, use_u=use_u)

    def calibrated_tests(
        self,
        nboot: int = 199,
        nsim: int = 99,
        seed: int | None = None,
        *,
        use_u: bool = False,
        executor: Executor | None = None,
        progress: bool | None = None,
    ) -> CalibratedTests:
        """Tests of simulated residuals with p-values that allow for the estimation of the parameters.

        See :func:`refglmm.inference.residual_calibration.calibrated_tests`.
        """
        from refglmm.inference import residual_calibration

        return residual_calibration.calibrated_tests(
            self, nboot, nsim, seed, use_u=use_u, executor=executor, progress=progress
        )

    def check(self, nsim: int = 250, seed: Any = None) -> CheckReport:
        """All checks of this fit in one table, and one figure with ``.plot()``."""
        from refglmm.inference import check_report

        return check_report.check(self, nsim, seed)

    def fortify(self) -> pd.DataFrame:
        """The data with columns .fitted, .resid (Pearson) and .scresid (over sigma)."""
        from refglmm.inference import fortify

        return fortify.fortify(self)

    # -- showing ---------------------------------------------------------------------------------------------

    def summary(self, *, correlation: bool | None = None) -> summary_module.Summary:
        """Summary that prints like lme4's; ``correlation`` of the fixed effects: None shows up to 12."""
        return summary_module.summary(self, correlation_shown=correlation)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; schema in :mod:`refglmm.fit.serialise`."""
        return serialise.to_dict(self)

    def to_json(self, *, indent: int | None = None) -> str:
        """Strict JSON text of :meth:`to_dict`."""
        return serialise.to_json(self, indent=indent)

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def __repr__(self) -> str:
        return str(self)

    def _lines(self) -> list[str]:
        if self.reml:
            value = f"REML criterion at convergence: {format_numbers([round(self.reml_criterion, 4)], 7)[0]}"
        else:
            value = summary_module.criteria_table(criteria.criteria(self), 7, 4)
        lines = [
            *summary_module.header_lines(self),
            value,
            "Random effects:",
            self.varcorr.to_string(digits=4),
        ]
        lines.append(summary_module.size_line(self))
        if len(self.design.names):
            estimates = format_numbers(self.beta, 4)
            lines += ["Fixed Effects:", named_numbers(list(self.design.names), estimates)]
        else:
            lines.append("No fixed effects")
        certificate = self.optimum.certificate
        return lines + ([] if certificate.converged and not certificate.messages else [str(certificate)])

    def _repr_html_(self) -> str:
        header, rows = self.varcorr.cells(("Variance", "Std.Dev."), 4)
        values = summary_module.shown_criteria(self)
        fixed = zip(self.design.names, format_numbers(self.beta, 4), strict=True)
        return html_block(
            [
                html_lines(summary_module.header_lines(self)),
                html_table(list(values), [[format_numbers([v], 7)[0] for v in values.values()]]),
                html_table(header, rows, "Random effects"),
                html_lines([summary_module.size_line(self)]),
                html_table(["", "Estimate"], fixed, "Fixed effects"),
                html_lines(self.optimum.certificate.messages),
            ]
        )
