"""From a formula and a data frame to a fitted model: the whole story in one screen each.

Place in the reading order: last but one (only the command line comes after it).

formula -> terms (:mod:`refglmm.formula.grammar`) -> frame -> design -> problem (:mod:`refglmm.likelihood.problem`)
-> objective -> optimum (:mod:`refglmm.optimize`) -> :class:`refglmm.fit.FittedModel`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from copy import copy, deepcopy
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from refglmm._threads import blas_threads
from refglmm.covariance import term_structures
from refglmm.errors import (
    ArgumentError,
    ConvergenceWarning,
    DataError,
    FamilyError,
    FamilyWarning,
    FormulaError,
    NotAvailableError,
    ResponseError,
    SeparationWarning,
    SingularFitWarning,
    WeightsError,
    warn,
)
from refglmm.families.registry import FAMILIES, get_family, read_zero_part
from refglmm.fit.parameters import par_from_theta
from refglmm.fit.parts import part_formulas, with_parts
from refglmm.fit.response import raw_with_response
from refglmm.fitted import FittedModel
from refglmm.formula.centring import DEVIATION, MEAN
from refglmm.formula.convert import Table, to_table
from refglmm.formula.design import Checks, Design, build_design
from refglmm.formula.expressions import names_in, parse_expression
from refglmm.formula.frame import build_frame
from refglmm.formula.grammar import Formula, parse, update_formula
from refglmm.formula.group_weights import use_column, weights_of_groups
from refglmm.formula.grouped import grouped_formula, read_random, zero_part_formula
from refglmm.formula.parts import build_coupled_design
from refglmm.formula.prepare import prepare
from refglmm.likelihood.penalty import Penalty, make_penalty
from refglmm.likelihood.problem import Problem, build_problem
from refglmm.likelihood.quadrature import MAX_ORDER
from refglmm.likelihood.state import Mode
from refglmm.likelihood.warmup import announce_compilation
from refglmm.optimize.agq_order import OrderStep, climb
from refglmm.optimize.control import Control, make_control
from refglmm.optimize.em import Hybrid, as_hybrid, fit_hybrid
from refglmm.optimize.lme4_path import fit_glmm_lme4
from refglmm.optimize.negative_binomial import fit_nb_lme4
from refglmm.optimize.records import Optimum
from refglmm.optimize.rescale import rescaled, restore
from refglmm.optimize.separation import certain_zeros, runaway_deviations, separated_columns
from refglmm.optimize.two_stage import fit_glmm, fit_linear

if TYPE_CHECKING:
    from refglmm.bayes.code import Code
    from refglmm.bayes.fits import IndependentFit, MCMCFit, VBFit
    from refglmm.bayes.map_fit import MAPFit
    from refglmm.bayes.posterior import Posterior
    from refglmm.bayes.residuals import Residuals
    from refglmm.families.ordinal import OrdinalFamily
    from refglmm.inference.coefficients import ClassicFit

MODES = ("exact", "lme4")


class GLMM:
    """A generalized linear mixed model: formula, data and family, made ready for any way of fitting it.

    Parameters
    ----------
    formula : str
        lme4's formula language, e.g. ``"y ~ x + (1 + x | g)"``, with glmmTMB's covariance structures, e.g.
        ``"y ~ x + ou(0 + numFactor(time) | g)"``; :mod:`refglmm.covariance` lists them.
    data : pandas, polars or Arrow table, or dict of arrays
        Never changed.
    family : str or Family
        ``"binomial"``, ``"poisson"``, ``"gamma"``, ...; gaussian with identity link is a linear mixed model.
    link : str, optional
        Overrides the family's default link.
    weights, offset : str, array or Series, optional
        Column name, R expression or values; binomial weights are numbers of trials.
    group_weights : str, mapping or array, optional
        Factor of each group's log-likelihood (models with one grouping factor, ``mode="exact"``): a column or an array
        over the rows of the data, constant in each group, or a mapping from level to weight.
    subset, na_action, contrasts, env, double_bar
        See :func:`refglmm.formula.frame.build_frame`, :func:`refglmm.formula.design.build_design` and
        :func:`refglmm.formula.grammar.parse`.
    checks : mapping, optional
        Pre-fit checks by name, each "ignore", "warning" or "stop".
    mode : {"exact", "lme4"}
        "lme4" reproduces lme4's inner stopping rule and bookkeeping; nothing else depends on it.
    zi : str, optional
        One-sided formula of a zero part, e.g. ``"~ x + (1 | g)"``: the logit of the probability of a zero beside those
        of the family (zero inflation), or of any zero for families without zeros (a hurdle model: truncated counts,
        gamma, ...). ``.`` stands for the main formula. ``"~0"`` is no zero part.
    dispersion : str, optional
        One-sided formula for the logarithm of the family's first shape parameter (gaussian: the residual variance;
        gamma: phi; negative binomial: the size).
    tie : bool
        Make the random effects of the predictors on one grouping factor one correlated term; by default those of
        different predictors are independent.
    prior : Prior, optional
        What :meth:`optimize`, :meth:`sample` and :meth:`variational` multiply the likelihood with, such as
        ``rg.prior_normal()`` or ``rg.prior_weak()``; flat by default. :meth:`fit` knows no priors.
    y_range : pair of float, optional
        Theoretical range of the response, which some priors need.
    factors : sequence of str, optional
        Columns that become categorical, levels sorted (those of a Categorical stay as they are), in new data too.
    within : mapping, optional
        Within factors of a wide response ``cbind(y1, ..., yk)`` or ``cbind(y1:yk)``: name to labels in order, or to
        their number; the last one varies fastest across the columns, see :func:`refglmm.to_long`. Each row becomes k
        rows, one a measurement; a missing measurement leaves out its row alone. Arguments with an entry for each row
        (``weights``, ``offset``, ``subset``) are repeated. A grouping variable that the data lacks, as in ``(1 | id)``,
        numbers the wide rows. Not needed when just one variable of the right-hand side is absent from the data: that is
        then the factor, with levels "1", ..., "k". New data have long form.
    cwc : mapping or pair, optional
        ``{"cluster": "g", "pars": ["x"]}`` or ``("g", ["x"])`` makes ``x_cwc``, the deviation of x from the mean of its
        cluster, and ``x_cm``, that mean, for use in the formula; x stays as it is. In ``y ~ x_cm + x_cwc`` the
        coefficients are the effect between clusters and the one within; in ``y ~ x + x_cwc`` the effect between, and
        the effect within minus the one between. ``"replace": True`` puts the deviation in place of x everywhere among
        the predictors (its coefficient is called ``x_cwc``). The cluster is a column, a product ``a:b``, an R
        expression or a value per row; ``"pars": "all"`` is every numeric predictor that varies within clusters. New
        data give ``x_cwc`` and ``x_cm``, or x and a cluster of the fit, whose mean in the fit is then taken.
    gmc : sequence of str or "all", optional
        Predictors that stand for their deviation from the mean, before ``cwc``. New data (and effects) are in the unit
        of x itself: the mean of the fit is subtracted from them. "all" is every numeric predictor.
        Means are those of the rows that the model uses.
    missing : {"listwise"}
        Rows in which a variable of the model is missing are left out (see ``na_action``).
    sigma_by : str or sequence of str, optional
        Columns whose combinations have a residual standard deviation each; "all" is every factor among the predictors.
        This and the following are for :meth:`optimize`, :meth:`sample` and :meth:`variational`, see
        :mod:`refglmm.bayes.residuals`.
    resid_corr : {"ar1", "car1", "cs", "toep", "un"}, optional
        Correlation of residuals within blocks; the formula may then do without random effects.
    resid_group : str or sequence of str, optional
        Column, or product ``a:b``, of the blocks; by default the first grouping factor of the random effects.
    resid_time : str, optional
        Column with the position within a block: a number, with its real gaps, or a factor; by default rows in order.

    Attributes
    ----------
    frame, design, problem : the rows used, the matrices, and the arrays the likelihood works on
    table : the columns of the data that were used, all rows, a copy
    arguments : the other arguments, as they were given
    cells : which column of a wide response holds which cell (None without one)
    """

    def __init__(
        self,
        formula: str | Formula,
        data: Any,
        family: Any = "gaussian",
        *,
        link: str | None = None,
        weights: Any = None,
        offset: Any = None,
        group_weights: Any = None,
        subset: Any = None,
        na_action: str = "omit",
        contrasts: Mapping[str, Any] | None = None,
        env: Mapping[str, Any] | None = None,
        double_bar: str = "split",
        checks: Mapping[str, str] | None = None,
        mode: str = "exact",
        autoscale: bool = False,
        data_name: str | None = None,
        zi: str | Formula | None = None,
        dispersion: str | Formula | None = None,
        tie: bool = False,
        prior: Any = None,
        y_range: tuple[float, float] | None = None,
        factors: Sequence[str] | None = None,
        within: Mapping[str, Any] | None = None,
        cwc: Any = None,
        gmc: Any = None,
        missing: str = "listwise",
        sigma_by: Any = None,
        resid_corr: str | None = None,
        resid_group: Any = None,
        resid_time: str | None = None,
    ) -> None:
        if mode not in MODES:
            raise ArgumentError(f"mode must be 'exact' or 'lme4', not {mode!r}")
        _refuse_missing_rule(missing)
        if contrasts is not None and not isinstance(contrasts, Mapping):
            raise ArgumentError(
                "contrasts gives the coding of each factor: 'treatment', 'sum', 'helmert', 'poly' or a matrix, e.g. "
                f"contrasts={{'group': 'sum'}}, not {contrasts!r}"
            )
        residual = {
            "sigma_by": sigma_by,
            "resid_corr": resid_corr,
            "resid_group": resid_group,
            "resid_time": resid_time,
        }
        self.mode_name = mode
        family, zi = read_zero_part(family, zi)
        self.base_family = get_family(family, link)
        parsed = parse(formula, double_bar=double_bar)
        written_parts = part_formulas(parsed, zi, dispersion, double_bar)
        if written_parts:
            _refuse_for_parts(mode, autoscale)
        self.family = with_parts(self.base_family, written_parts)
        if mode == "lme4" and self.family.is_ordinal:
            raise NotAvailableError("lme4 has no ordinal models to reproduce; use mode='exact'")
        self.is_lmm = not written_parts and self.family.name == "gaussian" and self.family.link.name == "identity"
        self.data_name = data_name or _name_of(data)
        self.arguments = {
            "weights": deepcopy(weights),
            "offset": deepcopy(offset),
            "group_weights": deepcopy(group_weights),
            "subset": deepcopy(subset),
            "na_action": na_action,
            "contrasts": deepcopy(contrasts),
            "env": {
                name: deepcopy(v) if isinstance(v, np.ndarray | pd.DataFrame) else v for name, v in (env or {}).items()
            },
            "double_bar": double_bar,
            "checks": dict(checks or {}),
            "mode": mode,
            "autoscale": autoscale,
            "zi": zi,
            "dispersion": dispersion,
            "tie": tie,
            "prior": prior,
            "y_range": y_range,
            "factors": deepcopy(factors),
            "within": deepcopy(within),
            "cwc": deepcopy(cwc),
            "gmc": deepcopy(gmc),
            "missing": missing,
            **{name: deepcopy(value) for name, value in residual.items()},
        }
        source = to_table(data)
        prepared = prepare(
            parsed,
            written_parts,
            source,
            factors=factors,
            within=within,
            cwc=cwc,
            gmc=gmc,
            pairs=self.family.is_binomial or self.family.takes_codes,
            env=env or {},
            rowwise={"weights": weights, "offset": offset, "group_weights": group_weights, "subset": subset},
        )
        self.part_formulas, self.wide = dict(prepared.parts), prepared.wide
        rowwise = prepared.rowwise
        self.frame = build_frame(
            prepared.formula,
            prepared.table,
            binomial=self.family.is_binomial,
            coded=self.family.takes_codes,
            ordinal=self.family.is_ordinal,
            weights=rowwise["weights"],
            offset=rowwise["offset"],
            subset=rowwise["subset"],
            na_action=na_action,
            env=env,
            also=[*self.part_formulas.values(), *_residual_columns(prepared.table, residual)],
            factors=prepared.factors,
            centring=prepared.centring,
            notes=() if self.wide is None else self.wide.notes,
        )
        self.written = prepared.written
        use_column(group_weights, prepared.table)
        if self.frame.codes is not None:
            self.family = self.family.with_codes(self.frame.y, self.frame.codes)
        self.table = source.used()
        self.other_response = False
        if not np.any(self.frame.weights > 0):
            raise WeightsError("all weights are zero: no observation is left; give some rows a positive weight")
        if self.family.is_ordinal:
            self.family = cast("OrdinalFamily", self.family).for_levels(self.frame.response_levels)
        self.family.check_response(self.frame.y, self.frame.weights)
        found = _make_checks(checks, self.is_lmm)
        if resid_corr is not None:  # correlated residuals may take the place of random effects
            found = replace(found, no_random_effects="ignore")
        if getattr(prior, "kind", "flat") != "flat" and not self.family.shape_names:  # no scale could run to zero
            found = replace(found, constant_response=(checks or {}).get("constant_response", "ignore"))
        self.design = self._build_design(contrasts, found, tie)
        self.structures = term_structures(self.design.terms)
        if self.is_lmm and any(term.structure == "equalto" for term in self.design.terms):
            raise FormulaError(
                "a linear mixed model estimates all covariances relative to the residual variance, so equalto(...) "
                "cannot hold there; use propto(...)"
            )
        by_group = None if group_weights is None else self._group_weights(rowwise["group_weights"], prepared.table)
        self.problem = build_problem(self.design, self.frame, self.family, self.structures, by_group)
        self.autoscale = autoscale
        _ = self.residuals  # raises for what cannot be
        shown = {"weights": weights, "offset": offset, "group_weights": group_weights, "subset": subset}
        shown |= {part: formula.expanded for part, formula in self.part_formulas.items()}
        self.call = {"formula": self.frame.formula.text, "family": self.family.display} | {
            name: value if isinstance(value, str) else f"<{type(value).__name__}>"
            for name, value in shown.items()
            if value is not None
        }

    def _group_weights(self, given: Any, table: Table) -> np.ndarray:
        """A weight for each level, where the engine of this model can use them."""
        if self.is_lmm or self.mode_name == "lme4":
            raise NotAvailableError(
                "group_weights= exist for generalized models in mode='exact'; repeat the rows of the "
                "groups, under new labels, for others"
            )
        return weights_of_groups(given, self.design, table)

    def _build_design(self, contrasts: Mapping[str, Any] | None, checks: Checks, tie: bool) -> Design:
        """The design of the one predictor, or of several."""
        if not self.part_formulas:
            if tie:
                raise ArgumentError("tie=True ties random effects of several predictors; give zi= or dispersion=")
            return build_design(
                self.frame,
                contrasts=contrasts,
                mode=self.mode_name,
                control=checks,
                intercept=self.family.has_intercept,
            )
        return build_coupled_design(self.frame, self.part_formulas, contrasts=contrasts, control=checks, tie=tie)

    @property
    def cells(self) -> pd.DataFrame | None:
        """Columns of a wide response with the levels of the within factors (a new frame); None without one."""
        return None if self.wide is None else self.wide.cells.table()

    def __repr__(self) -> str:
        text = (
            f"GLMM({self.frame.formula.expanded!r}, family={self.family.display}, n={self.frame.n}, "
            f"p={self.problem.p}, q={self.problem.q})"
        )
        return "\n".join([text, *(f"  {line}" for line in self.frame.notes)])

    def with_response(self, y: Any, weights: Any = None) -> GLMM:
        """Give the same model another response, as :attr:`ModelFrame.y` holds it, and weights; the rest is shared.

        Raises
        ------
        ArgumentError, ResponseError, WeightsError
            Wrong length, outside the family's support, negative or not finite; in a linear model also constant.
        """
        values = _numbers("y", y)
        chosen = self.frame.weights if weights is None else _numbers("weights", weights)
        for name, array in (("y", values), ("weights", chosen)):
            if array.shape != (self.frame.n,) or not np.all(np.isfinite(array)):
                raise ArgumentError(f"{name} must be {self.frame.n} finite numbers, not an array of {array.shape}")
        if np.any(chosen < 0) or not np.any(chosen > 0):
            raise WeightsError("weights must not be negative, and not all of them zero")
        self.family.check_response(values, chosen)
        if self.is_lmm and np.ptp(values - self.frame.offset) == 0.0:
            raise ResponseError(f"the response is constant (row 0 is {values[0]:g}): there is no variance to model")
        trials = self.frame.trials
        if trials is not None and weights is not None:  # the prior weight of a trial stays
            before = self.frame.weights
            trials = np.divide(trials * chosen, before, out=chosen.copy(), where=before > 0)
        other = copy(self)
        for name in ("posterior", "residuals"):
            other.__dict__.pop(name, None)
        raw = raw_with_response(self.frame, values, trials)
        other.frame = replace(self.frame, y=values, weights=chosen, trials=trials, raw=raw)
        other.problem = self.problem.with_response(values, chosen)
        other.other_response = True
        return other

    def updated(self, formula: str | None = None, data: Any = None, **arguments: Any) -> GLMM:
        """Make the model again with another formula, other data or other arguments.

        Parameters
        ----------
        formula : str, optional
            A change such as ``". ~ . - x"`` (``.`` is the old side) or a whole formula.
        data : table, optional
            By default the columns that this model used, as they were then.
        **arguments
            Arguments of :class:`GLMM`; the others stay.

        Raises
        ------
        DataError
            A variable that the model did not keep: pass ``data=``.
        NotAvailableError
            The model has another response than its data (see :meth:`with_response`) and would use other rows.
        """
        old, double_bar = self.written, arguments.get("double_bar", self.arguments["double_bar"])
        changed = old if formula is None else update_formula(old, formula, double_bar=double_bar)
        changed = replace(changed, text=changed.expanded)
        settings = {"family": self.base_family, "data_name": self.data_name, **self.arguments}
        if unknown := [name for name in arguments if name not in (*settings, "link")]:
            raise ArgumentError(f"a model has no argument {unknown[0]!r}; known are {', '.join(settings)}, link")
        settings |= arguments
        family, known_shape = self.base_family, self.base_family.fixed_shape.size > 0
        if "link" in arguments and "family" not in arguments and family.name in FAMILIES and not known_shape:
            settings["family"] = family.with_link(settings["link"])
        if data is None:
            self._refuse_unkept(changed, settings)
        else:
            settings["data_name"] = arguments.get("data_name") or _name_of(data)
        made = type(self)(changed, self.table if data is None else data, **settings)
        return made if data is not None or not self.other_response else self._same_response(made)

    def _refuse_unkept(self, formula: Formula, settings: Mapping[str, Any]) -> None:
        """Raise for variables that are neither among the kept columns nor in env."""
        texts = [settings[name] for name in ("weights", "offset", "subset") if isinstance(settings[name], str)]
        parts = part_formulas(formula, settings["zi"], settings["dispersion"], settings["double_bar"])
        names = [name for own in (formula, *parts.values()) for name in own.variables]
        names += [*(name for text in texts for name in names_in(parse_expression(text)))]
        known = (*self.table.names, *settings["env"], *self._made_names(settings), "pi", "T", "F")
        lost = [name for name in dict.fromkeys(names) if name not in known]
        if lost:
            raise DataError(
                f"a fit keeps the columns that it used ({', '.join(self.table.names)}), not "
                f"{', '.join(map(repr, lost))}; pass data=",
                columns=tuple(lost),
            )

    def _made_names(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        """Variables that are no columns of the data: those made of a wide response, deviations and cluster means."""
        means = [name + end for name in self.table.names for end in (DEVIATION, MEAN)] if settings["cwc"] else []
        return (*(self.wide.made if self.wide is not None else ()), *(settings["within"] or ()), *means)

    def _same_response(self, made: GLMM) -> GLMM:
        """Give an updated model the response of this one, where the rows are the same."""
        ours, theirs = self.frame, made.frame
        if ours.formula.response != theirs.formula.response or not np.array_equal(ours.kept, theirs.kept):
            raise NotAvailableError(
                "this model was refitted to another response, which its data does not hold, and the update asks for "
                "other rows; update the original fit and refit that"
            )
        return made.with_response(ours.y, ours.weights)

    # -- the posterior -----------------------------------------------------------------------------------------

    @cached_property
    def posterior(self) -> Posterior:
        """The posterior of this model under its priors."""
        from refglmm.bayes.posterior import Posterior
        from refglmm.bayes.priors import resolve

        priors, residuals = resolve(self.arguments["prior"], self, y_range=self.arguments["y_range"]), self.residuals
        if residuals is not None:
            priors = residuals.priors(priors)
        return Posterior(self.problem, priors, residuals=residuals)

    @cached_property
    def residuals(self) -> Residuals | None:
        """Residual correlation, and residual standard deviations by cell; None without them."""
        if self.arguments["resid_corr"] is None and self.arguments["sigma_by"] is None:
            return None
        from refglmm.bayes.residuals import read_residuals

        return read_residuals(self)

    def prior_summary(self) -> pd.DataFrame:
        """Return the exact prior of every parameter."""
        from refglmm.bayes.priors import prior_summary

        return prior_summary(self.posterior.priors)

    def code(self, kind: str = "math") -> Code:
        """Write the model and its priors down.

        Parameters
        ----------
        kind : {"math", "numpy", "stan"}
            "math": readable mathematics with all numbers. "numpy": a script without this library that defines
            ``log_posterior(position, data)``, with ``data`` from :meth:`code_data`. "stan": a Stan program, with its
            data from :meth:`stan_data`. Both have the density of ``posterior.log_density``, constants and Jacobians
            included, at the same position (Stan: the unconstrained parameters).

        Returns
        -------
        Code
            A string that shows itself as text.

        Raises
        ------
        ArgumentError
            Another kind.
        NotAvailableError
            A family whose density cannot be written in that language.
        """
        from refglmm.bayes.code import model_code

        return model_code(self, kind)

    def print_code(self, kind: str = "math") -> None:
        """Print :meth:`code`."""
        print(self.code(kind), end="")

    def code_data(self) -> dict[str, Any]:
        """Return the arrays that ``code("numpy")`` reads: y, weights, offset, X, and Z1, level1, ... of each term."""
        from refglmm.bayes.code import code_data

        return code_data(self)

    def stan_data(self) -> dict[str, Any]:
        """Return the data of ``code("stan")`` as numbers and lists, ready for json."""
        from refglmm.bayes.code import stan_data

        return stan_data(self)

    def optimize(
        self,
        *,
        laplace: bool = True,
        num_estimate: int = 1,
        se_method: str = "wald",
        num_samples: int = 1000,
        prob: float = 0.95,
        seed: int = 1,
    ) -> MAPFit:
        """Posterior mode.

        Parameters
        ----------
        laplace : bool
            Integrate the random effects out by Laplace's method; else maximise over them too.
        num_estimate : int
            Starts, the first from the data, the others dispersed around it; the best mode is kept.
        se_method : {"wald", "sampling", "none"}
            Intervals by the delta method, each on the scale on which its quantity is unbounded; or from draws of the
            normal approximation.
        num_samples : int
            Draws for ``se_method="sampling"``.
        prob : float
            Probability of the intervals.
        seed : int
            For the starts and the draws.

        Returns
        -------
        MAPFit

        Warns
        -----
        ConvergenceWarning, SeparationWarning
        SingularFitWarning
            Standard deviations at zero; there are no standard errors for these.
        """
        from refglmm.bayes.map_fit import optimize

        with blas_threads(1):
            return optimize(
                self,
                self.posterior,
                laplace=laplace,
                num_estimate=num_estimate,
                se_method=se_method,
                num_samples=num_samples,
                prob=prob,
                seed=seed,
            )

    def sample(
        self,
        *,
        sampling: int = 1000,
        warmup: int = 1000,
        chains: int = 4,
        thin: int = 1,
        seed: int | None = None,
        delta: float = 0.8,
        max_treedepth: int = 10,
        variant: str = "multinomial",
        metric: str = "laplace",
        parametrisation: str = "auto",
        laplace: bool = False,
        init: Any = None,
        parallel: bool | int = True,
        progress: bool | None = None,
        checkpoint: Any = None,
    ) -> MCMCFit:
        """Draw from the posterior by the no-U-turn sampler.

        Parameters
        ----------
        sampling, warmup, chains : int
            Draws of each chain that are kept, transitions before them, chains.
        thin : int
            Transitions a draw.
        seed : int, optional
            The same seed gives the same draws, whatever the number of threads.
        delta : float
            Acceptance that the step size aims at.
        max_treedepth : int
            Most doublings of a trajectory.
        variant : {"multinomial", "slice"}
        metric : {"laplace", "diag", "dense", "hybrid"}
            The default is the sparse curvature of the joint Laplace approximation, its scales adapted in windows.
        parametrisation : {"auto", "noncentred", "centred"} or mapping
            How random effects stand in the position; "auto" centres the terms whose levels the data tell much about. A
            mapping gives it for each grouping factor or term.
        laplace : bool
            Sample the other parameters with the random effects integrated out by Laplace's method (exact for a Gaussian
            response with identity link), then draw those from their conditional approximation, with importance weights.
        init : array of shape (d,) or (chains, d), optional
            Unconstrained positions to start from; by default dispersed around the Laplace fit.
        parallel : bool or int
            Threads: True one a chain up to the number of cores, False one.
        progress : bool, optional
            Show a bar; by default on a terminal or notebook for what takes more than two seconds.
        checkpoint : path, optional
            Folder where the state of the chains is kept; an interrupted run goes on from there.

        Warns
        -----
        SamplingWarning
            R-hat above 1.01, divergent transitions, saturated trees, slow energies.
        """
        from refglmm.bayes.fits import sample

        with blas_threads(1):
            return sample(
                self,
                self.posterior,
                sampling=sampling,
                warmup=warmup,
                chains=chains,
                thin=thin,
                seed=seed,
                delta=delta,
                max_treedepth=max_treedepth,
                variant=variant,
                metric=metric,
                parametrisation=parametrisation,
                laplace=laplace,
                init=init,
                parallel=parallel,
                progress=progress,
                checkpoint=checkpoint,
            )

    def prior_predict(self, draws: int = 100, seed: Any = None) -> np.ndarray:
        """Responses drawn from the priors alone: what the model says before it has seen the data.

        Parameters
        ----------
        draws : int
            Independent draws of all parameters, with one response for each row of the model.
        seed : int, Generator or None

        Returns
        -------
        float array, shape (draws, n)
            As ``frame.y`` holds a response.

        Raises
        ------
        NotAvailableError
            An improper prior.
        """
        from refglmm.bayes.predictive import prior_predict

        return prior_predict(self, draws, seed)

    def variational(self, method: str = "meanfield", iter: int | None = None, **settings: Any) -> VBFit:
        """Approximate the posterior by a Gaussian that maximises the evidence lower bound.

        Parameters
        ----------
        method : {"meanfield", "fullrank", "hybrid", "lowrank"}
        iter : int, optional
            Most steps of a run; it ends earlier where nothing changes any more.
        **settings
            See :func:`refglmm.bayes.advi.variational`: ``n_runs``, ``draws``, ``draws_per_step``, ``rank``,
            ``resample``, ``seed``, ``threads``, ``progress``.

        Warns
        -----
        ParetoWarning
            The importance weights say that the approximation misses part of the posterior.
        """
        from refglmm.bayes.fits import variational_fit

        with blas_threads(1):
            return variational_fit(self, self.posterior, method=method, iter=iter, **settings)

    def laplace_draws(self, draws: int = 1000, **settings: Any) -> IndependentFit:
        """Draw without a chain: from the joint Laplace approximation, weighted against the posterior and resampled.

        Parameters
        ----------
        draws : int
        **settings
            See :func:`refglmm.bayes.independent.independent_draws`: ``conditional``, ``df``, ``proposals``, ``seed``.

        Warns
        -----
        ParetoWarning
            k-hat is too large for these draws to be relied on.
        """
        from refglmm.bayes.fits import independent_fit

        with blas_threads(1):
            return independent_fit(self, self.posterior, draws=draws, **settings)

    def fit(
        self,
        *,
        n_agq: int | str = 1,
        reml: bool = False,
        optimizer: str | tuple[str, str] | None = None,
        start: Any = None,
        etastart: Any = None,
        mustart: Any = None,
        control: Control | Mapping[str, Any] | None = None,
        se: str = "hessian",
        penalized: Any = False,
        method: str | Hybrid = "exact",
    ) -> FittedModel:
        """Fit by maximum likelihood (a linear mixed model by REML if ``reml``), or by penalised maximum likelihood.

        Parameters
        ----------
        n_agq : int or "auto"
            1 Laplace; 0 beta from the joint penalised problem; k up to 100 adaptive Gauss-Hermite points for each
            random effect of a group (one grouping factor). "auto" takes more points until the log-likelihood changes
            by less than 1e-3 (:attr:`.FittedModel.agq_path` shows it); Laplace where the grouping factors differ.
        optimizer : str or pair, optional
            "newton", "bobyqa" or "nelder_mead" for (first, second) stage.
        start : array or mapping, optional
            Covariance parameters, or a mapping with any of "par" (or "theta"), "beta", "phi". A GLMM whose start
            gives all of them is optimised from just there: the first stage (n_agq = 0), which would leave it, does not
            run. In lme4 mode it runs, as in lme4, unless ``control={"initial_step": False}``.
        etastart, mustart : array of shape (n,), optional
            Linear predictor, or mean, to start from (GLMMs).
        control : Control or mapping, optional
            See :class:`refglmm.optimize.control.Control`.
        se : {"hessian", "rx"}
            Which standard errors the summary shows.
        penalized : bool, mapping or "mvt"
            Student t penalties on the fixed effects (GLMMs, n_agq >= 1; see
            :func:`refglmm.likelihood.penalty.make_penalty`): True is mu 0, scale 1, df 3 for all but the intercept.
        method : {"exact", "hybrid"} or Hybrid
            "hybrid" walks to the optimum as GLMMadaptive does, by EM and quasi-Newton steps on frozen nodes, with all
            of it in ``fit.trace``, and finishes exactly (see :mod:`refglmm.optimize.em`).

        Warns
        -----
        SingularFitWarning, ConvergenceWarning, SeparationWarning
        """
        if self.residuals is not None:
            raise NotAvailableError(
                "sigma_by= and resid_corr= are not part of fit(); use optimize() (the posterior mode: maximum "
                "likelihood under flat priors) or sample()"
            )
        order = self._check_order(n_agq)
        if se not in ("hessian", "rx"):
            raise ArgumentError(f"se must be 'hessian' or 'rx', not {se!r}")
        if self.problem.group_weights is not None and (order == 0 or se == "rx"):
            raise NotAvailableError("group_weights= need n_agq >= 1 and se='hessian'")
        settings = make_control(control, optimizer, self.mode_name)
        given = self._check_start(start)
        if (etastart is not None or mustart is not None) and self.part_formulas:
            raise NotAvailableError("etastart and mustart are for one linear predictor; give start={'beta': ...}")
        penalty, hybrid = self._check_penalty(penalized, order), as_hybrid(method)
        if hybrid is not None and (self.is_lmm or self.mode_name == "lme4" or not order or self.autoscale):
            raise NotAvailableError(
                "method='hybrid' is for generalized models with a number n_agq >= 1, mode='exact', and no autoscale"
            )
        if etastart is not None or mustart is not None:
            given["eta"] = self._start_eta(etastart, mustart)
        announce_compilation()
        with blas_threads(settings.threads):
            if order is None:
                (optimum, mode, sigma), path = self._climb(settings, given, penalty)
                order = path[-1].order
            else:
                (optimum, mode, sigma), path = self._estimate(order, reml, settings, given, penalty, hybrid), ()
        optimum, separated = self._judge_separation(optimum, mode, penalty)
        fit = FittedModel(
            formula=self.frame.formula,
            frame=self.frame,
            design=self.design,
            family=self.family,
            structures=self.structures,
            mode_name=self.mode_name,
            is_lmm=self.is_lmm,
            reml=reml and self.is_lmm,
            n_agq=order,
            optimum=optimum,
            conditional=mode,
            sigma=sigma,
            data_name=self.data_name,
            call={**self.call, "n_agq": order},
            se_type=se,
            model=self,
            settings={
                "n_agq": order,
                "reml": reml,
                "control": settings,
                "se": se,
                "penalized": deepcopy(penalized),
                "method": method,
            },
            agq_steps=path,
        )
        self._warn(optimum, separated)
        return fit

    def classic(self, *, df_method: str | float = "auto", level: float = 0.95, **fit_arguments: Any) -> ClassicFit:
        """Fit and read as a classical analysis: t tests with denominator degrees of freedom, confidence limits.

        Parameters
        ----------
        df_method : {"auto", "satterthwaite", "kenward-roger", "residual", "inf"} or number
            "auto" is "satterthwaite" for linear mixed models (fitted by REML), "inf" (z tests) for others.
        level : float
            Of the confidence limits.
        **fit_arguments
            See :meth:`fit`.
        """
        from refglmm.inference.coefficients import classic

        return classic(self.fit(**{"reml": self.is_lmm, **fit_arguments}), df_method, level)

    def _check_order(self, n_agq: Any) -> int | None:
        """The number of points that ``n_agq`` gives; None for "auto", which a linear mixed model has no need of."""
        if isinstance(n_agq, str) and n_agq == "auto":
            if self.mode_name == "lme4":
                raise NotAvailableError(
                    "n_agq='auto' compares log-likelihoods, and in lme4 mode those with n_agq > 1 are relative to the "
                    "saturated model; use mode='exact', or give a number"
                )
            return 1 if self.is_lmm else None
        if isinstance(n_agq, bool) or not isinstance(n_agq, int | np.integer) or not 0 <= n_agq <= MAX_ORDER:
            raise ArgumentError(f"n_agq must be a whole number from 0 to {MAX_ORDER} or 'auto', not {n_agq!r}")
        return int(n_agq)

    def _climb(
        self, control: Control, start: dict[str, Any], penalty: Penalty | None
    ) -> tuple[tuple[Optimum, Mode, float], tuple[OrderStep, ...]]:
        """Fit with as many points as it takes."""
        return climb(
            self.problem,
            lambda order, settings, given: self._estimate(order, False, settings, given, penalty, None),
            control,
            start,
        )

    def _check_penalty(self, penalized: Any, n_agq: int | None) -> Penalty | None:
        """The penalty that is asked for, where there can be one."""
        penalty = make_penalty(penalized, self.problem.beta_names)
        if penalty is not None and (self.is_lmm or self.mode_name == "lme4" or n_agq == 0 or self.autoscale):
            raise NotAvailableError(
                "penalized= is for generalized models with n_agq >= 1, mode='exact' and without autoscale: elsewhere "
                "the fixed effects are not parameters of what is optimised"
            )
        return penalty

    def _estimate(
        self,
        n_agq: int,
        reml: bool,
        control: Control,
        start: dict[str, Any],
        penalty: Penalty | None,
        hybrid: Hybrid | None,
    ) -> tuple[Optimum, Mode, float]:
        """Fit on the columns as they are, or on rescaled ones; returns sigma too."""
        if not self.autoscale:
            return self._run(self.problem, n_agq, reml, control, start, penalty, hybrid)
        problem, A = rescaled(self.problem)
        if "beta" in start:
            start = {**start, "beta": np.linalg.solve(A, start["beta"])}
        optimum, mode, sigma = self._run(problem, n_agq, reml, control, start)
        return *restore(self.problem, A, optimum, mode), sigma

    def _run(
        self,
        problem: Problem,
        n_agq: int,
        reml: bool,
        control: Control,
        start: dict[str, Any],
        penalty: Penalty | None = None,
        hybrid: Hybrid | None = None,
    ) -> tuple[Optimum, Mode, float]:
        """The engine that the model and the mode call for."""
        if self.is_lmm:
            if n_agq != 1:
                raise ArgumentError("n_agq has no meaning for a linear mixed model: its likelihood is exact")
            return fit_linear(problem, reml, control, start)
        if reml:
            raise ArgumentError("reml=True exists for linear mixed models only (gaussian family, identity link)")
        if self.mode_name == "lme4":
            if self.family.name == "negative_binomial" and problem.n_phi:
                return fit_nb_lme4(problem, n_agq, control, start)
            optimum, mode, lme4_sigma = fit_glmm_lme4(problem, n_agq, control, start)
            return optimum, mode, lme4_sigma if self.family.has_scale else 1.0
        if hybrid is not None:
            optimum, mode = fit_hybrid(problem, n_agq, control, start, penalty, hybrid)
        else:
            optimum, mode = fit_glmm(problem, n_agq, control, start, penalty)
        return optimum, mode, float(np.sqrt(optimum.phi[0])) if self.family.has_scale else 1.0

    def _check_start(self, start: Any) -> dict[str, Any]:
        """Start values as a mapping with the right lengths."""
        if start is None:
            return {}
        given = dict(start) if isinstance(start, Mapping) else {"par": start}
        lengths = {"par": self.problem.n_par, "beta": self.problem.p, "phi": self.problem.n_phi}
        if "theta" in given:
            given["par"] = par_from_theta(self.structures, _numbers("start['theta']", given.pop("theta")))
        for name, value in given.items():
            if name not in lengths:
                raise ArgumentError(f"unknown start component {name!r}; known are par (or theta), beta, phi")
            array = _numbers(f"start[{name!r}]", value)
            if array.shape != (lengths[name],) or not np.all(np.isfinite(array)):
                raise ArgumentError(
                    f"start[{name!r}] must be {lengths[name]} finite numbers, not an array of shape {array.shape}"
                )
            given[name] = array
        return given

    def _judge_separation(
        self, optimum: Optimum, mode: Mode, penalty: Penalty | None
    ) -> tuple[Optimum, tuple[str, ...]]:
        """Withdraw the certificate of estimates that run away (a penalised one cannot); also their names."""
        separated = separated_columns(self.problem, mode, optimum.beta, None if penalty is None else penalty.free)
        advice = "standard errors mean nothing; drop or merge the level, or use a prior"
        if not separated:
            separated = runaway_deviations(self.problem, optimum.par)
            advice = "likelihood keeps rising with the variance; use a prior, or a fixed effect of the group"
        zeros = () if separated or optimum.certificate.converged else certain_zeros(self.problem, mode, optimum.beta)
        if zeros:
            message = (
                f"the zero part runs away in {', '.join(zeros)}: the likelihood keeps rising as its probability tends "
                "to 0 or 1 in some rows, so these estimates and their standard errors mean nothing; simplify zi="
            )
            certificate = replace(optimum.certificate, converged=False, messages=(message,))
            return replace(optimum, certificate=certificate), zeros
        if separated:
            message = (
                f"complete or quasi-complete separation in {', '.join(separated)}: the estimates run away and their "
                f"{advice}"
            )
            certificate = replace(optimum.certificate, converged=False, messages=(message,))
            optimum = replace(optimum, certificate=certificate)
        return optimum, separated

    def _start_eta(self, etastart: Any, mustart: Any) -> np.ndarray:
        """The linear predictor that ``etastart`` or ``mustart`` asks for, checked against the link's domain."""
        if etastart is not None and mustart is not None:
            raise ArgumentError("give etastart or mustart, not both")
        name, given = ("etastart", etastart) if etastart is not None else ("mustart", mustart)
        values = _numbers(name, given)
        if values.shape != (self.problem.n,):
            raise ArgumentError(f"{name} must have length {self.problem.n}, not shape {values.shape}")
        with np.errstate(all="ignore"):
            eta = values if name == "etastart" else self.family.link.link(values)
        if not np.all(np.isfinite(eta)) or not np.all(self.family.link.valid_eta(eta)):
            raise ArgumentError(f"{name} leaves the domain of the {self.family.link.name} link")
        return eta

    def _warn(self, optimum: Optimum, separated: tuple[str, ...]) -> None:
        """Say, once each, what is wrong with this optimum."""
        certificate = optimum.certificate
        if separated:
            warn(SeparationWarning(certificate.messages[0], columns=separated))
        if certificate.singular:
            warn(
                SingularFitWarning(
                    f"boundary (singular) fit: {', '.join(certificate.boundary)} at the edge; consider a simpler "
                    "random-effects structure",
                    boundary=certificate.boundary,
                )
            )
        if certificate.messages and not separated:
            warn(ConvergenceWarning("; ".join(certificate.messages), certificate=certificate))


