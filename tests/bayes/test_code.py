"""What a model writes about itself: mathematics, a NumPy script, a Stan program.

The NumPy script shares nothing with the kernels. It is held against ``posterior.log_density``, and its differences
against the gradient, over families, priors and structures; and against numbers from Stan.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bayes.stan_cases import (
    MODELS,
    PRIORS,
    RESPONSES,
    SHAPES,
    THRESHOLDS,
    families,
    law_families,
    law_program,
    law_rows,
    model_of,
    prior_program,
)
from families.densities import difference
from families.instances import exponential
from scipy import special, stats

import refglmm as rg
from refglmm.bayes.code import model_code
from refglmm.bayes.code_numpy import prior_text
from refglmm.bayes.code_numpy_laws import LAWS
from refglmm.bayes.code_outline import identifiers
from refglmm.bayes.distributions import Cauchy, HalfNormal, Normal
from refglmm.errors import ArgumentError, NotAvailableError
from refglmm.families.registry import FAMILIES

GOLDEN = json.loads((Path(__file__).parent / "golden_stan.json").read_text())["cases"]


def script(model, posterior=None):
    """The function that the NumPy script defines."""
    space: dict = {}
    exec(model_code(model, "numpy", posterior), space)
    return lambda position: space["log_posterior"](position, model.code_data())


def compare(model, posterior=None, middle=None, spread=0.4, seed=1, gradient=True):
    """Value to 1e-10 and gradient to 1e-8 of their size, at a random position."""
    posterior = model.posterior if posterior is None else posterior
    position = np.random.default_rng(seed).normal(0.0, spread, posterior.dimension)
    if middle is not None:
        position[0] += middle
    oracle = script(model, posterior)
    value, slope = posterior.value_and_gradient(position)
    assert np.isfinite(value)
    assert oracle(position) == pytest.approx(value, rel=1e-10, abs=1e-10)
    if not gradient:
        return
    unit = np.eye(position.size)
    wanted = [difference(lambda t, e=e: oracle(position + t * e), 0.0, 0.01) for e in unit]
    assert np.max(np.abs(slope - wanted) / (1.0 + np.abs(wanted))) < 1e-8


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(11)
    n = 18
    x = rng.normal(2.0, 1.0, n)
    return pd.DataFrame(
        {
            "g": np.repeat(list("abc"), 6),
            "h": np.tile(["p", "q"], 9),
            "x": x,
            "z": rng.normal(size=n),
            "c": rng.choice(["low", "mid", "high"], n),
            "w": rng.uniform(0.5, 2.0, n),
            "o": rng.normal(0.0, 0.3, n),
            "y": 0.5 * x + rng.normal(size=n),
            "trials": rng.integers(1, 9, n),
            "share": rng.integers(0, 2, n) * 1.0,
        }
    )


# -- families ----------------------------------------------------------------------------------------------------

#: The ones that come with the first tests; the others take long to compile.
USUAL = ("gaussian", "binomial", "poisson", "gamma", "negative_binomial", "ordered", "student_t", "beta")


def model_of_family(family, **changes):
    """Twelve rows in the support of the family, weights where they can be anything."""
    n = 12
    rng = np.random.default_rng(3)
    counts = [y + ("truncated" in family.name) for y in (0.0, 1.0, 7.0)]
    y = np.resize([0, 1, 2, 3] if family.is_ordinal else RESPONSES.get(family.name, counts), n)
    weights = {"bernoulli": 1.0, "binomial": 8.0, "betabinomial": 8.0}.get(family.name, rng.uniform(0.5, 2.0, n))
    data = pd.DataFrame(
        {
            "y": pd.Categorical(y, [0, 1, 2, 3], ordered=True) if family.is_ordinal else y,
            "w": weights,
            "x": rng.normal(1.0, 0.2, n),
            "o": rng.normal(0.0, 0.05, n),
            "g": np.repeat(list("abc"), 4),
        }
    )
    arguments = {"weights": "w", "offset": "o", "prior": rg.prior_normal()} | changes
    return rg.GLMM("y ~ x + (1 | g)", data, family=family, **arguments)


def middle_of(family):
    """An intercept in the middle of the link's domain."""
    valid = family.link.valid_eta
    middles = (1.5,) if family.link.name == "inverse" else (0.3, 1.5, -1.5)
    return next(eta for eta in middles if valid(np.array([eta - 1.0, eta + 1.0])).all())


