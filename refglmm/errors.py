"""Exceptions and warnings of refglmm, each carrying the numbers that led to it.

Place in the reading order: first. Nothing is imported here, everything else imports from here.

Every class takes the message and any number of keyword facts; the facts stay on the instance as ``facts``
so that a program can act on them and a test can assert them.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any


class _WithFacts:
    """Message plus the facts (column, row, level, number) behind it."""

    def __init__(self, message: str, **facts: Any) -> None:
        Exception.__init__(self, message)  # type: ignore[arg-type]
        self.facts: dict[str, Any] = facts


class RefglmmError(_WithFacts, Exception):
    """Base class of every exception that refglmm raises on purpose."""


class FormulaError(RefglmmError):
    """The formula text is malformed or asks for something that has no meaning."""


class DataError(RefglmmError):
    """A variable is missing, has the wrong type or length, or holds values that cannot be used."""


class ResponseError(DataError):
    """The response lies outside the family's support or has the wrong shape."""


class WeightsError(DataError):
    """Prior weights (or the offset) have the wrong length, are negative or not finite."""


class MissingValuesError(DataError):
    """Missing values where the chosen ``na_action`` does not allow them."""


class GroupingError(DataError):
    """A grouping factor has too few or too many levels for the model."""


class RankError(DataError):
    """The fixed-effects model matrix is rank deficient and the caller asked to stop."""


class FamilyError(RefglmmError):
    """Unknown family or link, or a family that has no likelihood."""


class ArgumentError(RefglmmError):
    """An argument of a public function has a value that it cannot take."""


class NotPositiveDefiniteError(RefglmmError):
    """A matrix that must be positive definite is not (``facts['column']`` says where it broke down)."""


class PirlsError(RefglmmError):
    """Penalised iteratively reweighted least squares could not find the conditional mode."""


class OptimizationError(RefglmmError):
    """An optimizer could not be started or left the region where the objective is finite."""


class ExecutorError(RefglmmError):
    """The executor that was handed in takes no tasks, or its workers keep dying."""


class SimulationError(RefglmmError):
    """No response can be drawn: a mean lies outside the family's range (``facts`` give the row and the value)."""


class NotAvailableError(RefglmmError):
    """The quantity does not exist for this kind of fit; the message says what to use instead."""


class SamplingError(RefglmmError):
    """A chain cannot start, finds no step size, or does nothing but diverge."""


class RefglmmWarning(_WithFacts, UserWarning):
    """Base class of every warning that refglmm gives."""


class ConvergenceWarning(RefglmmWarning):
    """The reported optimum is not certified; the message names the parameter and the numbers."""


class SingularFitWarning(RefglmmWarning):
    """The optimum lies on the boundary: a variance is zero or a correlation is one in absolute value."""


class SeparationWarning(RefglmmWarning):
    """Complete or quasi-complete separation: some coefficients have no finite estimate."""


class RankDeficiencyWarning(RefglmmWarning):
    """Columns of the fixed-effects model matrix were dropped because others determine them."""


class PredictorScaleWarning(RefglmmWarning):
    """Predictors live on very different scales."""


class CheckWarning(RefglmmWarning):
    """A pre-fit check that the caller set to ``"warning"`` found something."""


class NonIntegerWarning(RefglmmWarning):
    """Counts that are not whole numbers, reported once with how many."""


class FamilyWarning(RefglmmWarning):
    """A family was replaced by an equivalent model (gaussian with identity link is a linear mixed model)."""


class ResponseWarning(RefglmmWarning):
    """Categories of an ordinal response that no row has, or whose order nobody has given."""


class FormulaWarning(RefglmmWarning):
    """The formula means something that often surprises (a factor left of ``||``)."""


class InfluenceWarning(RefglmmWarning):
    """There is no fit without some of the rows or levels; the result lists them with the reason."""


class VcovWarning(RefglmmWarning):
    """The Hessian could not be used for standard errors, or disagrees with the alternative."""


class ProfileWarning(RefglmmWarning):
    """A likelihood profile is not monotone (the likelihood has several humps), or belongs to a better fit."""


class IntervalWarning(RefglmmWarning):
    """Some intervals that were asked for do not exist, or rest on few replicates."""


class SimulationWarning(RefglmmWarning):
    """Prior weights that have no part in drawing a response."""


class PriorWarning(RefglmmWarning):
    """A prior was replaced by another one, or disagrees with the data so clearly that it may not be meant."""


class IdentificationWarning(RefglmmWarning):
    """Two parts of a model explain the same variation: the data cannot tell them apart."""


class ParetoWarning(RefglmmWarning):
    """Importance weights have so heavy a tail that their averages cannot be trusted (``facts`` name the points)."""


class WaicWarning(RefglmmWarning):
    """The log-likelihood of some points varies too much over the posterior for WAIC."""


class EvidenceWarning(RefglmmWarning):
    """A marginal likelihood or Bayes factor whose error is large, or whose iteration did not reach its fixed point."""


class EngineWarning(RefglmmWarning):
    """CHOLMOD is not installed; the built-in sparse Cholesky stands in."""


class SamplingWarning(RefglmmWarning):
    """A chain that does not move, or a metric that the warmup is too short for."""


class InterruptedWarning(RefglmmWarning):
    """Sampling was interrupted; the draws so far are kept, the message says how many."""


def warn(warning: RefglmmWarning) -> None:
    """Give the warning at the line of the caller's code that led into refglmm."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("refglmm."):
        frame, level = frame.f_back, level + 1
    warnings.warn(warning, stacklevel=level)