def glmer(
    formula: str,
    data: Any,
    family: Any = "gaussian",
    *,
    n_agq: int | str = 1,
    mode: str = "exact",
    optimizer: str | tuple[str, str] | None = None,
    start: Any = None,
    etastart: Any = None,
    mustart: Any = None,
    control: Control | Mapping[str, Any] | None = None,
    se: str = "hessian",
    penalized: Any = False,
    **model_arguments: Any,
) -> FittedModel:
    """Fit a generalized linear mixed model by maximum likelihood.

    Parameters
    ----------
    formula, data, family, mode, **model_arguments
        See :class:`GLMM` (``link``, ``weights``, ``offset``, ``subset``, ``na_action``, ``contrasts``, ``env``,
        ``double_bar``, ``checks``, ``data_name``, ``zi``, ``dispersion``, ``tie``, ``factors``, ``within``, ``cwc``,
        ``gmc``).
    n_agq, optimizer, start, etastart, mustart, control, se, penalized
        See :meth:`GLMM.fit`.

    Returns
    -------
    FittedModel

    Examples
    --------
    >>> import refglmm as rg
    >>> cbpp = rg.datasets.load("cbpp")
    >>> fit = rg.glmer("cbind(incidence, size - incidence) ~ period + (1 | herd)", cbpp, "binomial")
    >>> round(fit.loglik, 6)
    -92.026282
    """
    _refuse_unknown(model_arguments, "glmer")
    model = GLMM(formula, data, family, mode=mode, **model_arguments)
    if model.is_lmm:
        warn(
            FamilyWarning(
                "a gaussian family with identity link is a linear mixed model and is fitted as one; "
                "call lmer() to say so"
            )
        )
        n_agq = 1
    return model.fit(
        n_agq=n_agq,
        optimizer=optimizer,
        start=start,
        etastart=etastart,
        mustart=mustart,
        control=control,
        se=se,
        penalized=penalized,
    )