@pytest.mark.parametrize("name", USUAL)
def test_script_of_each_usual_family(name):
    family = FAMILIES[name]()
    compare(model_of_family(family), middle=middle_of(family), spread=0.15)


@pytest.mark.slow
@pytest.mark.parametrize(
    "family", [f for name, f in families() if name not in USUAL or f.link.name != f.default_link], ids=repr
)
def test_script_of_every_family_and_link(family):
    compare(model_of_family(family), middle=middle_of(family), spread=0.15)


def test_script_of_the_truncated_limits():
    family = rg.families.CensoredNormal(lower=-0.5, upper=1.5)
    code = str(model_of_family(family).code("numpy"))
    assert "def log_density(y, eta, a, sigma, lower, upper):" in code
    assert "log_density(y, eta, a, sigma, -0.5, 1.5)" in code
    unlimited = model_of_family(rg.families.CensoredNormal(upper=1.5))
    assert "log_density(y, eta, a, sigma, -np.inf, 1.5)" in unlimited.code("numpy")


def test_known_shape_parameters_are_numbers_in_the_script():
    model = model_of_family(rg.families.NegativeBinomial(size=2.5))
    assert "log_density(y, eta, a, 2.5)" in model.code("numpy")
    assert "known: phi = 2.5" in model.code()
    compare(model, spread=0.15, gradient=False)


# -- priors and structures -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prior",
    [
        rg.prior_flat(),
        rg.prior_normal(b_sd=None, lkj_eta=3),
        rg.prior_weak(y_range=(-4, 5)),
        rg.prior_rhs(y_range=(-4, 5)),
        rg.prior_ssp(y_range=(-4, 5)),
        rg.prior_jzs(),
        rg.prior_normal(
            b={"x": Cauchy(0, 1).truncated(-3, 4)}, coefficients={"sd": HalfNormal(2), "Intercept": Normal(0, 3)}
        ),
    ],
    ids=lambda prior: prior.kind,
)
def test_script_of_each_prior(frame, prior):
    compare(rg.GLMM("y ~ x + z + (1 + x | g)", frame, family="gaussian", prior=prior))


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ 0 + x + (1 | g)",
        "y ~ 1 + (1 | g) + (1 | h)",
        "y ~ x + (1 + x | g) + (0 + z || h)",
        "y ~ x + (1 + x || g)",
        "y ~ x * c + (1 + x + z | g)",
        "y ~ x + (0 + c | g) + (1 | g:h)",
    ],
)
def test_script_of_each_structure(frame, formula):
    compare(rg.GLMM(formula, frame, family="gaussian", prior=rg.prior_normal(), weights="w", offset="o"))


@pytest.mark.parametrize("exponent", [1.0, 0.3, [0.0, 1.0, 0.7]])
def test_script_of_centred_random_effects(frame, exponent):
    model = rg.GLMM("y ~ x + (1 + x | g) + (1 | h)", frame, family="gaussian", prior=rg.prior_normal())
    compare(model, model.posterior.with_exponent(exponent))


def test_script_of_rows_with_weight_zero(frame):
    model = rg.GLMM("y ~ x + (1 | g)", frame.assign(w=np.resize([0.0, 1.0, 2.0], 18)), family="gaussian", weights="w")
    assert "used = a > 0" in model.code("numpy")
    compare(model)


def test_script_of_collapsed_rows():
    data = pd.DataFrame({"hit": [0, 1, 1, 0, 1, 1, 0, 1], "x": [0, 0, 0, 0, 1, 1, 1, 1], "g": list("aabbaabb")})
    model = rg.GLMM("hit ~ x + (1 | g)", data, family="bernoulli", prior=rg.prior_normal())
    assert model.posterior.target.offset.size == 4
    compare(model)


def test_script_of_ordered_thresholds_without_prior():
    model = model_of_family(FAMILIES["ordered"](), prior=rg.prior_flat())
    assert "orders" not in model.code("numpy")
    compare(model, spread=0.3)


