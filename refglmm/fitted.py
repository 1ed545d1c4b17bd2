"""A fitted mixed model: the end of the road, and where everything after it begins.

Place in the reading order: after everything that works on a fit, before ``model``. The class is thin: each method
names a quantity and asks the module that computes it: ``fit`` for what the fit is and shows, ``inference`` for
intervals, tests and diagnostics, ``effects`` for means and slopes, ``plots`` for pictures (the last three are loaded
when they are first asked for). A fit never changes: what it holds is read-only, what it hands out is a copy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd

from refglmm.errors import ArgumentError
from refglmm.fit import criteria, getme, serialise
from refglmm.fit import parts as parts_module
from refglmm.fit import ranef as ranef_module
from refglmm.fit import residuals as residuals_module
from refglmm.fit import summary as summary_module
from refglmm.fit import trace as trace_module
from refglmm.fit import varcorr as varcorr_module
from refglmm.fit import vcov as vcov_module
from refglmm.fit.arrays import freeze_arrays
from refglmm.fit.html import html_block, html_lines, html_table
from refglmm.fit.response import read_response
from refglmm.fit.rformat import format_numbers, named_numbers
from refglmm.likelihood.penalty import make_penalty

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from matplotlib.axes import Axes
    from scipy import sparse

    from refglmm.covariance.base import Structure
    from refglmm.effects.conditional import ConditionalEffects, SimpleSlopes
    from refglmm.effects.marginal import AverageEffects
    from refglmm.effects.marginal_coefs import MarginalCoefficients
    from refglmm.effects.means import Means
    from refglmm.families.base import Family
    from refglmm.formula.design import Design
    from refglmm.formula.frame import ModelFrame
    from refglmm.formula.grammar import Formula
    from refglmm.inference.all_fit import AllFit
    from refglmm.inference.bootstrap import Bootstrap
    from refglmm.inference.check_report import CheckReport
    from refglmm.inference.check_result import CheckResult
    from refglmm.inference.denominator_df import WaldTest
    from refglmm.inference.influence import Influence
    from refglmm.inference.pb_test import PBTest
    from refglmm.inference.profile_result import Profile
    from refglmm.inference.residual_calibration import CalibratedTests
    from refglmm.inference.result_table import ResultTable
    from refglmm.inference.sandwich import Sandwich
    from refglmm.inference.simulated_residuals import SimulatedResiduals
    from refglmm.inference.singular import RandomEffectsPCA
    from refglmm.inference.variance_explained import VarianceExplained
    from refglmm.likelihood.penalty import Penalty
    from refglmm.likelihood.problem import Problem
    from refglmm.likelihood.state import Mode
    from refglmm.model import GLMM
    from refglmm.optimize.agq_order import OrderStep
    from refglmm.optimize.records import Certificate, Optimum

T = TypeVar("T")
#: Arguments of :meth:`.GLMM.fit`; all others belong to the model.
FITTING = ("n_agq", "reml", "optimizer", "start", "etastart", "mustart", "control", "se", "penalized", "method")


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
    agq_steps : tuple of OrderStep
        Orders that ``n_agq="auto"`` tried, with their log-likelihoods; :attr:`agq_path` is the table.
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
    agq_steps: tuple[OrderStep, ...] = ()
    _cache: dict[str, Any] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        for record in (self.optimum, self.conditional, self.optimum.certificate):
            freeze_arrays(record)

    def derived(self, name: str, compute: Callable[[], T]) -> T:
        """What ``compute`` returns, kept from the first call on (also for the modules that work on a fit)."""
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
        """Fixed effects by name; in a model with several predictors those of the mean."""
        return parts_module.coefficients(self)

    @property
    def fixef_zi(self) -> pd.Series:
        """Fixed effects of the zero part, on the logit scale."""
        return parts_module.coefficients(self, "zi", "fixef_zi")

    @property
    def fixef_dispersion(self) -> pd.Series:
        """Fixed effects of the dispersion, on the logarithmic scale."""
        return parts_module.coefficients(self, "dispersion", "fixef_dispersion")

    def coefficients(self, *, add_dropped: bool = False, part: str = "main") -> pd.Series:
        """Fixed effects; with ``add_dropped`` also the rank-deficient columns, as NaN in their place.

        ``part``: "main", "zi", "dispersion", or "all" (names such as ``zi~x``).
        """
        values = parts_module.coefficients(self, part)
        if not add_dropped or part == parts_module.ALL:
            return values
        return values.reindex(list(parts_module.part_designs(self.design)[part].all_names))

    @property
    def beta(self) -> np.ndarray:
        """Fixed effects as an array; in a model with several predictors those of the mean."""
        return self.fixef.to_numpy(copy=True)

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
        return self.derived("varcorr", lambda: varcorr_module.varcorr(self))

    def ranef(self, *, cond_var: bool = True) -> ranef_module.RandomEffects:
        """Conditional modes of the random effects by grouping factor, with their conditional covariances."""
        return self.derived(f"ranef {cond_var}", lambda: ranef_module.ranef(self, cond_var=cond_var))

    def coef(self) -> ranef_module.GroupFrames:
        """Fixed plus random effects of each level."""
        return self.derived("coef", lambda: ranef_module.coef(self))

    # -- uncertainty -----------------------------------------------------------------------------------------

    @property
    def covariance(self) -> vcov_module.FixedCovariance:
        """Covariance of the fixed effects (of the mean) with its kind and note: what ``se`` and ``summary`` use."""
        whole = vcov_module.whole_covariance(self)
        at, _ = parts_module.part_columns(self, "main")
        return self.derived("covariance", lambda: replace(whole, matrix=whole.matrix[at, at]))

    def vcov(self, kind: str | None = None, *, full: bool = False, part: str = "main") -> pd.DataFrame:
        """Covariance matrix of the fixed effects.

        Parameters
        ----------
        kind : {"hessian", "rx", "sandwich", "CR0", "CR1", "CR2", "CR3"}, optional
            See :mod:`refglmm.fit.vcov` and, for the last five, :mod:`refglmm.inference.sandwich`; the default is what
            the fit was asked for, as far as it exists.
        full : bool
            Joint covariance of (beta, b) given the covariance parameters, dense.
        part : {"main", "zi", "dispersion", "all"}
            Of which predictor.
        """
        if kind == "sandwich" or str(kind).startswith("CR"):
            if full:
                raise ArgumentError("full=True is the joint covariance given the covariance parameters; leave kind out")
            return self.sandwich(str(kind)).vcov
        return vcov_module.vcov(self, kind, full=full, part=part)

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
    def penalty(self) -> Penalty | None:
        """The penalty on the fixed effects that this fit was asked for."""
        asked = self.settings.get("penalized", False)
        return None if asked is False else self.derived("penalty", lambda: make_penalty(asked, self.problem.beta_names))

    @property
    def penalized_loglik(self) -> float:
        """What a penalised fit maximises: log L - P/2 (see :mod:`refglmm.likelihood.penalty`); else ``loglik``."""
        return self.loglik - 0.5 * float(self.optimum.penalty)

    @property
    def agq_path(self) -> pd.DataFrame:
        """Quadrature orders tried by ``n_agq="auto"``: order, loglik and its change; else the one order of the fit.

        The last change estimates the error of the quadrature.
        """
        steps = self.agq_steps or ((self.n_agq, self.loglik),)
        table = pd.DataFrame(list(steps), columns=["order", "loglik"])
        return table.assign(change=table["loglik"].diff())

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
        """Conditional means, on the scale of the response; of ordinal fits the probability of each row's category."""
        return residuals_module.fitted_values(self)

    def residuals(self, type: str | None = None, *, scaled: bool = False) -> pd.Series:
        """Residuals: "deviance" (default), "pearson", "working" or "response"; ``scaled`` divides by sigma.

        A model with a zero part or a dispersion of its own has "pearson" (default) and "response".
        """
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
        y : array-like, shape (n,), Series, one-column DataFrame, Categorical; for ``cbind`` also shape (n, 2)
            For the rows of this fit, in the form of its response, as :meth:`simulate` gives it, or as ``frame.y`` holds
            it (binomial: proportions). Two columns of counts bring their own numbers of trials.
        weights : array-like, shape (n,), optional
            Prior weights (binomial: numbers of trials, unless y has two columns); those of this fit by default.

        Raises
        ------
        ArgumentError, ResponseError, WeightsError
            Several responses at once, the wrong number of rows, values outside the family's support.
        """
        values, chosen = read_response(self.frame, y, weights)
        other = self.model.with_response(values, chosen).fit(**self.warm_settings())
        return replace(other, settings=dict(self.settings))

    def refit_ml(self) -> FittedModel:
        """Fit a linear mixed model by ML that was fitted by REML; any other fit is returned as it is."""
        if not self.reml:
            return self
        other = self.model.fit(**{**self.warm_settings(), "reml": False})
        return replace(other, settings={**self.settings, "reml": False})

    def update(self, formula: str | None = None, *, data: Any = None, **arguments: Any) -> FittedModel:
        """Fit again with a changed formula, other data or other arguments.

        Parameters
        ----------
        formula : str, optional
            As in R: ``". ~ . - x"``, ``". ~ . + (1 | h)"``, ``"log(y) ~ ."``; ``.`` stands for the old side.
        data : table, optional
            By default the columns this fit used, as they were when it was made: changing the data frame afterwards
            changes nothing. A variable that it did not use needs ``data=``.
        **arguments
            Arguments of :func:`refglmm.glmer` or :func:`refglmm.lmer` (family, link, weights, offset, subset, n_agq,
            reml, control, ...); the others stay as they were.

        Raises
        ------
        DataError
            Naming the variables that only ``data=`` can give.

        Examples
        --------
        >>> import refglmm as rg
        >>> cbpp = rg.datasets.load("cbpp")
        >>> fit = rg.glmer("cbind(incidence, size - incidence) ~ period + (1 | herd)", cbpp, "binomial")
        >>> fit.update(". ~ . - period").df
        2
        """
        changes = {name: arguments.pop(name) for name in FITTING if name in arguments}
        model = self.model.updated(formula, data, **arguments)
        settings = dict(self.settings)
        if model.mode_name != self.mode_name:
            del settings["control"]
        if model.is_lmm != self.is_lmm:
            settings |= {"reml": False, "n_agq": 1}
        return model.fit(**{**settings, **changes})

    def warm_settings(self) -> dict[str, Any]:
        """Arguments of :meth:`GLMM.fit` for a further fit of a like model: one stage, from these estimates."""
        if self.optimum.certificate.singular:  # a zero variance is stationary: begin where every fit begins
            return {**self.settings, "method": "exact"}
        start = {"par": np.array(self.optimum.par), "beta": np.array(self.optimum.beta)}
        if self.optimum.phi.size:
            start["phi"] = np.array(self.optimum.phi)
        control = replace(self.settings["control"], initial_step=False)
        return {**self.settings, "control": control, "start": start, "method": "exact"}

    # -- prediction and simulation ---------------------------------------------------------------------------

    def predict(
        self,
        newdata: Any = None,
        *,
        re_form: Any = None,
        random_only: bool = False,
        type: str = "link",
        allow_new_levels: bool = False,
        se: bool | str = False,
        interval: str | None = None,
        level: float = 0.95,
        offset: Any = None,
        weights: Any = None,
        newparams: Any = None,
        na_action: str = "pass",
        marginal: bool = False,
        vcov: str | Sandwich | None = None,
    ) -> pd.Series | pd.DataFrame:
        """Predict rows of the fit or of new data.

        Parameters
        ----------
        newdata : table, optional
            Coded by the levels, contrasts and transforms of the fit; never changed.
        re_form : None, False, "~0" or formula
            Random effects that take part: all, none, or those named: ``"~ (1 | g)"`` is the intercept column of a
            fitted ``(x | g)``.
        random_only : bool
            Leave out the fixed part and the offset.
        type : {"link", "response"}, for ordinal models {"link", "prob", "cum", "class"}
            "prob" and "cum" give a column for each category: its probability, or that of it and all below; "class" the
            likeliest category. Their standard errors are always "unconditional": columns ("fit", category) and
            ("se", category). Models with a zero part or a dispersion also have "conditional", the mean of the law,
            "zprob", the probability of a zero from the zero part, "zlink", its logit, and "disp", the dispersion;
            "response" is then the mean of the response, (1 - zprob) times "conditional". With ``marginal=True`` each of
            them is averaged over the random effects; "link" is then the link of the mean of the response.
        allow_new_levels : bool
            Levels of a grouping factor that the fit did not have, and missing ones, contribute 0 (and z' Sigma z to
            the variance) instead of being an error.
        se : bool or "unconditional"
            Add standard errors, given the covariance parameters; "unconditional" adds the uncertainty of those. With
            ``re_form=False`` they are those of x'beta by :attr:`covariance`, as in ``summary`` and ``lsmeans``. For
            "response" |dmu/deta| times those of the link.
        interval : {None, "confidence", "prediction"}
            Add ``lower`` and ``upper``: for the mean, or for one more observation (see :mod:`refglmm.fit.predict`).
        level : float
            Coverage of the interval.
        offset : str or array-like, optional
            In place of the ``offset=`` argument of the fit; needed for new data if that was an array.
        weights : str or array-like, optional
            Prior weights (binomial: trials) of new observations, for prediction intervals; by default as in the fit.
        newparams : mapping, optional
            Other parameter values, any of "par" (or "theta"), "beta", "sigma" (or "phi"); the random effects are then
            the modes at those values.
        na_action : {"pass", "exclude", "omit", "fail"}
            Rows of new data with missing values: NaN, NaN, dropped, an error.
        marginal : bool
            Predict the mean of the population, the random effects integrated out, in place of a mean at given random
            effects. New data need not hold the grouping factors; standard errors count all parameters.
        vcov : str or Sandwich, optional
            Robust standard errors, with ``re_form=False`` or ``marginal=True``: :meth:`sandwich`, or the name of one
            ("CR0" to "CR3").

        Returns
        -------
        Series, or DataFrame with ``fit`` and any of ``se``, ``lower``, ``upper``
            With the row labels; excluded rows of the fit are NaN.

        Raises
        ------
        DataError, ArgumentError
            Missing columns, unseen levels (named), terms that the fit does not have, a missing offset.

        Examples
        --------
        >>> import refglmm as rg
        >>> fit = rg.lmer("Reaction ~ Days + (Days | Subject)", rg.datasets.load("sleepstudy"))
        >>> new = {"Days": [9, 9], "Subject": ["308", "somebody"]}
        >>> fit.predict(new, allow_new_levels=True).round(2).tolist()
        [430.66, 345.61]
        """
        from refglmm.fit.predict import predict

        covariance = None
        if vcov is not None:
            from refglmm.inference.sandwich import sandwich_for

            covariance = sandwich_for(self, vcov).on_fit_scale()
        return predict(
            self,
            newdata,
            re_form=re_form,
            random_only=random_only,
            type=type,
            allow_new_levels=allow_new_levels,
            se=se,
            interval=interval,
            level=level,
            offset=offset,
            weights=weights,
            newparams=newparams,
            na_action=na_action,
            marginal=marginal,
            covariance=covariance,
        )

    def simulate(
        self,
        nsim: int = 1,
        seed: Any = None,
        *,
        use_u: bool = False,
        re_form: Any = False,
        newdata: Any = None,
        newparams: Any = None,
        cond_sim: bool = True,
        allow_new_levels: bool = False,
        offset: Any = None,
        weights: Any = None,
    ) -> pd.DataFrame:
        """Draw responses from the fitted model.

        Parameters
        ----------
        nsim : int
            Number of responses.
        seed : int, numpy Generator or None
            Same seed, same draws; noted in ``.attrs["seed"]`` (for a Generator its state before the first draw).
        use_u : bool
            Keep the modes of all random effects; by default they are drawn anew.
        re_form : False, None or formula
            Random terms that keep their modes: none, all, or those named, each as a whole.
        newdata : table, optional
            Rows to draw for, in place of those of the fit.
        newparams : mapping, optional
            Other parameter values, any of "par" (or "theta"), "beta", "sigma" (or "phi").
        cond_sim : bool
            False draws the random effects only and returns the means.
        allow_new_levels : bool
            A term that keeps its modes draws the effects of levels that the fit did not have, instead of refusing
            them; a row without a level counts as one of its own.
        offset, weights : str or array-like, optional
            Of the new data, as for :meth:`predict`.

        Returns
        -------
        DataFrame
            Columns ``sim_1``, ... in the form of the response: numbers, truth values, Categoricals; for ``cbind`` two
            columns of counts each. Ready for :meth:`refit`.

        Warns
        -----
        SimulationWarning
            Prior weights of counts, which repeat rows and have no part in drawing.
        """
        from refglmm.fit.simulate import simulate_fit

        return simulate_fit(
            self,
            nsim,
            seed,
            use_u=use_u,
            re_form=re_form,
            newdata=newdata,
            newparams=newparams,
            cond_sim=cond_sim,
            allow_new_levels=allow_new_levels,
            offset=offset,
            weights=weights,
        )

    # -- intervals -------------------------------------------------------------------------------------------

    def confint(
        self, parm: Any = None, *, level: float = 0.95, method: str = "profile", **arguments: Any
    ) -> pd.DataFrame:
        """Confidence intervals of standard deviations, correlations, sigma (or shape) and coefficients.

        Parameters
        ----------
        parm : str, int or sequence, optional
            Parameters by name or number, "theta_" (all variance parameters) or "beta_" (all coefficients); all by
            default. With a ``stat`` of your own: its names or numbers.
        level : float
        method : {"profile", "wald", "boot"}
            See :meth:`profile`, :mod:`refglmm.inference.wald` and :meth:`bootstrap`.
        **arguments
            Of that method: ``executor``, ``progress``; for "boot" also ``nsim``, ``seed``, ``stat``, ``use_u``,
            ``re_form``, ``type`` and ``boot_type`` ("percentile", "basic", "normal" or "bca").

        Returns
        -------
        pd.DataFrame
            Rows named as in lme4 (``sd_(Intercept)|herd``, ``cor_Days.(Intercept)|Subject``, ``sigma``), columns
            "2.5 %" and "97.5 %" (for level 0.95).

        Examples
        --------
        >>> import refglmm as rg
        >>> cbpp = rg.datasets.load("cbpp")
        >>> fit = rg.glmer("cbind(incidence, size - incidence) ~ period + (1 | herd)", cbpp, "binomial")
        >>> fit.confint("theta_").round(4)
                              2.5 %  97.5 %
        sd_(Intercept)|herd  0.3461     1.1
        """
        from refglmm.inference.confint import confint

        return confint(self, parm, level=level, method=method, **arguments)

    def profile(
        self,
        which: Any = None,
        *,
        alpha: float = 0.01,
        executor: Executor | None = None,
        progress: bool | None = None,
    ) -> Profile:
        """Likelihood profiles of some or all parameters; REML fits are refitted by ML.

        Parameters
        ----------
        which : str, int or sequence, optional
            As ``parm`` of :meth:`confint`.
        alpha : float
            Profiles reach to the 1 - alpha confidence region of all parameters together.
        executor : concurrent.futures.Executor, optional
            Runs the parameters side by side.
        progress : bool, optional
            Show a bar; by default on terminals and in notebooks, once it takes more than two seconds.

        Returns
        -------
        Profile
            With ``points``, ``confint``, ``density``, ``pairs`` and ``on_scale``; see also
            :mod:`refglmm.plots.profile`.
        """
        from refglmm.inference.profile import profile

        return profile(self, which, alpha=alpha, executor=executor, progress=progress)

    def bootstrap(
        self,
        stat: Callable[[FittedModel], Any] | None = None,
        *,
        nsim: int = 500,
        seed: int | np.random.SeedSequence | np.random.Generator | None = None,
        use_u: bool = False,
        re_form: Any = False,
        type: str = "parametric",
        executor: Executor | None = None,
        progress: bool | None = None,
    ) -> Bootstrap:
        """Simulate from this fit, fit again, compute a statistic; ``nsim`` times.

        Parameters
        ----------
        stat : callable, optional
            Of a fit; returns a number, an array, a Series or a mapping of numbers. By default all standard
            deviations, correlations, sigma (or shape) and coefficients.
        nsim : int
        seed : int, SeedSequence or Generator, optional
            The same seed gives the same numbers for any number of workers.
        use_u : bool
            Keep the modes of the random effects instead of drawing new ones.
        re_form : None, False or formula
            Terms that keep their modes, as in :meth:`simulate`.
        type : {"parametric", "semiparametric"}
            "semiparametric" adds resampled response residuals to the fitted values and needs ``use_u=True``.
        executor : concurrent.futures.Executor, optional
            Runs the replicates; this fit and ``stat`` must be picklable for processes.
        progress : bool, optional
            Show a bar; by default on terminals and in notebooks, once it takes more than two seconds.

        Returns
        -------
        Bootstrap
            With ``replicates`` (nan rows where one failed), ``failures``, ``warning_counts``, ``summary`` and
            ``confint``.
        """
        from refglmm.inference.bootstrap import bootstrap

        return bootstrap(
            self,
            stat,
            nsim=nsim,
            seed=seed,
            use_u=use_u,
            re_form=re_form,
            type=type,
            executor=executor,
            progress=progress,
        )

    # -- comparisons and tests -------------------------------------------------------------------------------

    def anova(
        self,
        *others: Any,
        type: Any = None,
        ddf: Any = None,
        test: str | None = None,
        covariates: str = "zero",
        refit: bool = True,
        boundary: bool = False,
    ) -> ResultTable:
        """Compare with other models by likelihood-ratio tests; without others, the table of this model's terms.

        Parameters
        ----------
        *others, refit, boundary
            See :func:`refglmm.inference.compare.anova`.
        type : {1, 2, 3, "I", "II", "III"}, optional
            Of the tests of this model's terms; right under any contrasts. A linear mixed model for which neither
            ``type`` nor ``ddf`` nor ``test`` is given shows lme4's sequential sums of squares without p-values, with
            one of them type III; a generalized model shows type I Wald tests by default.
        ddf : str or number, optional
            "satterthwaite", "kenward-roger", "residual", "inf" or a number.
        test : {"F", "Chisq"}, optional
        covariates : {"zero", "mean"}
            Where covariates stand in type III tests of what they interact with.
        """
        from refglmm.inference import compare

        if others:
            if type is not None or ddf is not None or test is not None:
                raise ArgumentError(
                    "type, ddf and test belong to the table of one model; leave them out, or the others"
                )
            return compare.anova(self, *others, refit=refit, boundary=boundary)
        return compare.model_table(self, type=type, ddf=ddf, test=test, covariates=covariates)

    def drop1(self, scope: Any = None, test: Any = "Chisq", *, ddf: Any = "auto") -> ResultTable:
        """Single-term deletions of the fixed part; see :func:`refglmm.inference.compare.drop1`."""
        from refglmm.inference.compare import drop1

        return drop1(self, scope, test, ddf=ddf)

    def ranova(self) -> ResultTable:
        """Likelihood-ratio test of each random-effects term; see :func:`refglmm.inference.compare.ranova`."""
        from refglmm.inference.compare import ranova

        return ranova(self)

    def wald_test(self, L: Any, ddf: Any = "auto", *, vcov: str | Sandwich | None = None) -> WaldTest:
        """Test the linear hypothesis L beta = 0; see :func:`refglmm.inference.denominator_df.wald_test`.

        ``vcov`` is a sandwich or the name of one ("CR0" to "CR3"); the test then is a chi-square test.
        """
        if vcov is not None:
            from refglmm.inference.sandwich import sandwich_for

            return sandwich_for(self, vcov).wald_test(L)
        from refglmm.inference.denominator_df import wald_test

        return wald_test(self, L, ddf)

    def pb_test(
        self,
        smaller: FittedModel | str | None,
        nsim: int = 1000,
        seed: Any = None,
        *,
        executor: Any = None,
        progress: bool | None = None,
    ) -> PBTest:
        """Compare with a smaller model by the parametric bootstrap; see :func:`refglmm.inference.pb_test.pb_compare`.

        ``smaller`` is a fit, the label of a fixed-effects term to leave out, or None: no random effects.
        """
        from refglmm.inference.pb_test import pb_test

        return pb_test(self, smaller, nsim=nsim, seed=seed, executor=executor, progress=progress)

    def all_fit(self, optimizers: Any = None, *, executor: Any = None, progress: bool | None = None) -> AllFit:
        """Fit the model anew with every optimiser; see :func:`refglmm.inference.all_fit.all_fit`."""
        from refglmm.inference.all_fit import all_fit

        return all_fit(self, optimizers, executor=executor, progress=progress)

    # -- populations, robust errors, new groups ---------------------------------------------------------------

    def marginal_coefs(
        self, *, std_errors: bool = True, link: Any = None, sandwich: bool | str = False
    ) -> MarginalCoefficients:
        """Coefficients of the mean of the population; see :mod:`refglmm.effects.marginal_coefs`."""
        from refglmm.effects.marginal_coefs import marginal_coefs

        return marginal_coefs(self, std_errors=std_errors, link=link, sandwich=sandwich)

    def effect_data(self, newdata: Any, **how: Any) -> pd.DataFrame:
        """New data with columns pred, se, low, upp; see :func:`refglmm.effects.effect_data.effect_data`."""
        from refglmm.effects.effect_data import effect_data

        return effect_data(self, newdata, **how)

    def sandwich(self, kind: str = "CR0", cluster: Any = None, *, progress: bool | None = None) -> Sandwich:
        """Robust covariance of the estimates; see :mod:`refglmm.inference.sandwich`."""
        from refglmm.inference.sandwich import sandwich

        return sandwich(self, kind, cluster, progress=progress)

    def group_scores(self, cluster: Any = None) -> pd.DataFrame:
        """Gradient of each group's log-likelihood at the estimates; see :mod:`refglmm.inference.group_scores`."""
        from refglmm.inference.group_scores import group_scores

        return group_scores(self, cluster).frame

    def score_influence(self, cluster: Any = None, *, progress: bool | None = None) -> Influence:
        """Estimates without each group in one Newton step; see :mod:`refglmm.inference.score_influence`."""
        from refglmm.inference.score_influence import score_influence

        return score_influence(self, cluster, progress=progress)

    def dynamic(self, newdata: Any, future: Any = None, **how: Any) -> pd.Series | pd.DataFrame:
        """Predict rows of groups, new ones too, from responses of theirs; see :mod:`refglmm.inference.dynamic`.

        Examples
        --------
        >>> import refglmm as rg
        >>> fit = rg.lmer("Reaction ~ Days + (Days | Subject)", rg.datasets.load("sleepstudy"))
        >>> seen = {"Reaction": [300.0, 330.0], "Days": [0, 1], "Subject": ["new", "new"]}
        >>> fit.dynamic(seen, {"Days": [5], "Subject": ["new"]}, se=True).round(1)
             fit    se
        0  351.8  34.4
        """
        from refglmm.inference.dynamic import dynamic

        return dynamic(self, newdata, future, **how)

    def scoring_rules(self, newdata: Any = None, future: Any = None, **how: Any) -> pd.DataFrame:
        """Logarithmic, quadratic and spherical scores of counts; see :mod:`refglmm.inference.scoring`."""
        from refglmm.inference.scoring import scoring_rules

        return scoring_rules(self, newdata, future, **how)

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
        if isinstance(tol, bool) or not isinstance(tol, int | float | np.number) or not tol >= 0.0:
            raise ArgumentError(f"tol must be a number >= 0, not {tol!r}", tol=tol)
        parts = varcorr_module.split_par(self)
        return any(s.is_singular(par, tol) for s, par in zip(self.structures, parts, strict=True))

    @property
    def trace(self) -> trace_module.Trace:
        """Every objective evaluation and recorded PIRLS iteration."""
        return self.derived("trace", lambda: trace_module.trace(self))

    def get_me(self, *names: str) -> Any:
        """A piece of the model by the name that lme4's getME gives it; several names give a dict."""
        return getme.get_me(self, *names)

    # -- pictures --------------------------------------------------------------------------------------------

    def plot_groups(self, x: Any, **options: Any) -> np.ndarray:
        """The data against x with a line for each group; see :func:`refglmm.plots.plot_groups`."""
        from refglmm.plots.groups import plot_groups

        return plot_groups(self, x, **options)

    def plot_caterpillar(self, group: str | None = None, *, ax: Any = None) -> np.ndarray:
        """Random effects with their intervals, in order; see :func:`refglmm.plots.plot_caterpillar`."""
        from refglmm.plots.caterpillar import plot_caterpillar

        return plot_caterpillar(self, group, ax=ax)

    def plot_ranef_qq(self, group: str | None = None, *, ax: Any = None) -> np.ndarray:
        """Random effects against normal quantiles; see :func:`refglmm.plots.plot_ranef_qq`."""
        from refglmm.plots.qq import plot_ranef_qq

        return plot_ranef_qq(self, group, ax=ax)

    def plot_shrinkage(self, group: str | None = None, **options: Any) -> Axes:
        """No, partial and complete pooling; see :func:`refglmm.plots.plot_shrinkage`."""
        from refglmm.plots.shrinkage import plot_shrinkage

        return plot_shrinkage(self, group, **options)

    def plot_predictions(self, x: str, **options: Any) -> np.ndarray:
        """Prediction curves with ribbons; see :func:`refglmm.plots.plot_predictions`."""
        from refglmm.plots.prediction import plot_predictions

        return plot_predictions(self, x, **options)

    def plot_path(self, parameters: Sequence[str] | None = None, **options: Any) -> Axes:
        """The optimiser's path on contours of the objective; see :func:`refglmm.plots.plot_path`."""
        from refglmm.plots.surface import plot_path

        return plot_path(self, parameters, **options)

    # -- means and effects -----------------------------------------------------------------------------------

    def lsmeans(self, specs: Any, **how: Any) -> Means:
        """Estimated marginal means; see :func:`refglmm.lsmeans`."""
        from refglmm.effects.means import lsmeans

        return lsmeans(self, specs, **how)

    def conditional_effects(self, effect: Any, **how: Any) -> ConditionalEffects:
        """The mean as a function of one to three variables; see :func:`refglmm.conditional_effects`."""
        from refglmm.effects.conditional import conditional_effects

        return conditional_effects(self, effect, **how)

    def simple_effects(self, effect: Any, **how: Any) -> SimpleSlopes:
        """Slopes or differences of one variable at values of another; see :func:`refglmm.simple_effects`."""
        from refglmm.effects.conditional import simple_effects

        return simple_effects(self, effect, **how)

    def marginal_effects(self, variables: Any = None, **how: Any) -> AverageEffects:
        """Average marginal effects; see :func:`refglmm.marginal_effects`."""
        from refglmm.effects.marginal import marginal_effects

        return marginal_effects(self, variables, **how)

    def marginal_means(self, specs: Any = None, **how: Any) -> AverageEffects:
        """Average means of the population; see :func:`refglmm.marginal_means`."""
        from refglmm.effects.marginal import marginal_means

        return marginal_means(self, specs, **how)

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

    def summary(
        self, *, correlation: bool | None = None, ddf: Any = None, vcov: str | Sandwich | None = None
    ) -> summary_module.Summary:
        """Summary that prints like lme4's.

        Parameters
        ----------
        correlation : bool, optional
            Show the correlation of the fixed effects; by default for up to 12.
        ddf : str or number, optional
            Add degrees of freedom and p-values to the t values of a linear mixed model, as lmerTest does:
            "satterthwaite", "kenward-roger", "residual", "auto" or a number.
        vcov : str or Sandwich, optional
            Robust standard errors and z tests: :meth:`sandwich`, or the name of one ("CR0" to "CR3").
        """
        if vcov is not None:
            from refglmm.inference.sandwich import sandwich_for

            if ddf is not None:
                raise ArgumentError("ddf belongs to model-based standard errors; give one of ddf and vcov")
            robust = sandwich_for(self, vcov)
            tests = summary_module.CoefficientTests(
                robust.table, robust.fixed, robust.note[0].upper() + robust.note[1:]
            )
            return summary_module.summary(self, correlation_shown=correlation, tests=tests)
        if ddf is None:
            return summary_module.summary(self, correlation_shown=correlation)
        from refglmm.inference.coefficients import coefficient_tests, method_sentence
        from refglmm.inference.denominator_df import covariance_for, resolve_method

        method = resolve_method(self, ddf)
        tests = summary_module.CoefficientTests(
            coefficient_tests(self, method), covariance_for(self, method), f"t-tests use {method_sentence(method)}"
        )
        return summary_module.summary(self, correlation_shown=correlation, tests=tests)

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
        for part, heading in summary_module.headings(self, "Fixed Effects:").items():
            values = parts_module.coefficients(self, part)
            if len(values):
                lines += [heading, named_numbers(list(values.index), format_numbers(values.to_numpy(), 4))]
            else:
                lines.append("No fixed effects")
        if self.family.is_ordinal and self.optimum.phi.size:
            lines += ["Thresholds:", named_numbers(list(self.phi.index), format_numbers(self.phi.to_numpy(), 4))]
        certificate = self.optimum.certificate
        return lines + ([] if certificate.converged and not certificate.messages else [str(certificate)])

    def _threshold_html(self) -> list[str]:
        if not self.family.is_ordinal or not self.optimum.phi.size:
            return []
        shown = zip(map(str, self.phi.index), format_numbers(self.phi.to_numpy(), 4), strict=True)
        return [html_table(["", "Estimate"], shown, "Thresholds")]

    def _repr_html_(self) -> str:
        header, rows = self.varcorr.cells(("Variance", "Std.Dev."), 4)
        values = summary_module.shown_criteria(self)
        fixed = [
            html_table(["", "Estimate"], zip(values.index, format_numbers(values.to_numpy(), 4), strict=True), heading)
            for part, heading in summary_module.headings(self, "Fixed effects").items()
            for values in [parts_module.coefficients(self, part)]
        ]
        return html_block(
            [
                html_lines(summary_module.header_lines(self)),
                html_table(list(values), [[format_numbers([v], 7)[0] for v in values.values()]]),
                html_table(header, rows, "Random effects"),
                html_lines([summary_module.size_line(self)]),
                *fixed,
                *self._threshold_html(),
                html_lines(self.optimum.certificate.messages),
            ]
        )
