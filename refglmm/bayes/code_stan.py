r"""A model's log posterior as a Stan program.

Place in the reading order: after ``code_stan_laws``. Its parameters are the scalars of the posterior in their order,
then the random effects v, and Stan's transforms of bounded and ordered parameters are those of ``scalars``: so Stan's
unconstrained parameters are the position itself, and ``log_prob`` with Jacobian is ``posterior.log_density``. For that
every statement is ``target +=``, which keeps constants.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from refglmm.bayes import distributions as laws
from refglmm.bayes.code_numpy import numbers_of
from refglmm.bayes.code_outline import Outline, Term, law_of, number
from refglmm.bayes.code_stan_laws import CATEGORY, LAWS, REAL, SUCCESSES, VECTORS, Law
from refglmm.bayes.scalar import Scalar
from refglmm.bayes.scalars import ABOVE, INTERVAL
from refglmm.bayes.shrinkage import JZS, RHS, SSP
from refglmm.errors import NotAvailableError

#: What the laws call parameters whose names Stan keeps to itself.
NAMES = {"lower": "lower_limit", "upper": "upper_limit"}


def stan_code(outline: Outline) -> str:
    """The program.

    Raises
    ------
    NotAvailableError
        A family that cannot be written in Stan; some ordered thresholds fixed.
    """
    law = law_of(LAWS, outline, "Stan")
    if outline.priors.ordered and any(scalar.fixed is not None for scalar in outline.block("shape")):
        raise NotAvailableError("Stan's ordered thresholds cannot be fixed: code('numpy') can")
    blocks = {
        "functions": _functions(outline, law),
        "data": _data_block(outline, law),
        "transformed data": _transformed_data(outline),
        "parameters": _parameters(outline),
        "model": _model(outline),
    }
    title = f"// {outline.formula}, {outline.family.display}\n"
    written = {name: list(lines) for name, lines in blocks.items()}
    return title + "".join(_block(name, lines) for name, lines in written.items() if lines)


def stan_numbers(outline: Outline) -> dict[str, Any]:
    """The program's data, in lists.

    Raises
    ------
    NotAvailableError
        Counts that are not whole; a family that cannot be written in Stan.
    """
    law, problem = law_of(LAWS, outline, "Stan"), outline.problem
    out: dict[str, Any] = {"N": int(problem.n), "K": int(problem.p), "X": problem.X.tolist()}
    out |= {"offsets": problem.offset.tolist()}
    if law.response == SUCCESSES:
        out |= {
            "successes": _whole(problem.weights * problem.y, "successes"),
            "trials": _whole(problem.weights, "trials"),
        }
    else:
        y = problem.y + (law.response == CATEGORY)
        out["y"] = problem.y.tolist() if law.response == REAL else _whole(y, "counts")
        if outline.has_weights:
            out["weights"] = problem.weights.tolist()
    for term in outline.terms:
        out[f"Z{term.number}"] = np.asarray(term.design.Z, dtype=np.float64).tolist()
        out[f"level{term.number}"] = (np.asarray(term.design.codes, dtype=np.int64) + 1).tolist()
    return out


def _whole(values: Any, what: str) -> list[int]:
    """Whole numbers, but for rounding."""
    near = np.round(values)
    wrong = np.abs(values - near) > 1e-6 * np.maximum(1.0, np.abs(values))
    if np.any(wrong):
        row = int(np.argmax(wrong))
        raise NotAvailableError(
            f"Stan takes whole {what} only: row {row} (counted from 0) has {values[row]:g}; code('numpy') takes others",
            row=row,
        )
    return [int(value) for value in near]


def _block(name: str, lines: list[str]) -> str:
    return f"{name} {{\n{''.join(f'  {line}' + chr(10) for line in lines)}}}\n"


# -- functions and data --------------------------------------------------------------------------------------------


def _functions(outline: Outline, law: Law) -> Iterator[str]:
    if not _is_vector(outline):
        kind = {REAL: "real y, real eta, real a", SUCCESSES: "int k, int n, real eta"}
        first = kind.get(law.response, "int y, real eta, real a")
        shapes = ["vector thresholds"] if outline.family.is_ordinal else _shape_arguments(outline)
        yield "// log density of one row" + (", whose weight is a" if law.response != SUCCESSES else "")
        yield f"real log_density({', '.join([first, *shapes])}) {{"
        yield from (f"  {line}" for line in law.body(outline.family))
        yield "}"
    if any(term.partials for term in outline.terms):
        yield from (
            "// Cholesky factor of a correlation matrix from partial correlations",
            "matrix cholesky_of(matrix P) {",
            "  matrix[rows(P), rows(P)] L = P;",
            "  for (r in 1:rows(P)) {",
            "    real rest = 1;",
            "    for (c in 1:(r - 1)) {",
            "      L[r, c] = P[r, c] * sqrt(rest);",
            "      rest *= 1 - P[r, c] ^ 2;",
            "    }",
            "    L[r, r] = sqrt(rest);",
            "  }",
            "  return L;",
            "}",
        )


def _shape_arguments(outline: Outline) -> list[str]:
    return [f"real {NAMES.get(name, name)}" for name in outline.shape_values]


def _data_block(outline: Outline, law: Law) -> Iterator[str]:
    yield "int<lower=0> N;  // rows"
    yield "int<lower=0> K;  // columns of X"
    yield "matrix[N, K] X;"
    yield "vector[N] offsets;"
    if law.response == SUCCESSES:
        yield "array[N] int<lower=0> successes;"
        yield "array[N] int<lower=0> trials;"
    else:
        yield "vector[N] y;" if law.response == REAL else "array[N] int<lower=0> y;"
        if outline.has_weights:
            yield "vector<lower=0>[N] weights;"
    for term in outline.terms:
        yield f"matrix[N, {term.k}] Z{term.number};"
        yield f"array[N] int<lower=1, upper={term.levels}> level{term.number};  // of {term.label}"


def _transformed_data(outline: Outline) -> Iterator[str]:
    yield f"row_vector[K] means = {_row(map(number, outline.means), 'K')};"
    yield "matrix[N, K] Xc = X - rep_matrix(means, N);"
    for scalar in outline.scalars:
        if scalar.fixed is not None:
            yield f"real {outline.words[scalar.name]} = {number(scalar.fixed)};"


def _row(values: Any, size: str) -> str:
    """A row vector; without values one that has no columns, which has no literal."""
    inside = ", ".join(values)
    return f"[{inside}]" if inside else f"rep_row_vector(0, {size})"


def _parameters(outline: Outline) -> Iterator[str]:
    first_threshold = True
    for scalar in outline.scalars:
        if outline.priors.ordered and scalar.block == "shape":
            if first_threshold:
                yield f"ordered[{len(outline.block('shape'))}] thresholds;"
            first_threshold = False
        elif scalar.fixed is None:
            word = outline.words[scalar.name]
            yield f"real{_bounds(scalar)} {word};" + (f"  // {scalar.name}" if word != scalar.name else "")
    if outline.posterior.q:
        yield f"vector[{outline.posterior.q}] v;  // random effects"


def _bounds(scalar: Scalar) -> str:
    if scalar.scale == ABOVE:
        return f"<lower={number(scalar.low)}>"
    return f"<lower={number(scalar.low)}, upper={number(scalar.high)}>" if scalar.scale == INTERVAL else ""


# -- priors --------------------------------------------------------------------------------------------------------

#: Log density of x on the kernel's whole range, from the numbers that the distribution was made with.
PRIORS: dict[type[laws.Distribution], Callable[..., str]] = {
    laws.Normal: lambda x, m, s: f"normal_lpdf({x} | {m}, {s})",
    laws.HalfNormal: lambda x, s: f"normal_lpdf({x} | 0, {s})",
    laws.StudentT: lambda x, df, m, s: f"student_t_lpdf({x} | {df}, {m}, {s})",
    laws.HalfStudentT: lambda x, df, s: f"student_t_lpdf({x} | {df}, 0, {s})",
    laws.Cauchy: lambda x, m, s: f"cauchy_lpdf({x} | {m}, {s})",
    laws.HalfCauchy: lambda x, s: f"cauchy_lpdf({x} | 0, {s})",
    laws.Laplace: lambda x, m, s: f"double_exponential_lpdf({x} | {m}, {s})",
    laws.Logistic: lambda x, m, s: f"logistic_lpdf({x} | {m}, {s})",
    laws.Gumbel: lambda x, m, s: f"gumbel_lpdf(-{x} | -({m}), {s})",
    laws.Exponential: lambda x, rate: f"exponential_lpdf({x} | {rate})",
    laws.Gamma: lambda x, k, rate: f"gamma_lpdf({x} | {k}, {rate})",
    laws.InverseGamma: lambda x, k, c: f"inv_gamma_lpdf({x} | {k}, {c})",
    laws.InverseRootNormal: lambda x, s: f"inv_gamma_lpdf({x} | 0.5, 0.5 / {s} ^ 2)",
    laws.LogNormal: lambda x, m, s: f"lognormal_lpdf({x} | {m}, {s})",
    laws.Uniform: lambda x, low, high: f"uniform_lpdf({x} | {low}, {high})",
    laws.Beta: lambda x, a, b: f"beta_lpdf({x} | {a}, {b})",
    laws.LogitNormal: lambda x, m, s, *_: f"normal_lpdf(logit({x}) | {m}, {s}) - log({x}) - log1m({x})",
    laws.PartialCorrelation: lambda x, a: f"beta_lpdf((1 + {x}) / 2 | {a}, {a}) - log(2)",
}


def _priors(outline: Outline) -> Iterator[str]:
    thresholds = 0
    for scalar in outline.scalars:
        word = outline.words[scalar.name]
        if outline.priors.ordered and scalar.block == "shape":
            thresholds += 1
            word = f"thresholds[{thresholds}]"
        if scalar.fixed is None and (prior := prior_statement(scalar.prior, word)):
            yield f"target += {prior};"
    if outline.orders:
        yield f"target += lgamma({outline.orders + 1});  // the thresholds are one of {outline.orders}! orders"


def prior_statement(prior: laws.Distribution, x: str) -> str:
    """The statement's right-hand side; a truncation divides by the probability of what is left."""
    if isinstance(prior, laws.Reciprocal):
        return f"-log({x})"
    if type(prior) not in PRIORS:
        return ""
    density, mass = PRIORS[type(prior)](x, *numbers_of(prior)), float(prior._mass())
    return density if mass == 1.0 else f"{density} - log({number(mass)})"