def test_script_with_fixed_parameters(frame):
    from refglmm.bayes.comparison import fixed_posterior

    model = rg.GLMM("y ~ x + (1 | g)", frame, family="gaussian", prior=rg.prior_normal())
    posterior = fixed_posterior(model.posterior, {"b[x]": 0.5, "sd[g:Int]": 0.7})
    code = model_code(model, "numpy", posterior)
    assert "b_x = 0.5  # fixed" in code
    assert "real sd_g_Int = 0.7;" in model_code(model, "stan", posterior)
    assert "b[x]         fixed at 0.5" in model_code(model, "math", posterior)
    compare(model, posterior)


# -- against Stan --------------------------------------------------------------------------------------------------


@pytest.mark.golden
@pytest.mark.parametrize("name", MODELS)
def test_posterior_agrees_with_stan(name):
    model, posterior = model_of(name)
    case = GOLDEN[name]
    assert model_code(model, "stan", posterior) == case["program"]
    assert model.stan_data() == case["data"]
    for position, value in zip(case["positions"], case["values"], strict=True):
        assert posterior.log_density(position) == pytest.approx(value, rel=1e-10)


@pytest.mark.golden
@pytest.mark.parametrize("part", ["real", "whole"])
def test_laws_agree_with_stan(part):
    program, data = law_program(part)
    case = GOLDEN[f"laws_{part}"]
    assert (program, data) == (case["program"], case["data"])
    values = iter(case["values"])
    for family in law_families(part):
        y, a, eta = np.array(law_rows(family)).T
        names = ["thresholds"] if family.is_ordinal else list(SHAPES.get(family.name, {}))
        space = {"np": np, "special": special, "stats": stats}
        body = "\n".join(f"    {line}" for line in LAWS[family.name](family))
        exec(f"def log_density({', '.join(['y', 'eta', 'a', *names])}):\n{body}\n", space)
        shapes = [np.array(THRESHOLDS)] if family.is_ordinal else SHAPES.get(family.name, {}).values()
        wanted = [next(values) for _ in y]
        assert space["log_density"](y, eta, a, *shapes) == pytest.approx(wanted, rel=1e-9, abs=1e-12), family


def test_priors_agree_with_scipy():
    for prior, x in PRIORS:
        text = eval(prior_text(prior, "x"), {"np": np, "special": special, "stats": stats, "x": x})
        assert float(prior.log_density(x)) == pytest.approx(text, rel=1e-10), prior


@pytest.mark.golden
def test_priors_agree_with_stan():
    assert prior_program() == GOLDEN["priors"]["program"]
    for (prior, x), value in zip(PRIORS, GOLDEN["priors"]["values"], strict=True):
        assert float(prior.log_density(x)) == pytest.approx(value, rel=1e-10), prior


def test_what_stan_cannot_say(frame):
    counts = frame.assign(y=np.arange(18))
    with pytest.raises(NotAvailableError, match=r"compois family cannot be written in Stan; code\('math'\)"):
        rg.GLMM("y ~ x + (1 | g)", counts, family="compois").code("stan")
    share = frame.assign(share=0.25, n=4.0)
    model = rg.GLMM("share ~ x + (1 | g)", share, family="binomial", weights="n")
    assert model.stan_data()["successes"] == [1] * 18
    assert "binomial_logit_lpmf(successes | trials, eta)" in model.code("stan")
    with pytest.warns(rg.errors.NonIntegerWarning):
        broken = rg.GLMM("y ~ x + (1 | g)", frame.assign(y=frame.y**2), family="poisson")
    with pytest.raises(NotAvailableError, match=r"Stan takes whole counts only: row 0 .* code\('numpy'\) takes others"):
        broken.stan_data()


# -- mathematics ---------------------------------------------------------------------------------------------------


