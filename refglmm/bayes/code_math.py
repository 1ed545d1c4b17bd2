"""A model as mathematics in plain text, with the numbers that the data and the priors gave.

Place in the reading order: after ``code_outline``. Five blocks: what was made of the data, the parameters with their
bounds, what follows from them, the densities, and what is reported besides.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

import numpy as np

from refglmm.bayes.code_outline import Outline, Term
from refglmm.bayes.distributions import Joint
from refglmm.bayes.scalar import Scalar
from refglmm.bayes.shrinkage import DIRECT, JZS, RHS

#: How each family is written down; mu is the inverse link of eta.
LAWS = {
    "binomial": "successes_i ~ binomial(trials_i, mu_i)",
    "bernoulli": "y_i ~ bernoulli(mu_i)",
    "betabinomial": "successes_i ~ beta_binomial(trials_i, mu_i phi, (1 - mu_i) phi)",
    "gaussian": "y_i ~ normal(mu_i, sigma)",
    "gamma": "y_i ~ gamma(shape, rate = shape / mu_i)",
    "inverse_gaussian": "y_i ~ inverse_gaussian(mu_i, shape)",
    "student_t": "y_i ~ student_t(nu, mu_i, sigma)",
    "lognormal": "log y_i ~ normal(log mu_i - v_i/2, sqrt(v_i)),  v_i = log(1 + sigma^2/mu_i^2)",
    "lognormal_log": "log y_i ~ normal(eta_i, sigma)",
    "censored_normal": "y_i ~ normal(mu_i, sigma), recorded as a limit where it lies beyond",
    "beta": "y_i ~ beta(mu_i phi, (1 - mu_i) phi)",
    "ordbeta": "y_i ~ beta(mu_i phi, (1 - mu_i) phi) between 0 and 1,  "
    "P(y_i > 0) = logistic(eta_i - lower),  P(y_i = 1) = logistic(eta_i - lower - width)",
    "unit_lindley": "y_i ~ unit_lindley(mean mu_i)",
    "poisson": "y_i ~ poisson(mu_i)",
    "negative_binomial": "y_i ~ neg_binomial(mean mu_i, variance mu_i + mu_i^2/phi)",
    "nbinom1": "y_i ~ neg_binomial(mean mu_i, variance (1 + phi) mu_i)",
    "genpois": "y_i ~ generalized_poisson(mean mu_i, variance phi mu_i)",
    "compois": "y_i ~ conway_maxwell_poisson(mean mu_i, nu = 1/phi)",
    "bell": "y_i ~ bell(mean mu_i)",
    "tweedie": "y_i ~ tweedie(mean mu_i, variance phi mu_i^p)",
    "ordered": "P(y_i <= k) = F(cutpoint_k - eta_i)",
    "sequential": "P(y_i = k | y_i >= k) = F(cutpoint_k - eta_i)",
    "adjacent": "P(y_i = k | y_i = k or k + 1) = F(cutpoint_k - eta_i)",
}
BACKWARD = "P(y_i = k + 1 | y_i <= k + 1) = F(eta_i - cutpoint_k)"
MEAN = {
    "identity": "eta_i",
    "log": "exp(eta_i)",
    "inverse": "1 / eta_i",
    "sqrt": "eta_i^2",
    "1/mu^2": "1 / sqrt(eta_i)",
    "logit": "logistic(eta_i)",
    "probit": "Phi(eta_i)",
    "cloglog": "1 - exp(-exp(eta_i))",
    "cauchit": "1/2 + arctan(eta_i)/pi",
}
LATENT = {
    "logit": "F logistic",
    "probit": "F standard normal",
    "cloglog": "F(x) = 1 - exp(-exp(x))",
    "cauchit": "F Cauchy",
}


def math_code(outline: Outline) -> str:
    """The text."""
    blocks = {
        "Setup": _setup(outline),
        "Parameters": _parameters(outline),
        "Transform": _transform(outline),
        "Model": _model(outline),
        "Derived": _derived(outline),
    }
    parts = [f"{outline.formula}        {outline.family.display}\n"]
    for title, lines in blocks.items():
        written = [_wrapped(line) for line in lines]
        if written:
            parts.append("\n".join([title, *written]) + "\n")
    return "\n".join(parts)


def _wrapped(line: str) -> str:
    return textwrap.fill(line, 112, initial_indent="  ", subsequent_indent="      ", break_long_words=False)


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows of cells as lines of columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return [line.rstrip() for line in padded]


def _short(column: str) -> str:
    return "Intercept" if column == "(Intercept)" else column


# -- setup and parameters ------------------------------------------------------------------------------------------


def _setup(outline: Outline) -> Iterator[str]:
    problem = outline.problem
    yield f"rows i = 1, ..., {problem.n}"
    centred = [
        f"{name} at {mean:.5g}" for name, mean in zip(outline.columns, outline.means, strict=True) if mean != 0.0
    ]
    yield f"columns of X: {', '.join(map(_short, outline.columns)) or 'none'}"
    if centred:
        yield f"centred at their means: {', '.join(centred)}"
    if outline.has_offset:
        yield f"offset: between {problem.offset.min():.4g} and {problem.offset.max():.4g}"
    if outline.has_weights and not outline.family.is_binomial:
        yield f"weights w: between {problem.weights.min():.4g} and {problem.weights.max():.4g}"
    for term in outline.terms:
        yield f"groups of {term.label}: {term.levels} levels; effects of {term.columns}" + (
            ", correlated" if term.partials else ", independent" if term.k > 1 else ""
        )


def _parameters(outline: Outline) -> list[str]:
    rows = [(scalar.name, _bounds(outline, scalar)) for scalar in outline.scalars]
    rows += [
        (f"u[{term.label}]", f"{term.levels} x {term.k} numbers, random effects in units of their sd")
        for term in outline.terms
    ]
    return _aligned(rows)


def _bounds(outline: Outline, scalar: Scalar) -> str:
    if scalar.fixed is not None:
        return f"fixed at {scalar.fixed:g}"
    if outline.priors.ordered and scalar.block == "shape":
        return "increasing"
    if np.isfinite(scalar.high):
        return f"between {scalar.low:g} and {scalar.high:g}"
    return f"above {scalar.low:g}" if np.isfinite(scalar.low) else "real"


# -- transform -----------------------------------------------------------------------------------------------------


def _transform(outline: Outline) -> Iterator[str]:
    yield from _slopes(outline)
    for term in outline.terms:
        names = ", ".join(sd.name for sd in term.sds)
        if term.partials:
            yield f"L[{term.label}] L[{term.label}]' = correlation matrix with these partial correlations"
            yield f"r[{term.label}] = diag({names}) L[{term.label}] u[{term.label}]"
        elif term.k == 1:
            yield f"r[{term.label}] = {names} u[{term.label}]"
        else:
            yield f"r[{term.label}] = diag({names}) u[{term.label}]"
    yield f"eta_i = {' + '.join(_predictor(outline)) or '0'}"
    if not outline.family.is_ordinal and outline.family.name != "lognormal_log":
        yield f"mu_i = {MEAN.get(outline.family.link.name, 'inverse link of eta_i')}"


def _slopes(outline: Outline) -> Iterator[str]:
    """How slopes come about under a shrinkage prior."""
    kind, priors = int(outline.priors.slope_kind), outline.priors
    if kind in (DIRECT, JZS):
        return
    for i, j in enumerate(priors.slope_columns):
        x = outline.columns[j]
        if kind == RHS:
            unit = " sigma" if outline.sigma_word else ""
            yield f"b[{x}] = z[{x}] v sqrt(c2 / (c2 + v^2)) / {priors.slope_scale[i]:.5g},  v = tau{unit} lambda[{x}]"
        else:
            yield f"b[{x}] = w[{x}] r[{x}] t[{x}]"


def _predictor(outline: Outline) -> Iterator[str]:
    if outline.has_offset:
        yield "offset_i"
    for column, mean in zip(outline.columns, outline.means, strict=True):
        if column == "(Intercept)":
            yield "Intercept_c"
        else:
            shift = f"({column}_i {'-' if mean > 0 else '+'} {abs(mean):.5g})" if mean else f"{column}_i"
            yield f"b[{column}] {shift}"
    for term in outline.terms:
        yield from _effects(term)


def _effects(term: Term) -> Iterator[str]:
    for column in term.design.columns:
        is_intercept = column == "(Intercept)"
        name = "Int" if is_intercept else column
        yield f"r[{term.group}_i:{name}]" + ("" if is_intercept else f" {column}_i")


# -- model ---------------------------------------------------------------------------------------------------------


def _model(outline: Outline) -> Iterator[str]:
    yield from _likelihood(outline)
    for term in outline.terms:
        yield f"u[{term.label}] ~ normal(0, 1), independent"
    yield from _aligned(list(_priors(outline)))
    joint = [s for s in outline.scalars if s.fixed is None and isinstance(s.prior, Joint)]
    if joint:
        yield f"({', '.join(s.name for s in joint)}) ~ {joint[0].prior.text}"


def _priors(outline: Outline) -> Iterator[tuple[str, str, str]]:
    """Name, distribution, and where its numbers come from."""
    for scalar, source in zip(outline.scalars, outline.priors.sources, strict=True):
        if scalar.fixed is None and not isinstance(scalar.prior, Joint):
            among = ", in increasing order" if outline.priors.ordered and scalar.block == "shape" else ""
            yield scalar.name, f"~ {scalar.prior.text}{among}", f"({source})"


def _likelihood(outline: Outline) -> Iterator[str]:
    family = outline.family
    if not outline.is_built_in:
        yield f"y_i ~ {family.name}, as its log density says"
        return
    whole = family.name.removeprefix("truncated_").replace("nbinom2", "negative_binomial")
    law = BACKWARD if getattr(family, "direction", "") == "backward" else LAWS[whole]
    if family.is_ordinal:
        law = f"{law},  {LATENT[family.link.name]}"
    yield law + (", given y_i > 0" if family.name.startswith("truncated_") else "")
    known = [(key, value) for key, value in outline.shape_values.items() if isinstance(value, float)]
    if known:
        yield "known: " + ", ".join(f"{key} = {value:g}" for key, value in known)
    if outline.has_weights and not family.is_binomial:
        if family.name == "gaussian":
            yield "with sigma / sqrt(w_i) in place of sigma"
        elif family.name in ("gamma", "inverse_gaussian"):
            yield "with w_i shape in place of shape"
        else:
            yield "log densities are multiplied by w_i"


def _derived(outline: Outline) -> list[str]:
    rows = []
    slopes = [
        (f"{'-' if mean > 0 else '+'} {abs(mean):.5g} b[{name}]")
        for name, mean in zip(outline.columns, outline.means, strict=True)
        if mean != 0.0
    ]
    if slopes and "(Intercept)" in outline.columns:
        rows.append(("Intercept", f"= Intercept_c {' '.join(slopes)}"))
    elif slopes and outline.family.is_ordinal:
        turned = " ".join(text.replace("- ", "+ ", 1) if text[0] == "-" else "- " + text[2:] for text in slopes)
        rows.append(("cutpoints as reported", f"= cutpoints {turned}"))
    rows += [(f"corr[{term.label}]", f"= L[{term.label}] L[{term.label}]'") for term in outline.terms if term.partials]
    return _aligned(rows)
