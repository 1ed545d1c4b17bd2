"""Models and laws that are compared with Stan, and the program that asks Stan for all laws at once."""

from __future__ import annotations

import numpy as np
import pandas as pd

import refglmm as rg
from refglmm.bayes import distributions as laws
from refglmm.bayes.code_stan import NAMES, prior_statement
from refglmm.bayes.code_stan_laws import CATEGORY, LAWS, REAL, SUCCESSES
from refglmm.families.registry import FAMILIES


def data():
    """Sixteen rows, four groups crossed with two others, numbers with few digits."""
    rng = np.random.default_rng(20)
    n = 16
    x, z = (np.round(rng.normal(2.0, 1.0, n), 2) for _ in range(2))
    return pd.DataFrame(
        {
            "g": np.repeat(list("abcd"), 4),
            "h": np.tile(list("pq"), 8),
            "x": x,
            "z": z,
            "w": np.round(rng.uniform(0.5, 2.0, n), 2),
            "o": np.round(rng.normal(0.0, 0.3, n), 2),
            "y": np.round(0.5 * x + rng.normal(size=n), 2),
            "hit": rng.integers(0, 2, n),
            "count": rng.poisson(2.0, n),
            "grade": pd.Categorical(rng.permutation(list("lmhm") * 4), list("lmh"), ordered=True),
        }
    )


#: name -> (formula, arguments, exponent of all columns)
MODELS = {
    "gaussian": (
        "y ~ x + z + (1 + x + z | g)",
        {"family": "gaussian", "weights": "w", "prior": rg.prior_weak(y_range=(-5, 5), lkj_eta=2)},
        0.5,
    ),
    "bernoulli": ("hit ~ x + (1 | g) + (1 | h)", {"family": "bernoulli", "prior": rg.prior_normal()}, 0.0),
    "poisson": (
        "count ~ x + z + (1 | g)",
        {"family": "poisson", "offset": "o", "prior": rg.prior_rhs(expected_vars=1)},
        1.0,
    ),
    "negative_binomial": (
        "count ~ x + (1 | g)",
        {"family": "negative_binomial", "prior": rg.prior_ssp()},
        0.0,
    ),
    "ordered": ("grade ~ x + (1 + x || g)", {"family": "ordered", "prior": rg.prior_weak()}, 0.0),
    "student_t": ("y ~ x + z + (1 | g)", {"family": "student_t", "prior": rg.prior_jzs()}, 0.0),
}


def model_of(name):
    """A model of :data:`MODELS` and its posterior."""
    formula, arguments, exponent = MODELS[name]
    model = rg.GLMM(formula, data(), **arguments)
    posterior = model.posterior
    return model, posterior.with_exponent(exponent) if exponent else posterior


#: Shape parameters as people know them.
SHAPES = {
    "gaussian": {"sigma": 0.8},
    "gamma": {"shape": 2.5},
    "inverse_gaussian": {"shape": 1.7},
    "student_t": {"sigma": 0.9, "nu": 3.5},
    "lognormal": {"sigma": 0.7},
    "lognormal_log": {"sigma": 0.6},
    "censored_normal": {"sigma": 1.1, "lower": -0.5, "upper": 1.5},
    "beta": {"phi": 4.2},
    "betabinomial": {"phi": 3.1},
    "ordbeta": {"phi": 3.3, "lower": -1.2, "width": 2.4},
    "negative_binomial": {"phi": 1.8},
    "nbinom1": {"phi": 0.7},
    "genpois": {"phi": 1.6},
    "compois": {"phi": 1.4},
    "tweedie": {"phi": 1.3, "p": 1.6},
    "truncated_nbinom2": {"phi": 1.8},
    "truncated_nbinom1": {"phi": 0.7},
    "truncated_genpois": {"phi": 1.6},
    "truncated_compois": {"phi": 1.4},
}
THRESHOLDS = [-0.9, 0.2, 1.4]
REALS, POSITIVES, COUNTS = [-1.3, 0.4, 2.1], [0.3, 1.0, 4.2], [0.0, 1.0, 7.0]
RESPONSES = {
    **dict.fromkeys(("gaussian", "student_t", "censored_normal"), REALS),
    **dict.fromkeys(("gamma", "inverse_gaussian", "lognormal", "lognormal_log"), POSITIVES),
    **{name: [0.1, 0.5, 0.93] for name in ("beta", "unit_lindley")},
    "ordbeta": [0.0, 0.35, 1.0],
    "tweedie": [0.0, 0.4, 3.2],
    **{name: [0.0, 0.25, 1.0] for name in ("binomial", "betabinomial")},
    "bernoulli": [0.0, 1.0, 1.0],
    **{name: [0.0, 1.0, 3.0] for name in ("ordered", "sequential", "adjacent")},
}


def families():
    """Every built-in family with every link, and the direction of sequential models."""
    for name, family in FAMILIES.items():
        for link in family.points or family.densities:
            yield (
                name,
                (family(link, direction="backward") if name == "sequential" and link == "probit" else family(link)),
            )


def law_rows(family):
    """(y, a, eta) of each row at which a law is looked at."""
    responses = RESPONSES.get(family.name, [y + ("truncated" in family.name) for y in COUNTS])
    valid = family.link.valid_eta
    etas = [eta for eta in (-1.1, -0.3, 0.6, 1.2) if valid(np.array([eta]))[0]][:3]
    weights = {"binomial": [8.0] * 3, "betabinomial": [8.0] * 3, "bernoulli": [1.0] * 3}.get(
        family.name, [1.0, 2.0, 0.7]
    )
    return [(y, a, eta) for y, a in zip(responses, weights, strict=True) for eta in etas]