def lmer(
    formula: str,
    data: Any,
    *,
    reml: bool = True,
    mode: str = "exact",
    optimizer: str | tuple[str, str] | None = None,
    start: Any = None,
    control: Control | Mapping[str, Any] | None = None,
    **model_arguments: Any,
) -> FittedModel:
    """Fit a linear mixed model by REML (default) or maximum likelihood.

    Parameters
    ----------
    formula, data, mode, **model_arguments
        See :class:`GLMM`; ``weights`` are inverse-variance weights, Var(e_i) = sigma^2 / w_i.
    reml, optimizer, start, control
        See :meth:`GLMM.fit`.
    """
    for name in ("zi", "dispersion", "tie"):
        if name in model_arguments:
            raise ArgumentError(f"{name}= belongs to generalized models: glmer(..., 'gaussian', {name}=...)")
    _refuse_unknown(model_arguments, "lmer")
    model = GLMM(formula, data, "gaussian", mode=mode, **model_arguments)
    return model.fit(reml=reml, optimizer=optimizer, start=start, control=control)


def glmer_nb(formula: str, data: Any, *, link: str | None = None, **arguments: Any) -> FittedModel:
    """Fit a negative binomial mixed model with its size estimated.

    The size is a parameter like any other, so it has a standard error (on the log scale, in the Hessian) and counts
    once in df. ``mode="lme4"`` searches it in an outer loop, as glmer.nb does. Arguments as in :func:`glmer`.
    """
    return glmer(formula, data, get_family("negative_binomial", link), **arguments)