# -- model ---------------------------------------------------------------------------------------------------------


def _model(outline: Outline) -> Iterator[str]:
    yield f"vector[K] beta = {_row(outline.fixed_words, 'K')}';"
    slopes = list(_slopes(outline))
    declared = [line for line in slopes if not line.startswith("target")]
    yield from declared
    yield "vector[N] eta = offsets + Xc * beta;"
    if outline.family.is_ordinal and not outline.priors.ordered:
        words = [outline.words[scalar.name] for scalar in outline.block("shape")]
        yield f"vector[{len(words)}] thresholds = {_row(words, '0')}';"
    yield from _priors(outline)
    yield from (line for line in slopes if line.startswith("target"))
    for term in outline.terms:
        yield from _random_effects(outline, term)
    yield from _likelihood(outline)


def _slopes(outline: Outline) -> Iterator[str]:
    kind, priors, sigma = int(outline.priors.slope_kind), outline.priors, outline.sigma_word
    at = [int(j) + 1 for j in priors.slope_columns]
    unit = f" * {sigma}" if sigma else ""
    if kind == RHS:
        for j, scale, sd in zip(at, outline.others("lambda["), priors.slope_scale, strict=True):
            v = f"(tau{unit} * {scale})"
            yield f"beta[{j}] *= {v} * sqrt(c2 / (c2 + {v} ^ 2)) / {number(sd)};  // regularised horseshoe"
    elif kind == SSP:
        for j, weight, size in zip(at, outline.others("r["), outline.others("t["), strict=True):
            yield f"beta[{j}] *= {weight} * {size};  // soft spike and slab"
    elif kind == JZS:
        n, columns = len(at), "{" + ", ".join(map(str, at)) + "}"
        scale = f"({number(priors.slope_hyper[1])}{unit}) ^ 2"
        yield f"array[{n}] int at = {columns};"
        yield f"matrix[{n}, {n}] spread = {scale} * inverse(crossprod(Xc[, at]) / N);"
        yield f"target += multi_student_t_lpdf(beta[at] | 1, rep_vector(0, {n}), spread);"


