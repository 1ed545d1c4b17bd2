r"""A model's log posterior as a NumPy script of its own, without this library.

Place in the reading order: after ``code_numpy_laws``. The script defines ``log_posterior(position, data)``, which reads
top to bottom as the definition of the posterior: natural values with their Jacobians and priors, slopes, random
effects, linear predictor, likelihood. It is slow, has no gradient, and shares nothing with the kernels: the tests hold
the two against each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields

import numpy as np

from refglmm.bayes import distributions as laws
from refglmm.bayes.code_numpy_laws import LAWS
from refglmm.bayes.code_outline import Outline, Term, law_of, number
from refglmm.bayes.scalar import Scalar
from refglmm.bayes.scalars import ABOVE, INTERVAL
from refglmm.bayes.shrinkage import JZS, RHS, SSP

Expression = Callable[[str, list[str]], tuple[str, str]]


def numpy_code(outline: Outline) -> str:
    """The script.

    Raises
    ------
    NotAvailableError
        A family of the user's own.
    """
    law = law_of(LAWS, outline, "NumPy")(outline.family)
    body = [
        *_arrays(outline),
        *_natural_values(outline),
        *_fixed_effects(outline),
        *_random_effects(outline),
        *_likelihood(outline),
        "return float(lp)",
    ]
    return "\n".join([*_head(outline), "", "", *_density(outline, law), "", "", *_function(outline, body)]) + "\n"


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" if line else "" for line in lines]


def _head(outline: Outline) -> list[str]:
    posterior = outline.posterior
    where = [f"    {j}: {name}" for j, name in enumerate(posterior.hyper_names)]
    effects = [
        f"    {posterior.n_hyper + t.start} to {posterior.n_hyper + t.stop - 1}: random effects of {t.label}, "
        f"{t.levels} levels by {t.k}"
        for t in outline.terms
    ]
    return [
        '"""Log posterior of ' + outline.formula.replace('"', "'") + f", {outline.family.display}.",
        "",
        "The position holds unbounded numbers, which stand for",
        "",
        *where,
        *effects,
        '"""',
        "",
        "import numpy as np",
        "from scipy import special, stats",
    ]


def _density(outline: Outline, law: list[str]) -> list[str]:
    names = ["thresholds"] if outline.family.is_ordinal else list(outline.shape_values)
    arguments = ", ".join(["y", "eta", "a", *names])
    return [
        f"def log_density({arguments}):",
        '    """Log density of each row, whose weight is a."""',
        *_indented(law),
    ]


def _function(outline: Outline, body: list[str]) -> list[str]:
    return [
        "def log_posterior(position, data):",
        '    """Log density of the position, with all constants and Jacobians."""',
        *_indented(body),
    ]


def _arrays(outline: Outline) -> list[str]:
    lines = ['y, a, X = data["y"], data["weights"], data["X"]']
    if np.any(outline.means):
        lines.append(f"X = X - np.array([{', '.join(map(number, outline.means))}])  # centred at the means")
    n = outline.posterior.n_hyper
    return [*lines, f"t, v = position[:{n}], position[{n}:]  # parameters, random effects", "lp = 0.0", ""]


# -- natural values ------------------------------------------------------------------------------------------------


def _natural_values(outline: Outline) -> Iterator[str]:
    yield "# natural values: Jacobian of the map from t, prior"
    previous = ""
    for scalar in outline.scalars:
        word = outline.words[scalar.name]
        gap_above = previous if outline.priors.ordered and scalar.block == "shape" else ""
        value, jacobian = _natural_value(outline, scalar, gap_above)
        yield f"{word} = {value}"
        previous = word if scalar.block == "shape" else ""
        prior = prior_text(scalar.prior, word) if scalar.fixed is None else ""
        if jacobian or prior:
            yield f"lp += {' + '.join(filter(None, [jacobian, prior]))}"
    if outline.orders:
        yield f"lp += special.gammaln({outline.orders + 1})  # the thresholds are one of {outline.orders}! orders"
    yield ""