def test_mathematics_of_a_model(frame, capsys):
    model = rg.GLMM("y ~ x + (1 + x | g)", frame, family="gaussian", prior=rg.prior_weak(y_range=(-4, 5)), offset="o")
    code = model.code()
    model.print_code()
    assert capsys.readouterr().out == code
    assert repr(code) == code
    assert code._repr_html_().startswith("<pre>y ~ x + (1 + x | g)")
    mean, sd = frame.x.mean(), frame.x.std()
    for line in (
        f"  centred at their means: x at {mean:.5g}",
        "  groups of g: 3 levels; effects of Int, x, correlated",
        "  sd[g:Int]         above 0",
        "  r[g] = diag(sd[g:Int], sd[g:x]) L[g] u[g]",
        f"  eta_i = offset_i + Intercept_c + b[x] (x_i - {mean:.5g}) + r[g_i:Int] + r[g_i:x] x_i",
        "  y_i ~ normal(mu_i, sigma)",
        "  u[g] ~ normal(0, 1), independent",
        f"  Intercept  = Intercept_c - {mean:.5g} b[x]",
    ):
        assert f"{line}\n" in code, line
    prior = f"  b[x]              ~ normal(0, {2.25 / sd:.5g})"
    (line,) = (line for line in code.splitlines() if line.startswith(prior))
    assert line.endswith(f"  (1 s / {sd:.4g}, s = 2.25)")


def test_mathematics_of_shrinkage_thresholds_and_split_terms():
    code = model_of("poisson")[0].code()
    assert "  b[x] = z[x] v sqrt(c2 / (c2 + v^2)) / 0.84484,  v = tau lambda[x]\n" in code
    assert "  b[x] = w[x] r[x] t[x]\n" in model_of("negative_binomial")[0].code()
    assert "  (b[x], b[z]) ~ cauchy_2(0, (0.707 sigma)^2 (X'X/n)^-1)\n" in model_of("student_t")[0].code()
    code = model_of("ordered")[0].code()
    assert "  eta_i = b[x] (x_i - 1.8062) + r[g_i:Int] + r[g_i:x] x_i\n" in code
    assert "  r[g:x] = sd[g:x] u[g:x]\n" in code
    assert "  P(y_i <= k) = F(cutpoint_k - eta_i),  F logistic\n" in code
    assert "  cutpoints as reported  = cutpoints + 1.8062 b[x]\n" in code


@pytest.mark.parametrize("name", FAMILIES)
def test_mathematics_of_every_family(name):
    family = FAMILIES[name]()
    code = model_of_family(family, prior=rg.prior_flat()).code()
    law = code.split("\nModel\n")[1].splitlines()[0]
    assert "_i" in law
    assert ("given y_i > 0" in law) == name.startswith("truncated")


# -- the rest ------------------------------------------------------------------------------------------------------


def test_names_become_words():
    words = identifiers(
        ["b[a b]", "b[a:b]", "b[\N{GREEK SMALL LETTER ALPHA}]", "b[\N{GREEK SMALL LETTER BETA}]", "lower", "2"]
    )
    assert list(words.values()) == ["b_a_b", "b_a_b_2", "b_1", "b_2", "lower_1", "n_2"]
    assert all(word.isidentifier() and word.isascii() for word in words.values())


def test_data_are_copies(frame):
    model = rg.GLMM("y ~ x + (1 | g)", frame, family="gaussian")
    data = model.code_data()
    assert sorted(data) == ["X", "Z1", "level1", "offset", "weights", "y"]
    data["y"][:] = data["X"][:] = data["Z1"][:] = 0.0
    assert np.array_equal(model.code_data()["y"], frame.y)
    assert np.all(model.code_data()["X"])
    assert np.all(model.code_data()["Z1"])


def test_other_kinds_and_families_are_refused(frame):
    model = rg.GLMM("y ~ x + (1 | g)", frame, family="gaussian")
    user = rg.GLMM("y ~ x + (1 | g)", frame.assign(y=np.exp(frame.y)), family=exponential())
    assert "y_i ~ exponential, as its log density says" in user.code()
    with pytest.raises(NotAvailableError, match="the density of the exponential family cannot be written in NumPy"):
        user.code("numpy")
    counts = frame.assign(count=np.arange(18) % 4)
    grouped = rg.GLMM("count ~ x + (1 | g)", counts, family="poisson", group_weights=dict.fromkeys("abc", 2.0))
    with pytest.raises(NotAvailableError, match="models without group_weights=; repeat the rows instead"):
        grouped.code()
    with pytest.raises(ArgumentError, match="kind must be one of 'math', 'numpy', 'stan', not 'tex'"):
        model.code("tex")