def law_program(part):
    """A Stan program whose gradient in ``select`` holds the laws of all rows, and its data; part: "real" or "whole"."""
    functions, calls, columns = [], [], {key: [] for key in ("which", "k", "n", "y", "a", "eta", "shapes")}
    for family in law_families(part):
        law, shapes = LAWS[family.name], SHAPES.get(family.name, {})
        number = len(functions) + 1
        first = {REAL: "real y, real eta, real a", SUCCESSES: "int k, int n, real eta"}
        arguments = [first.get(law.response, "int y, real eta, real a")]
        arguments += ["vector thresholds"] if family.is_ordinal else [f"real {NAMES.get(s, s)}" for s in shapes]
        body = "\n".join(f"    {line}" for line in law.body(family))
        functions.append(f"  real law_{number}({', '.join(arguments)}) {{  // {family.display}\n{body}\n  }}\n")
        row = {REAL: "y[i], eta[i], a[i]", SUCCESSES: "k[i], n[i], eta[i]"}.get(law.response, "k[i], eta[i], a[i]")
        rest = ["thresholds"] if family.is_ordinal else [f"shapes[i, {j + 1}]" for j in range(len(shapes))]
        calls.append(f"    if (which[i] == {number}) target += select[i] * law_{number}({', '.join([row, *rest])});\n")
        for y, a, eta in law_rows(family):
            k = a * y if law.response == SUCCESSES else y + (law.response == CATEGORY)
            values = (number, round(k) if law.response != REAL else 0, round(a), y, a, eta)
            for key, value in zip(columns, values, strict=False):
                columns[key].append(value)
            columns["shapes"].append([*shapes.values(), 0.0, 0.0, 0.0][:3])
    program = (
        f"functions {{\n{''.join(functions)}}}\n"
        "data {\n  int M;\n  array[M] int which;\n  array[M] int k;\n  array[M] int n;\n"
        "  vector[M] y;\n  vector[M] a;\n  vector[M] eta;\n  matrix[M, 3] shapes;\n  vector[3] thresholds;\n}\n"
        "parameters {\n  vector[M] select;\n}\n"
        f"model {{\n  for (i in 1:M) {{\n{''.join(calls)}  }}\n}}\n"
    )
    return program, {"M": len(columns["y"]), "thresholds": THRESHOLDS, **columns}


def law_families(part):
    """The families of :func:`law_program`, in its order."""
    in_stan = [family for name, family in families() if name in LAWS]
    return [family for family in in_stan if (LAWS[family.name].response == REAL) == (part == "real")]


#: Every prior distribution, some of them truncated, and where they are looked at.
PRIORS = [
    (law.truncated(*bounds), x)
    for law, bounds, x in (
        (laws.Normal(0.3, 2.0), (), -0.7),
        (laws.Normal(0.3, 2.0), (0.0, 3.0), 1.7),
        (laws.HalfNormal(1.5), (), 0.8),
        (laws.StudentT(3.0, -0.5, 2.0), (), 1.1),
        (laws.StudentT(3.0, -0.5, 2.0), (0.5,), 1.1),
        (laws.HalfStudentT(3.0, 2.5), (), 0.9),
        (laws.HalfStudentT(3.0, 2.5), (0.2, 4.0), 0.9),
        (laws.Cauchy(0.4, 1.2), (), -2.0),
        (laws.HalfCauchy(0.7), (), 1.3),
        (laws.Laplace(0.2, 0.5), (), -0.6),
        (laws.Logistic(-0.3, 1.4), (-1.0, 2.0), 0.5),
        (laws.Gumbel(0.6, 0.8), (), -0.4),
        (laws.Exponential(0.2), (), 3.0),
        (laws.Exponential(0.2), (1.0,), 3.0),
        (laws.Gamma(2.0, 0.1), (1.0,), 4.0),
        (laws.InverseGamma(2.0, 8.0), (), 3.3),
        (laws.InverseRootNormal(1.0), (), 2.2),
        (laws.InverseRootNormal(1.0), (0.5, 9.0), 2.2),
        (laws.LogNormal(0.1, 0.9), (), 1.6),
        (laws.Uniform(1.0, 2.0), (), 1.4),
        (laws.Uniform(-3.0, 2.0), (-1.0,), 1.4),
        (laws.Beta(2.0, 3.5), (), 0.3),
        (laws.LogitNormal(-1.1, 3.0, 0.001, 0.999), (), 0.4),
        (laws.LogitNormal(-1.1, 3.0), (), 0.4),
        (laws.PartialCorrelation(1.5), (), -0.6),
        (laws.Reciprocal(), (), 1.9),
    )
]


def prior_program():
    """A Stan program whose gradient in ``select`` holds the log densities of all :data:`PRIORS`."""
    lines = [
        f"  {{ real x = {x}; target += select[{i}] * ({prior_statement(p, 'x')}); }}\n"
        for i, (p, x) in enumerate(PRIORS, 1)
    ]
    return f"parameters {{\n  vector[{len(PRIORS)}] select;\n}}\nmodel {{\n{''.join(lines)}}}\n"