def _natural_value(outline: Outline, scalar: Scalar, previous: str) -> tuple[str, str]:
    """The value and the Jacobian as expressions; a threshold is above the previous one."""
    above = f"{previous} + " if previous else f"{number(scalar.low)} + " if scalar.low else ""
    if scalar.fixed is not None:
        return f"{previous + ' + ' if previous else ''}{number(scalar.fixed)}  # fixed", ""
    t = f"t[{outline.slots[scalar.name]}]"
    if scalar.scale == ABOVE:
        return f"{above}np.exp({t})", t
    if scalar.scale == INTERVAL:
        width = number(scalar.high - scalar.low)
        return (
            f"{above}{width} * special.expit({t})",
            f"np.log({width}) + special.log_expit({t}) + special.log_expit(-{t})",
        )
    return t, ""


def _frozen(name: str, keywords: Callable[..., str]) -> Expression:
    """A distribution of scipy.stats: log density and distribution function."""

    def write(x: str, numbers: list[str]) -> tuple[str, str]:
        arguments = keywords(*numbers)
        return f"stats.{name}.logpdf({x}, {arguments})", f"stats.{name}.cdf({{}}, {arguments})"

    return write


def _inverse_root_normal(x: str, numbers: list[str]) -> tuple[str, str]:
    density = f"stats.halfnorm.logpdf({x}**-0.5, scale={numbers[0]}) + np.log(0.5 * {x}**-1.5)"
    return density, f"stats.halfnorm.sf({{}}**-0.5, scale={numbers[0]})"


def _logit_normal(x: str, numbers: list[str]) -> tuple[str, str]:
    arguments = f"{numbers[0]}, {numbers[1]}"
    density = f"stats.norm.logpdf(special.logit({x}), {arguments}) - np.log({x} * (1 - {x}))"
    return density, f"stats.norm.cdf(special.logit({{}}), {arguments})"


def _partial_correlation(x: str, numbers: list[str]) -> tuple[str, str]:
    a = numbers[0]
    return f"stats.beta.logpdf((1 + {x}) / 2, {a}, {a}) - np.log(2)", f"stats.beta.cdf((1 + {{}}) / 2, {a}, {a})"


PRIORS: dict[type[laws.Distribution], Expression] = {
    laws.Normal: _frozen("norm", lambda m, s: f"{m}, {s}"),
    laws.HalfNormal: _frozen("halfnorm", lambda s: f"scale={s}"),
    laws.StudentT: _frozen("t", lambda df, m, s: f"{df}, {m}, {s}"),
    laws.HalfStudentT: _frozen("t", lambda df, s: f"{df}, 0, {s}"),
    laws.Cauchy: _frozen("cauchy", lambda m, s: f"{m}, {s}"),
    laws.HalfCauchy: _frozen("halfcauchy", lambda s: f"scale={s}"),
    laws.Laplace: _frozen("laplace", lambda m, s: f"{m}, {s}"),
    laws.Logistic: _frozen("logistic", lambda m, s: f"{m}, {s}"),
    laws.Gumbel: _frozen("gumbel_l", lambda m, s: f"{m}, {s}"),
    laws.Exponential: _frozen("expon", lambda rate: f"scale=1 / {rate}"),
    laws.Gamma: _frozen("gamma", lambda k, rate: f"{k}, scale=1 / {rate}"),
    laws.InverseGamma: _frozen("invgamma", lambda k, c: f"{k}, scale={c}"),
    laws.LogNormal: _frozen("lognorm", lambda m, s: f"{s}, scale=np.exp({m})"),
    laws.Uniform: _frozen("uniform", lambda low, high: f"{low}, {high} - {low}"),
    laws.Beta: _frozen("beta", lambda a, b: f"{a}, {b}"),
    laws.InverseRootNormal: _inverse_root_normal,
    laws.LogitNormal: _logit_normal,
    laws.PartialCorrelation: _partial_correlation,
}


def numbers_of(prior: laws.Distribution) -> list[str]:
    """The arguments that the distribution was made with."""
    return [number(getattr(prior, f.name)) for f in fields(prior) if not f.kw_only]


def prior_text(prior: laws.Distribution, x: str) -> str:
    """The log density as an expression, with the constant of a truncation; empty for a flat or a joint prior."""
    if isinstance(prior, laws.Reciprocal):
        return f"-np.log({x})"
    if type(prior) not in PRIORS:
        return ""
    density, cdf = PRIORS[type(prior)](x, numbers_of(prior))
    low, high = prior.support
    # what scipy's distribution spreads over, which for half a t is the whole line, and for logit_normal (0, 1)
    whole = {laws.HalfStudentT: laws.EVERYWHERE, laws.LogitNormal: laws.UNIT}.get(type(prior), prior.range)
    upper = cdf.format(number(high)) if high < whole[1] else "1"
    lower = f" - {cdf.format(number(low))}" if low > whole[0] else ""
    return density if (upper, lower) == ("1", "") else f"{density} - np.log({upper}{lower})"