def _random_effects(outline: Outline, term: Term) -> Iterator[str]:
    """A block of its own; the levels are the columns of b."""
    k, levels = term.k, term.levels
    yield f"{{  // random effects of {term.label}: {levels} levels, effects of {term.columns}"
    yield f"  vector[{k}] sd = {_row((outline.words[sd.name] for sd in term.sds), '0')}';"
    yield f"  matrix[{k}, {levels}] b = to_matrix(segment(v, {term.start + 1}, {k * levels}), {k}, {levels});"
    for c, exponent in enumerate(term.exponent, 1):
        scale = f"sd[{c}] ^ {number(exponent)}" if exponent else "1"
        yield f"  target += normal_lpdf(b[{c}] | 0, {scale});"
        if exponent:
            yield f"  b[{c}] /= {scale};"
    if term.partials:
        words = iter(outline.words[scalar.name] for scalar in term.partials)
        rows = [", ".join(next(words) if c < r else "0" for c in range(k)) for r in range(k)]
        yield f"  b = diag_pre_multiply(sd, cholesky_of([[{'], ['.join(rows)}]])) * b;"
    else:
        yield "  b = diag_pre_multiply(sd, b);"
    yield f"  for (i in 1:N) eta[i] += Z{term.number}[i] * b[, level{term.number}[i]];"
    yield "}"


