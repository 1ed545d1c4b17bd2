"""What an analyst does with a Bayesian fit: the methods that fits by draws and by the posterior mode share.

Place in the reading order: after ``parameters``, before ``map_fit`` and ``fits``. Methods import their module inside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.fit.html import html_block, html_lines, html_table
from refglmm.fit.rformat import table

if TYPE_CHECKING:
    from refglmm.bayes.diagnose import Diagnosis
    from refglmm.bayes.hypothesis import Hypotheses
    from refglmm.bayes.parameters import ParameterDraws
    from refglmm.bayes.posterior import Posterior
    from refglmm.bayes.variances import PosteriorVarCorr
    from refglmm.effects.conditional import ConditionalEffects, SimpleSlopes
    from refglmm.effects.means import Means
    from refglmm.families.base import Family
    from refglmm.fit.ranef import GroupFrames
    from refglmm.formula.design import Design
    from refglmm.formula.frame import ModelFrame
    from refglmm.formula.grammar import Formula
    from refglmm.model import GLMM

FloatArray = NDArray[np.float64]


class AfterFit:
    """Predictions, effects, hypotheses and checks of a posterior.

    Attributes
    ----------
    model, posterior
        What was fitted.
    """

    model: GLMM
    posterior: Posterior

    # -- printing ----------------------------------------------------------------------------------------------

    def _head(self) -> list[str]:
        """Lines above the table."""
        raise NotImplementedError

    def _cells(self) -> tuple[list[str], list[list[str]], str]:
        """Header and rows of the table, and a line on what it leaves out."""
        raise NotImplementedError

    def __str__(self) -> str:
        header, rows, more = self._cells()
        text = table(header, rows, [True] + [False] * (len(header) - 1))
        return "\n".join([*self._head(), "", text, *([more] if more else [])])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        header, rows, more = self._cells()
        return html_block([html_lines(self._head()), html_table(header, rows), html_lines([more] if more else [])])

    # -- what grids, design matrices and effects read of a fit ---------------------------------------------------

    @property
    def frame(self) -> ModelFrame:
        """The rows used."""
        return self.model.frame

    @property
    def formula(self) -> Formula:
        """What was asked for."""
        return self.model.frame.formula

    @property
    def design(self) -> Design:
        """The matrices made of the rows."""
        return self.model.design

    @property
    def family(self) -> Family:
        """Conditional distribution."""
        return self.model.family

    @property
    def parameters(self) -> ParameterDraws:
        """Draws of the parameters as the linear predictor takes them."""
        raise NotImplementedError

    @property
    def centre(self) -> ParameterDraws | None:
        """The parameters at the posterior mode, as a single draw; None where the mean of the draws is the estimate."""
        return None

    @property
    def draws_shape(self) -> tuple[int, int]:
        """Chains and draws of each."""
        return 1, len(self.parameters)

    # -- coefficients and variances ------------------------------------------------------------------------------

    @property
    def fixef(self) -> pd.Series:
        """Fixed effects: posterior means, or the mode."""
        draws = self.parameters if self.centre is None else self.centre
        return pd.Series(draws.beta.mean(axis=0), index=list(self.design.names), name="fixef")

    def coef(self) -> GroupFrames:
        """Fixed plus random effects of each level, by grouping factor (means of the draws, or the mode)."""
        from refglmm.bayes.variances import coefficients

        return coefficients(self)

    def varcorr(self, prob: float = 0.95) -> PosteriorVarCorr:
        """Standard deviations, variances and correlations of the random effects with intervals.

        Parameters
        ----------
        prob : float
            Probability of the intervals.
        """
        from refglmm.bayes.variances import posterior_varcorr

        return posterior_varcorr(self, prob)

    def icc(self, prob: float = 0.95) -> pd.DataFrame:
        """Intraclass correlation, adjusted and unadjusted for the fixed effects, with intervals.

        Raises
        ------
        NotAvailableError
            Families whose residual variance on the scale of the linear predictor is not free of the mean.
        """
        from refglmm.bayes.variances import icc

        return icc(self, prob)

    # -- predictions -----------------------------------------------------------------------------------------------

    def predict(
        self,
        newdata: Any = None,
        *,
        type: str = "response",
        re_form: Any = None,
        allow_new_levels: bool = False,
        offset: Any = None,
        prob: float = 0.95,
        summary: bool = True,
        seed: int = 1,
    ) -> Any:
        """Predictions with their uncertainty.

        Parameters
        ----------
        newdata : table, optional
            The rows of the fit by default.
        type : {"response", "link", "prob", "score"}
            Expected response; linear predictor; of ordinal models the probability of each category ("category" is
            another name), or the expected category.
        re_form : None, False, formula or "new"
            Random effects that take part: all, none, those named; "new" draws those of groups yet unseen.
        allow_new_levels : bool
            Effects of levels that the fit did not have are drawn from N(0, TT'); else such levels are an error.
        offset : str or array, optional
            For ``newdata``, in place of an ``offset=`` of the model that was an array.
        prob : float
            Probability of the intervals.
        summary : bool
            A table; else the draws.
        seed : int
            For effects of new levels.

        Returns
        -------
        DataFrame or float array
            Columns estimate, se, lower, upper (pairs with the level for type="prob"), or draws of shape
            (chains, draws, rows[, levels]).

        Raises
        ------
        ArgumentError, DataError
            An unknown type; missing columns; new levels that are not allowed.
        """
        from refglmm.bayes.predictive import predict

        return predict(
            self,
            newdata,
            type=type,
            re_form=re_form,
            allow_new_levels=allow_new_levels,
            offset=offset,
            prob=prob,
            summary=summary,
            seed=seed,
        )

    def posterior_predict(
        self,
        newdata: Any = None,
        draws: int | None = None,
        *,
        seed: Any = None,
        re_form: Any = None,
        allow_new_levels: bool = False,
        offset: Any = None,
        weights: Any = None,
    ) -> FloatArray:
        """Replicated responses, one for each draw of the parameters.

        Parameters
        ----------
        newdata, re_form, allow_new_levels, offset
            As for :meth:`predict`.
        draws : int, optional
            So many of the draws, chosen at random; all by default.
        seed : int, Generator or None
        weights : str or array, optional
            Of ``newdata``; numbers of trials for binomial families.

        Returns
        -------
        float array, shape (draws, rows)
            As ``model.frame.y`` holds a response: proportions of trials, codes of categories from 0.
        """
        from refglmm.bayes.predictive import posterior_predict

        return posterior_predict(
            self,
            newdata,
            draws,
            seed=seed,
            re_form=re_form,
            allow_new_levels=allow_new_levels,
            offset=offset,
            weights=weights,
        )

    def residuals(
        self, type: str = "quantile", *, re_form: Any = None, draws: int | None = None, seed: Any = 1
    ) -> pd.Series:
        """Residuals of the rows of the fit.

        Parameters
        ----------
        type : {"quantile", "response"}
            Place of the response among its replicates, ties broken at random: uniform on (0, 1) if the model is right
            (a little too central, as the data have been used for the draws already). Or response less its mean.
        re_form : None, False, formula or "new"
            As for :meth:`predict`; "new" tests the random effects' distribution too.
        draws : int, optional
            Replicates, 500 by default (or as many as there are draws).
        seed : int, Generator or None
        """
        from refglmm.bayes.predictive import residuals

        return residuals(self, type, re_form=re_form, draws=draws, seed=seed)

    def ppc(
        self, kind: str | None = None, *, draws: int | None = None, seed: Any = 1, re_form: Any = None, **how: Any
    ) -> Any:
        """Draw the response beside its replicates.

        Parameters
        ----------
        kind : {"dens", "ecdf", "bars", "stat"}, optional
        draws, seed, re_form
            As for :meth:`posterior_predict`; 500 replicates by default.
        **how
            ``stat`` and ``ax`` of :func:`refglmm.plots.plot_ppc`.
        """
        from refglmm.bayes.predictive import ppc

        return ppc(self, kind, draws=draws, seed=seed, re_form=re_form, **how)

    # -- effects and hypotheses ----------------------------------------------------------------------------------

    def lsmeans(self, specs: Any, **how: Any) -> Means:
        """Estimated marginal means, see :func:`refglmm.lsmeans`."""
        from refglmm.effects.means import lsmeans

        return lsmeans(self, specs, **how)  # type: ignore[arg-type]

    def conditional_effects(self, effect: Any, **how: Any) -> ConditionalEffects:
        """The mean as a function of up to three variables, see :func:`refglmm.conditional_effects`."""
        from refglmm.effects.conditional import conditional_effects

        return conditional_effects(self, effect, **how)  # type: ignore[arg-type]

    def simple_effects(self, effect: Any, **how: Any) -> SimpleSlopes:
        """Slopes or differences of a variable at values of another, see :func:`refglmm.simple_effects`."""
        from refglmm.effects.conditional import simple_effects

        return simple_effects(self, effect, **how)  # type: ignore[arg-type]

    def row_numbers(self, rows: Any, **how: Any) -> dict[str, FloatArray]:
        """Numbers of linear functions of the parameters, for the modules of :mod:`refglmm.effects`.

        Parameters
        ----------
        rows : refglmm.effects.grid.Rows, r of them
        **how
            ``prob``; ``type`` and ``re`` (what is made of a row); ``C`` (linear combinations of that); ``along`` (Rows:
            its derivative in a direction); ``ratio`` (exponentials).

        Returns
        -------
        dict
            estimate, se, lower, upper, pd: float arrays, shape (r,), or (r, categories) for type "prob".
        """
        from refglmm.bayes.effects import row_numbers

        return row_numbers(self, rows, **how)

    def hypothesis(self, hypotheses: Any, *, prob: float = 0.95, rope: tuple[float, float] | None = None) -> Hypotheses:
        """Estimates of expressions in the parameters, and the posterior probability of what is said of them.

        Parameters
        ----------
        hypotheses : str, list of str or mapping name -> str
            Expressions of reported quantities by their labels, as in ``"b[talk] - b[perf] > 0"``; with ``+ - * / **``,
            ``exp log sqrt abs tanh``, parentheses; ``<``, ``>``, or neither.
        prob : float
            Probability of the intervals.
        rope : (low, high), optional
            Region of practical equivalence: its posterior probability is shown.

        Raises
        ------
        ArgumentError
            An unknown label (naming those spelt alike), or something that is no such expression.
        """
        from refglmm.bayes.hypothesis import hypothesis

        return hypothesis(self, hypotheses, prob=prob, rope=rope)

    # -- checks ----------------------------------------------------------------------------------------------------

    def diagnose(self) -> Diagnosis:
        """Check whether this fit can be relied on, in plain words."""
        from refglmm.bayes.diagnose import diagnose

        return diagnose(self)