# -- fixed and random effects --------------------------------------------------------------------------------------


def _fixed_effects(outline: Outline) -> Iterator[str]:
    kind, priors = int(outline.priors.slope_kind), outline.priors
    yield f"beta = np.array([{', '.join(outline.fixed_words)}])"
    at = f"[{', '.join(str(int(j)) for j in priors.slope_columns)}]"
    sigma = outline.sigma_word
    if kind == RHS:
        yield "# regularised horseshoe: what were z become slopes"
        yield f"w = tau * {sigma + ' * ' if sigma else ''}np.array([{', '.join(outline.others('lambda['))}])"
        sds = ", ".join(number(sd) for sd in priors.slope_scale)
        yield f"beta[{at}] *= w * np.sqrt(c2 / (c2 + w**2)) / np.array([{sds}])  # standard deviations of the columns"
    elif kind == SSP:
        yield "# soft spike and slab: what were w become slopes"
        weights, sizes = (", ".join(outline.others(start)) for start in ("r[", "t["))
        yield f"beta[{at}] *= np.array([{weights}]) * np.array([{sizes}])"
    elif kind == JZS:
        yield "# multivariate Cauchy in units of sigma and of the columns"
        scale = number(priors.slope_hyper[1]) + (f" * {sigma}" if sigma else "")
        yield f"Xs = X[:, {at}]"
        yield f"spread = ({scale}) ** 2 * np.linalg.inv(Xs.T @ Xs / len(Xs))"
        yield f"lp += stats.multivariate_t.logpdf(beta[{at}], np.zeros({len(priors.slope_columns)}), spread, df=1)"
    yield 'eta = data["offset"] + X @ beta'
    yield ""


def _random_effects(outline: Outline) -> Iterator[str]:
    for term in outline.terms:
        yield f"# random effects of {term.label}: {term.levels} levels, effects of {term.columns}"
        yield f"sd = np.array([{', '.join(outline.words[sd.name] for sd in term.sds)}])"
        yield f"u = v[{term.start}:{term.stop}].reshape({term.levels}, {term.k})"
        if np.any(term.exponent):
            yield f"f = sd ** np.array([{', '.join(map(number, term.exponent))}])  # how far each column is centred"
            yield "lp += np.sum(stats.norm.logpdf(u, 0, f))"
            yield "u = u / f"
        else:
            yield "lp += np.sum(stats.norm.logpdf(u))"
        yield from _factor(outline, term)
        yield f'eta = eta + np.sum(data["Z{term.number}"] * b[data["level{term.number}"]], axis=1)'
        yield ""


def _factor(outline: Outline, term: Term) -> Iterator[str]:
    """b = Lambda u, the factor of the correlation matrix from the partial correlations."""
    if not term.partials:
        yield "b = u * sd"
        return
    words = iter(outline.words[scalar.name] for scalar in term.partials)
    rows = [", ".join(next(words) if c < r else "0" for c in range(term.k)) for r in range(term.k)]
    yield f"P = np.array([[{'], ['.join(rows)}]])  # partial correlations"
    yield "rest = np.cumprod(np.column_stack([np.ones(len(P)), 1 - P**2]), axis=1) ** 0.5"
    yield "L = np.tril(P, -1) * rest[:, :-1] + np.diag(np.diag(rest))  # L L' is the correlation matrix"
    yield "b = u @ (sd[:, None] * L).T"


def _likelihood(outline: Outline) -> Iterator[str]:
    if outline.family.is_ordinal:
        known = [number(value) for value in outline.family.fixed_shape]
        words = [outline.words[scalar.name] for scalar in outline.block("shape")]
        shapes = [f"np.array([{', '.join(words + known)}])"]
    else:
        shapes = [value if isinstance(value, str) else number(value) for value in outline.shape_values.values()]
        shapes = ["-np.inf" if s == "-inf" else "np.inf" if s == "inf" else s for s in shapes]
    arguments = ["y", "eta", "a"]
    if np.any(outline.problem.weights == 0.0):
        yield "used = a > 0"
        arguments = [f"{name}[used]" for name in arguments]
    yield f"lp += np.sum(log_density({', '.join(arguments + shapes)}))"