def _is_vector(outline: Outline) -> bool:
    """Whether Stan has one statement for all rows."""
    family = outline.family
    is_weighted = outline.has_weights and LAWS[family.name].response != SUCCESSES
    return (family.name, family.link.name) in VECTORS and not family.fixed_shape.size and not is_weighted


def _likelihood(outline: Outline) -> Iterator[str]:
    response, shapes = LAWS[outline.family.name].response, _shapes(outline)
    if _is_vector(outline):
        yield f"target += {VECTORS[outline.family.name, outline.family.link.name]};"
    elif response == SUCCESSES:
        row = ", ".join(["successes[i], trials[i], eta[i]", *shapes])
        yield f"for (i in 1:N) target += log_density({row});"
    elif outline.has_weights:
        row = ", ".join(["y[i], eta[i], weights[i]", *shapes])
        yield f"for (i in 1:N) if (weights[i] > 0) target += log_density({row});"
    else:
        yield f"for (i in 1:N) target += log_density({', '.join(['y[i], eta[i], 1', *shapes])});"


def _shapes(outline: Outline) -> list[str]:
    """Arguments of the law after the row's own."""
    if not outline.family.is_ordinal:
        values = outline.shape_values.values()
        return [value if isinstance(value, str) else _constant(value) for value in values]
    known = outline.family.fixed_shape
    return [f"{_row(map(number, known), '0')}'" if known.size else "thresholds"]


def _constant(value: float) -> str:
    if np.isinf(value):
        return "positive_infinity()" if value > 0 else "negative_infinity()"
    return number(value)
