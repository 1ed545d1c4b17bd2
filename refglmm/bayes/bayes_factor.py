r"""Comparing models by their marginal likelihoods: Bayes factors and posterior model probabilities.

Place in the reading order: after ``bridge`` and ``savage_dickey``; takes numbers, knows no models.

.. math:: BF_{12} = p(y \mid M_1) / p(y \mid M_2), \qquad
    P(M_i \mid y) = \pi_i\, p(y \mid M_i) / \sum_j \pi_j\, p(y \mid M_j).

Errors are those of logarithms, taken for independent between models (each has its own draws).

Sources: Jeffreys (1961), appendix B, for grades of evidence, with the words that are usual since; Kass and Raftery
(1995).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from refglmm.bayes.savage_dickey import SavageDickey
from refglmm.errors import ArgumentError, EvidenceWarning, warn
from refglmm.fit.html import html_block, html_table

#: A Bayes factor above the bound earns the word; below its inverse, the other model does.
GRADES = ((100.0, "Decisive"), (10.0, "Strong"), (3.0, "Substantial"), (1.0, "Anecdotal"))
#: Errors of log BF above this are warned about: the Bayes factor is then uncertain by a fifth.
ERROR_THRESHOLD = 0.2
TITLE = "Bayes Factor (Bridge Sampling)"
#: From here on a Bayes factor is written as a power of ten.
LARGEST_PLAIN = 1e6


def evidence_label(log_bf: float) -> str:
    """Words for a Bayes factor, from its logarithm: "Decisive evidence for Model 1", ..."""
    if log_bf == 0.0:
        return "No evidence for either model"
    model = 1 if log_bf > 0.0 else 2
    grade = next(word for bound, word in GRADES if abs(log_bf) > np.log(bound))
    return f"{grade} evidence for Model {model}"


def format_bayes_factor(log_bf: float) -> str:
    """A Bayes factor in four digits, as a power of ten where it is very large or small."""
    if abs(log_bf) < np.log(LARGEST_PLAIN):
        return f"{np.exp(log_bf):.4g}"
    exponent = int(np.floor(log_bf / np.log(10.0)))
    return f"{10.0 ** (log_bf / np.log(10.0) - exponent):.3f}e{exponent:+d}"


@dataclass(frozen=True)
class BayesFactor:
    """Comparison of two models by their marginal likelihoods.

    Attributes
    ----------
    logml1, logml2 : float
        Log marginal likelihoods of Model 1 and Model 2.
    error1, error2 : float
        Their standard errors.
    description : str
        What is compared, e.g. "Model 2 has b[talk] = 0".
    savage_dickey : SavageDickey or None
        The same logarithm by another way, where there is one.
    result1, result2 : object
        What the numbers came from.
    """

    logml1: float
    logml2: float
    error1: float
    error2: float
    description: str = ""
    savage_dickey: SavageDickey | None = None
    result1: Any = None
    result2: Any = None

    @classmethod
    def from_results(
        cls,
        result1: Any,
        result2: Any,
        description: str = "",
        *,
        savage_dickey: SavageDickey | None = None,
        error_threshold: float = ERROR_THRESHOLD,
    ) -> BayesFactor:
        """Compare two marginal likelihoods.

        Parameters
        ----------
        result1, result2 : BridgeResult, pair (logml, error), or float
        description : str
        savage_dickey : SavageDickey, optional
        error_threshold : float
            Largest error of log BF that passes without a warning.

        Returns
        -------
        BayesFactor

        Warns
        -----
        EvidenceWarning
            The error is above the threshold.
        """
        (logml1, error1), (logml2, error2) = logml_and_error(result1), logml_and_error(result2)
        comparison = cls(logml1, logml2, error1, error2, description, savage_dickey, result1, result2)
        if not comparison.error <= error_threshold:
            warn(
                EvidenceWarning(
                    f"log BF = {comparison.log_bf:.3f} has an error of {comparison.error:.2g}, above "
                    f"{error_threshold:g}: use more draws",
                    log_bf=comparison.log_bf,
                    error=comparison.error,
                )
            )
        return comparison

    @property
    def log_bf(self) -> float:
        """Natural logarithm of BF12."""
        return self.logml1 - self.logml2

    @property
    def bf(self) -> float:
        """BF12, of Model 1 against Model 2 (infinite where it exceeds the largest number)."""
        with np.errstate(over="ignore"):
            return float(np.exp(self.log_bf))

    @property
    def error(self) -> float:
        """Standard error of the log Bayes factor, which is the relative error of the Bayes factor."""
        return float(np.hypot(self.error1, self.error2))

    @property
    def evidence(self) -> str:
        """Grade of the evidence in words."""
        return evidence_label(self.log_bf)

    def rows(self) -> list[tuple[str, str]]:
        """Label and value of each printed line."""
        lines = [
            ("Bayes Factor (BF12)", format_bayes_factor(self.log_bf)),
            ("Log Bayes Factor", f"{self.log_bf:.3f}"),
            ("Error (Log BF)", f"{self.error:.2g}"),
            ("Evidence", self.evidence),
            ("Log ML, Model 1", f"{self.logml1:.3f} (Error = {self.error1:.2g})"),
            ("Log ML, Model 2", f"{self.logml2:.3f} (Error = {self.error2:.2g})"),
        ]
        if self.savage_dickey is not None:
            check = self.savage_dickey
            lines.append(("Savage-Dickey", f"{check.log_bf:.3f} (Error = {check.error:.2g}, {check.method})"))
        if self.description:
            lines.append(("Comparison", self.description))
        return lines

    def __repr__(self) -> str:
        rows = self.rows()
        width = max(len(label) for label, _ in rows)
        return "\n".join([TITLE, "", *(f"{label:<{width}} : {value}" for label, value in rows)])

    def _repr_html_(self) -> str:
        return html_block([html_table(["", ""], self.rows(), TITLE)])


def logml_and_error(result: Any) -> tuple[float, float]:
    """Log marginal likelihood and its error, from a result that has them, a pair, or a number known exactly.

    Raises
    ------
    ArgumentError
        Something else, or a number that is not finite or an error that is negative.
    """
    if hasattr(result, "logml") and hasattr(result, "error"):
        result = (result.logml, result.error)
    pair = result if isinstance(result, tuple | list) else (result, 0.0)
    try:
        logml, error = (float(number) for number in pair)
    except (TypeError, ValueError):
        raise ArgumentError(
            f"cannot read a log marginal likelihood from {type(result).__name__}: give a result of bridge sampling, "
            "a pair (logml, error) or a number"
        ) from None
    if not np.isfinite(logml) or not error >= 0.0:
        raise ArgumentError(f"a log marginal likelihood of {logml} with error {error} cannot be compared")
    return logml, error


def posterior_model_probabilities(
    models: Mapping[str, Any], prior: Mapping[str, float] | Sequence[float] | None = None
) -> pd.DataFrame:
    """Probability of each of several models, given that one of them holds.

    Parameters
    ----------
    models : mapping
        Name -> result of bridge sampling, pair (logml, error), or log marginal likelihood.
    prior : mapping or sequence, optional
        Prior weight of each model (need not sum to one); equal by default.

    Returns
    -------
    DataFrame
        One row a model, as given: ``logml``, ``error``, ``prior``, ``posterior`` and ``posterior_error``, the standard
        error of the probability to first order.

    Raises
    ------
    ArgumentError
        No models, names that do not match, weights that are negative or all zero.
    """
    logml, error = _columns(models)
    weights = _prior_weights(list(models), prior)
    with np.errstate(divide="ignore"):
        log_weight = np.log(weights) + logml
    relative = np.exp(log_weight - log_weight.max())
    posterior = relative / relative.sum()
    # d P_i / d logml_j = P_i (1[i = j] - P_j)
    jacobian = posterior[:, None] * (np.eye(len(posterior)) - posterior)
    columns = {
        "logml": logml,
        "error": error,
        "prior": weights,
        "posterior": posterior,
        "posterior_error": np.sqrt(jacobian**2 @ error**2),
    }
    return pd.DataFrame(columns, index=pd.Index(list(models), name="model"))


def bf_table(models: Mapping[str, Any], *, log: bool = True) -> pd.DataFrame:
    """Bayes factor of each model (row) against each other (column).

    Parameters
    ----------
    models : mapping
        As for :func:`posterior_model_probabilities`.
    log : bool
        Natural logarithms, which do not overflow.

    Returns
    -------
    DataFrame
    """
    logml, _ = _columns(models)
    table = logml[:, None] - logml[None, :]
    if not log:
        with np.errstate(over="ignore"):
            table = np.exp(table)
    return pd.DataFrame(table, index=pd.Index(list(models), name="model"), columns=list(models))


def _columns(models: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(models, Mapping) or not models:
        raise ArgumentError("give the models as a dictionary from their names to their log marginal likelihoods")
    logml, error = np.array([logml_and_error(result) for result in models.values()]).T
    return logml, error


def _prior_weights(names: list[str], prior: Mapping[str, float] | Sequence[float] | None) -> np.ndarray:
    """Prior probabilities in the order of the names."""
    if prior is None:
        return np.full(len(names), 1.0 / len(names))
    if isinstance(prior, Mapping):
        if set(prior) != set(names):
            raise ArgumentError(f"prior has weights for {', '.join(prior)}; the models are {', '.join(names)}")
        prior = [prior[name] for name in names]
    weights = np.asarray(prior, dtype=float)
    if weights.shape != (len(names),):
        raise ArgumentError(f"prior must have one weight for each of the {len(names)} models", shape=weights.shape)
    if not np.isfinite(weights).all() or (weights < 0.0).any() or not weights.sum() > 0.0:
        raise ArgumentError(f"prior weights must be at least 0 and not all 0, not {weights.tolist()}")
    return weights / weights.sum()