def mixed_model(
    fixed: str,
    random: str,
    data: Any,
    family: Any = None,
    *,
    n_agq: int | str = "default",
    zi_fixed: str | None = None,
    zi_random: str | None = None,
    dispersion: str | None = None,
    penalized: Any = False,
    weights: Any = None,
    group_weights: Any = None,
    initial_values: Mapping[str, Any] | None = None,
    method: str | Hybrid = "exact",
    polish: bool = True,
    na_action: str = "omit",
    control: Control | Mapping[str, Any] | None = None,
    **model_arguments: Any,
) -> FittedModel:
    """Fit a mixed model with one grouping factor by adaptive quadrature, spelled as in GLMMadaptive.

    Parameters
    ----------
    fixed : str
        ``"y ~ sex * time"``; may hold ``offset(...)``.
    random : str
        ``"~ time | id"``, or ``"~ time || id"`` for a diagonal covariance D (of all columns, factors' too).
    data, family
        As in :func:`glmer`, but a family must be named. A gaussian one with identity link has an exact likelihood and
        is fitted as a linear mixed model by ML; quadrature has no part in it.
    n_agq : int or "default"
        Points a dimension: 11 for up to two random effects, else 7, unless given.
    zi_fixed, zi_random : str, optional
        One-sided formulas of the zero part; its random effects are correlated with those of ``random`` (a ``||`` there
        makes the whole D diagonal).
    dispersion : str, optional
        One-sided formula of the dispersion part.
    penalized, control
        See :meth:`GLMM.fit`.
    weights : str, array or Series, optional
        One for each *row*, as in :func:`glmer`. GLMMadaptive's weights are ``group_weights``: one for each group, which
        multiplies the group's log-likelihood.
    initial_values : mapping, optional
        Any of ``betas``, ``D`` (matrix; its diagonal where D is diagonal), ``phis`` (natural scale, as ``fit.phi``
        shows them), ``gammas`` (zero part; with ``betas``).
    method : {"exact", "hybrid"} or Hybrid
        "hybrid": GLMMadaptive's EM and quasi-Newton on frozen nodes, traced, then the exact optimum.
    polish : bool
        False: stop where the hybrid stops; the certificate says how far from the optimum that is.
    na_action : {"omit", "exclude", ...}
        Rows with missing values, as in :func:`glmer`.
    **model_arguments
        See :class:`GLMM` (``link``, ``offset``, ``subset``, ``contrasts``, ...).

    Raises
    ------
    NotAvailableError
        More than one grouping factor: :func:`glmer` takes them.
    FamilyError, ArgumentError

    Examples
    --------
    >>> import refglmm as rg
    >>> cbpp = rg.datasets.load("cbpp")
    >>> fit = rg.mixed_model("cbind(incidence, size - incidence) ~ period", "~ 1 | herd", cbpp, "binomial")
    >>> fit.n_agq, round(fit.loglik, 4)
    (11, -91.9834)
    """
    if family is None:
        raise FamilyError(f"mixed_model() has no default family; choose one of {', '.join(FAMILIES)}")
    part = read_random("random", random)
    arguments = {**model_arguments, "weights": weights, "na_action": na_action}
    if zi_random is not None and zi_fixed is None:
        raise ArgumentError("zi_random is given without zi_fixed; the zero part needs its fixed effects, e.g. '~ 1'")
    if zi_fixed is not None:
        zi_part = None if zi_random is None else read_random("zi_random", zi_random)
        arguments["zi"] = zero_part_formula(zi_fixed, zi_part, part)
        if zi_part is not None and not part.diagonal:
            arguments["tie"] = True
    arguments |= {k: v for k, v in (("dispersion", dispersion), ("group_weights", group_weights)) if v is not None}
    _refuse_unknown(arguments, "mixed_model")
    model = GLMM(grouped_formula(fixed, part), data, family, **arguments)
    if isinstance(polish, bool) and not polish:
        method = replace(as_hybrid(method) or _no_hybrid(), polish=False)
    if model.is_lmm:
        if n_agq != "default" or initial_values or method != "exact":
            raise ArgumentError("the gaussian likelihood is exact and needs no n_agq, initial_values or method")
        return model.fit(control=control, penalized=penalized)
    if n_agq == "default":
        n_agq = 11 if sum(s.k for s in model.structures) <= 2 else 7
    start = _start_from(initial_values, model) if initial_values else None
    return model.fit(n_agq=n_agq, start=start, control=control, penalized=penalized, method=method)


