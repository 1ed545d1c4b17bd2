"""refglmm: generalized linear mixed models, estimated in the open.

The map of the theory, in reading order:

========================  ==========================================================================================
``formula``               text -> terms -> model frame -> design matrices X and Z
``families``              per-observation log density and its derivatives; distributions and links
``covariance``            theta -> Lambda(theta), the relative covariance factor
``likelihood``            PIRLS, Laplace, adaptive quadrature, profiled LMM criteria, each with its exact gradient
``optimize``              two-stage optimisation and the certificate of the optimum
``fit``                   what a fit is and shows; prediction and simulation
``inference``             intervals, tests, comparisons, diagnostics
``effects``               means, contrasts, slopes
``bayes``                 log posterior, MAP, NUTS, ADVI, bridge sampling, information criteria
``datasets``              the data sets of the worked examples
``crosschecking``         what other software's numbers are worth
``teaching``              other estimators, step by step: PQL, Monte Carlo EM, and what they miss
========================  ==========================================================================================

Names are loaded on first use, so ``import refglmm`` is cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "GLMM": "model",
    "glmer": "model",
    "lmer": "model",
    "glmer_nb": "model",
    "mixed_model": "model",
    "Hybrid": "optimize.em",
    "FittedModel": "fitted",
    "simulate": "fit.simulate",
    "cr_setup": "fit.continuation",
    "cr_marginal_probabilities": "fit.continuation",
    "Control": "optimize.control",
    "crosscheck_snippet": "crosschecking.snippets",
    "crosscheck": "crosschecking.check",  # a package "crosscheck" would take the place of the function once imported
    "anova": "inference.compare",
    "compare_models": "inference.compare",
    "pb_compare": "inference.pb_test",
    "Reference": "inference.reduced",
    "without_random": "inference.reduced",
    "gh_rule": "likelihood.quadrature",
    "lsmeans": "effects.means",
    "conditional_effects": "effects.conditional",
    "simple_effects": "effects.conditional",
    "johnson_neyman": "effects.conditional",
    "marginal_effects": "effects.marginal",
    "marginal_means": "effects.marginal",
    "marginal_coefs": "effects.marginal_coefs",
    "effect_data": "effects.effect_data",
    "interval_table": "inference.confint",
    "compare_information": "bayes.information",
    "posterior_model_probabilities": "bayes.bayes_factor",
    "bf_table": "bayes.bayes_factor",
    "to_long": "formula.reshape",
    "to_wide": "formula.reshape",
    "prior_flat": "bayes.prior_kinds",
    "prior_normal": "bayes.prior_kinds",
    "prior_weak": "bayes.prior_kinds",
    "prior_rhs": "bayes.prior_kinds",
    "prior_ssp": "bayes.prior_kinds",
    "prior_jzs": "bayes.prior_kinds",
    "prior_summary": "bayes.priors",
    "hypothesis": "bayes.hypothesis",
}
#: Modules by the name they go by here; ``priors`` holds the distributions that a prior is made of.
_MODULES = {name: name for name in ("datasets", "families", "errors", "plots", "teaching")}
_MODULES |= {"priors": "bayes.distributions"}

__all__ = [*_HOME, *_MODULES, "__version__"]


def __getattr__(name: str) -> Any:
    """Load a public name on first use."""
    if name in _HOME:
        value = getattr(import_module(f"refglmm.{_HOME[name]}"), name)
    elif name in _MODULES:
        value = import_module(f"refglmm.{_MODULES[name]}")
    else:
        raise AttributeError(f"module 'refglmm' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