def _no_hybrid() -> Hybrid:
    raise ArgumentError("polish=False belongs to method='hybrid'; the exact method has nothing that it could leave out")


def _start_from(values: Mapping[str, Any], model: GLMM) -> dict[str, Any]:
    """``initial_values`` as :meth:`GLMM.fit` takes a start."""
    problem, known = model.problem, ("betas", "D", "phis", "gammas")
    if unknown := [name for name in values if name not in known]:
        raise ArgumentError(f"initial_values has no component {unknown[0]!r}; known are {', '.join(known)}")
    zero = sum(name.startswith("zi~") for name in problem.beta_names)
    lengths = {"betas": problem.p - zero, "gammas": zero, "phis": problem.n_phi}
    given = {name: _numbers(f"initial_values[{name!r}]", value) for name, value in values.items()}
    for name, length in lengths.items():
        if name in given and given[name].shape != (length,):
            raise ArgumentError(
                f"initial_values[{name!r}] must have {length} numbers, not an array of shape {given[name].shape}"
            )
    if zero and ("betas" in given) != ("gammas" in given):
        raise ArgumentError("initial_values must give betas and gammas together")
    start: dict[str, Any] = {"par": _par_from_covariance(given["D"], model)} if "D" in given else {}
    if "betas" in given:
        start["beta"] = np.concatenate([given["betas"], given.get("gammas", np.empty(0))])
    if "phis" in given:
        start["phi"] = given["phis"]
    return start


def _par_from_covariance(D: np.ndarray, model: GLMM) -> np.ndarray:
    """Covariance parameters from D of all random effects of a group, or from its diagonal."""
    q = sum(s.k for s in model.structures)
    D = np.diag(D) if D.ndim == 1 else D
    if D.shape != (q, q) or not np.all(np.isfinite(D)) or not np.array_equal(D, D.T):
        raise ArgumentError(f"initial_values['D'] must be symmetric of shape ({q}, {q}), or {q} variances")
    try:
        T = np.linalg.cholesky(D)
    except np.linalg.LinAlgError as error:
        raise ArgumentError("initial_values['D'] is not positive definite") from error
    pieces, begin = [], 0
    for structure in model.structures:
        block = T[begin : begin + structure.k, begin : begin + structure.k]
        pieces.append(structure.par_from_theta(block[structure.theta_entries]))
        begin += structure.k
    return np.concatenate(pieces)


def _numbers(name: str, value: Any) -> np.ndarray:
    """An argument as an array of numbers."""
    try:
        return np.asarray(value, dtype=float)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"{name} must be numbers, not {value!r}") from error


def _refuse_for_parts(mode: str, autoscale: bool) -> None:
    """What does not exist for several predictors."""
    if mode != "exact":
        raise NotAvailableError("zi= and dispersion= exist in exact mode only: lme4 has no such models")
    if autoscale:
        raise NotAvailableError(
            "autoscale=True is for one predictor; exact mode does not depend on the scale of columns"
        )


def _refuse_missing_rule(missing: str) -> None:
    if missing != "listwise":
        raise NotAvailableError(
            f"missing={missing!r} is not there; 'listwise' leaves out rows in which a variable of the model is missing"
        )


def _residual_columns(table: Table, residual: Mapping[str, Any]) -> list[Formula]:
    """Columns that arguments about residuals name, as formulas; the posterior is loaded only if there are such."""
    if all(value is None for value in residual.values()):
        return []
    from refglmm.bayes.residuals import residual_columns

    return residual_columns(table, **residual)


def _make_checks(checks: Mapping[str, str] | None, is_lmm: bool) -> Checks:
    known = {name for name in Checks.__dataclass_fields__ if name != "is_lmm"}
    for name in checks or {}:
        if name not in known:
            raise ArgumentError(f"unknown check {name!r}; known are {', '.join(sorted(known))}")
    return Checks(is_lmm=is_lmm, **dict(checks or {}))


def _refuse_unknown(arguments: Mapping[str, Any], function: str) -> None:
    """lme4's "unused argument", by name."""
    if not arguments:
        return
    known = [name for name in inspect.signature(GLMM.__init__).parameters if name not in ("self", "mode")]
    for name in arguments:
        if name == "reml":
            raise ArgumentError("reml= belongs to lmer(): a GLMM has no restricted likelihood here")
        if name not in known:
            raise ArgumentError(f"{function}() has no argument {name!r}; known are {', '.join(known)}")


def _name_of(data: Any) -> str:
    """Name of the caller's variable that holds the data, for the printed call; "data" when there is none."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").startswith("refglmm."):
        frame = frame.f_back
    if frame is not None:
        # The globals too: a comprehension is a frame of its own before Python 3.12.
        for name, value in (*frame.f_locals.items(), *frame.f_globals.items()):
            if value is data and not name.startswith("_"):
                return name
    return "data"
