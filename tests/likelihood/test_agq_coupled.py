"""Quadrature for densities with several linear predictors: brute-force integrals, exact gradients, golden maxima."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from exponentials import Exponentials, layout_of
from exponentials import build as build_crossed
from problems import assert_gradient, laplace, quadrature
from scipy import special, stats

import refglmm as rg
from refglmm.errors import NotAvailableError
from refglmm.likelihood.agq import likelihood_objective
from refglmm.likelihood.pirls import Pirls

GOLDEN = json.loads((Path(__file__).parent / "golden_agq_coupled.json").read_text(encoding="utf-8"))["fits"]
both = pytest.mark.parametrize("parts", [2, 3])


def one_factor(parts, structure="us", seed=3):
    """(problem, psi) with one grouping factor: a term across the predictors and one in the last alone."""
    problem, psi, terms = build_crossed(parts, structure, seed)
    g, n = terms[0][0], problem.n
    terms = [terms[0], (g, np.random.default_rng(seed).normal(size=(n, 1)), 6, (parts - 1,))]
    return replace(problem, layout=layout_of(terms, n, parts, np.repeat(np.arange(parts), 2))), psi


def small(seed=5, groups=3, rows=4):
    """A table of few groups in random order, a group of a single row among them; counts, a third of them zero."""
    rng = np.random.default_rng(seed)
    g = rng.permutation(np.append(np.repeat(np.arange(groups - 1), rows), groups - 1))
    y = rng.poisson(2.5, g.size) * (rng.random(g.size) > 0.35)
    return pd.DataFrame({"y": y, "x": rng.uniform(-1, 1, g.size), "g": g.astype(str)})


def model(data, family, **parts):
    random = parts.pop("random", "(1 | g)")
    return rg.GLMM(f"y ~ x + {random}", data, family, **parts)


def parameters(problem, seed=8):
    """Moderate deviations, coefficients and shape."""
    rng = np.random.default_rng(seed)
    par = np.where(problem.par_lower == 0.0, rng.uniform(0.4, 0.8, problem.n_par), -0.25)
    return problem.join(par, rng.normal(0.0, 0.4, problem.p), np.full(problem.n_phi, 1.6))


# -- the value ---------------------------------------------------------------------------------------------------------


def zero_inflated(y, log_f, log_f0, zeta):
    """log{pi [y = 0] + (1 - pi) f(y)}."""
    p = special.expit(zeta)
    return np.where(y == 0, np.log(p + (1.0 - p) * np.exp(log_f0)), np.log1p(-p) + log_f)


def zip_density(y, eta, zeta):
    return zero_inflated(y, stats.poisson.logpmf(y, np.exp(eta)), -np.exp(eta), zeta)


def zinb_density(y, eta, zeta, delta):
    size = np.exp(delta)
    share = size / (size + np.exp(eta))
    return zero_inflated(y, stats.nbinom.logpmf(y, size, share), size * np.log(share), zeta)


def product_integral(data, fixed, T, parts, log_density, points=40):
    """log L and posterior mean of u of each group, by the rule of ``points`` nodes a dimension on the prior of u.

    Random intercepts only: ``parts`` says to which predictor each of them belongs.
    """
    x, w = np.polynomial.hermite_e.hermegauss(points)
    nodes = np.array(list(itertools.product(x, repeat=len(parts))))
    log_w = np.array([np.sum(np.log(t)) for t in itertools.product(w / w.sum(), repeat=len(parts))])
    values, means = [], []
    for level in sorted(data["g"].unique()):
        rows = np.flatnonzero(data["g"] == level)
        eta = np.repeat(fixed[:, None, rows], len(nodes), axis=1)
        for b, part in zip((nodes @ T.T).T, parts, strict=True):
            eta[part] += b[:, None]
        terms = log_w + log_density(data["y"].to_numpy()[rows], *eta).sum(axis=1)
        values.append(special.logsumexp(terms))
        means.append(np.exp(terms - values[-1]) @ nodes)
    return np.array(values), np.array(means)


TINY = {
    "zip, tied": ("poisson", {"zi": "~ x + (1 | g)", "tie": True}, zip_density),
    "zinb with dispersion": ("negative_binomial", {"zi": "~ 1 + (1 | g)", "dispersion": "~ x"}, zinb_density),
}


@pytest.mark.parametrize("name", TINY)
def test_many_nodes_give_the_integral(name):
    """A product rule of 40 nodes a dimension on the prior, densities from scipy."""
    family, parts, density = TINY[name]
    data = small()
    problem = model(data, family, **parts).problem
    psi = parameters(problem)
    par, beta, _ = problem.split(psi)
    T = np.array([[par[0], 0.0], [par[1], par[2]]]) if "tie" in parts else np.diag(par)
    x = data["x"].to_numpy()
    columns = {"~ x": 2, "~ x + (1 | g)": 2, "~ 1 + (1 | g)": 1}
    widths = [2] + [columns[parts[part]] for part in ("zi", "dispersion") if part in parts]
    pieces = np.split(beta, np.cumsum(widths)[:-1])
    fixed = np.array([b[0] + (b[1] * x if b.size > 1 else 0.0 * x) for b in pieces])
    values, means = product_integral(data, fixed, T, (0, 1), density)
    objective = quadrature(problem, 25)
    assert objective.value(psi) == pytest.approx(-2.0 * values.sum(), rel=1e-8)
    np.testing.assert_allclose(objective.group_log_likelihood(psi), values, rtol=1e-8)
    mean, covariance = objective.posterior_moments(psi)
    np.testing.assert_allclose(mean, means, atol=1e-7)
    assert np.all(np.linalg.eigvalsh(covariance) > 0)


@both
@pytest.mark.parametrize("structure", ["us", "diag"])
def test_one_node_is_laplace(parts, structure):
    problem, psi = one_factor(parts, structure)
    value, gradient = quadrature(problem, 1).value_and_gradient(psi)
    value1, gradient1 = laplace(problem).value_and_gradient(psi)
    assert value == pytest.approx(value1, rel=1e-14)
    np.testing.assert_allclose(gradient, gradient1, rtol=1e-9, atol=1e-9)


def test_predictors_that_do_not_meet_are_models_of_their_own():
    """Diagonal forms and no common term: what one part's parameters change does not depend on the other's."""
    problem, psi = one_factor(2, "diag")
    family = Exponentials(2, n_shape=0)
    family.forms = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, -0.5]])
    objective = quadrature(replace(problem, family=family, phi_names=()), 11)
    first, second = np.zeros(psi.size - 1), np.zeros(psi.size - 1)
    first[[0, problem.n_par]] = 0.3, -0.2
    second[[2, 3, problem.n_par + 2]] = 0.2, -0.1, 0.4
    D = [[objective.value(psi[:-1] + i * first + j * second) for j in range(2)] for i in range(2)]
    assert D[1][1] - D[0][1] == pytest.approx(D[1][0] - D[0][0], abs=1e-9)


# -- the gradient ------------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("structure", ["us", "cs", "diag"])
def test_gradient_of_a_density_that_couples_every_pair(parts, structure):
    problem, psi = one_factor(parts, structure)
    assert_gradient(quadrature(problem, 4), psi)


@both
def test_gradient_near_a_singular_factor(parts):
    """T_22 = 0, where U_11 = 0 for the first effect of the term."""
    problem, psi = one_factor(parts)
    psi[3] = 0.0
    assert_gradient(quadrature(problem, 3), psi)


@pytest.mark.parametrize(
    ("family", "parts"),
    [
        ("poisson", {"zi": "~ x + (1 | g)", "tie": True}),
        ("poisson", {"zi": "~ 1 + (1 | g)", "random": "(1 + x | g)"}),
        ("negative_binomial", {"zi": "~ x + (1 | g)"}),
        ("hurdle.poisson", {"zi": "~ x + (1 | g)", "tie": True}),
        ("negative_binomial", {"dispersion": "~ x + (1 | g)", "tie": True}),
        ("negative_binomial", {"zi": "~ 1 + (1 | g)", "dispersion": "~ x"}),
    ],
    ids=["zip-tied", "zip-slope", "zinb", "hurdle-tied", "dispersion-tied", "three"],
)
def test_gradient(family, parts):
    problem = model(small(groups=6), family, **parts).problem
    assert_gradient(quadrature(problem, 4), parameters(problem))


# -- what it says about the groups -------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("n_agq", [1, 4])
def test_scores_and_weights_of_groups(parts, n_agq):
    """Scores sum to the gradient; a weight of one for a group and zero for others is a model of that group alone."""
    problem, psi = one_factor(parts)
    objective = quadrature(problem, n_agq)
    _, gradient = objective.value_and_gradient(psi)
    scores = objective.group_scores(psi)
    np.testing.assert_allclose(scores.sum(axis=0), -0.5 * gradient, rtol=1e-10, atol=1e-11)
    alone = replace(problem, group_weights=np.eye(6)[2])
    single = likelihood_objective(Pirls(alone), n_agq)
    assert single.value(psi) == pytest.approx(-2.0 * objective.group_log_likelihood(psi)[2], rel=1e-13)
    np.testing.assert_allclose(single.value_and_gradient(psi)[1], -2.0 * scores[2], rtol=1e-10, atol=1e-11)
    assert_gradient(single, psi)


def test_weights_of_groups_repeat_them():
    data = small(groups=9, seed=2).assign(y=lambda d: d["y"] * (1 + d["g"].astype(int) % 3))
    weights = {level: 1.0 + (level == "3") for level in data["g"].unique()}
    again = pd.concat([data, data[data["g"] == "3"].assign(g="again")])
    fits = [model(data, "zi.poisson", group_weights=weights).fit(n_agq=7), model(again, "zi.poisson").fit(n_agq=7)]
    assert fits[0].loglik == pytest.approx(fits[1].loglik, abs=1e-8)
    np.testing.assert_allclose(fits[0].optimum.beta, fits[1].optimum.beta, atol=1e-5)


def test_more_points_until_the_log_likelihood_rests():
    owls = rg.datasets.load("Owls")
    fit = rg.glmer("SiblingNegotiation ~ FoodTreatment + (1 | Nest)", owls, "zi.poisson", n_agq="auto")
    path = fit.agq_path
    assert path["order"].iloc[0] == 1
    assert path["order"].iloc[-1] == fit.n_agq > 1
    assert abs(path["change"].iloc[-1]) < 1e-3
    assert fit.convergence.converged


def test_different_grouping_factors_are_named():
    data = small(groups=8).assign(h=lambda d: np.arange(len(d)) % 3)
    with pytest.raises(NotAvailableError, match=r"n_agq=5 needs random effects of one grouping factor .*g, h"):
        rg.glmer("y ~ x + (1 | g)", data, "poisson", zi="~ 1 + (1 | h)", n_agq=5)


# -- golden numbers (provenance in the file) ---------------------------------------------------------------------------

#: These two-part models are fitted in the quick tests; the others have many random effects, or kernels of their own.
QUICK = ("owls_zip", "owls_zinb", "twopart_zip_zire")
every_golden = pytest.mark.parametrize(
    "entry", [pytest.param(e, marks=[] if e["id"] in QUICK else pytest.mark.slow, id=e["id"]) for e in GOLDEN]
)


@pytest.fixture
def golden_model(shared_data):
    """The model of an entry, and what its log-likelihood counts that the entry's does not."""

    def make(entry):
        data = rg.datasets.load(entry["data"]) if entry["shipped"] else shared_data(entry["data"])
        if "ArrivalTime" in data:
            data = data.assign(cArr=data["ArrivalTime"] - data["ArrivalTime"].mean())
        if "sex" in data:
            data = data.assign(sex=pd.Categorical(data["sex"], ["male", "female"]))
        made = rg.GLMM(entry["formula"], data, entry["family"], zi=entry["zi"], tie=entry["tie"])
        jacobian = -np.log(data.loc[data["y"] > 0, "y"]).sum() if "lognormal" in entry["family"] else 0.0
        return made, jacobian

    return make


@pytest.mark.golden
@every_golden
def test_golden_maxima(entry, golden_model):
    """The tolerances that we claim: log-likelihood 1e-6, estimates 1e-5 and their errors 1e-4 standard errors."""
    made, jacobian = golden_model(entry)
    fit = made.fit(n_agq=entry["n_agq"])
    assert fit.loglik - jacobian == pytest.approx(entry["loglik"], abs=1e-6)
    assert fit.optimum.certificate.converged
    se, first = np.array(entry["se"]), made.problem.n_par
    found = np.concatenate([fit.optimum.beta, np.log(fit.optimum.phi)])
    np.testing.assert_array_less(np.abs(found - entry["coef"]) / se, 1e-5)
    errors = np.sqrt(np.diag(2.0 * np.linalg.inv(fit.optimum.hessian)))[first:]
    np.testing.assert_allclose(errors, se, rtol=1e-4)


@pytest.mark.golden
@every_golden
def test_golden_value_at_the_estimates_of_the_peer(entry, golden_model):
    """The rule itself, away from any maximum; effects of the zero part stand last."""
    made, jacobian = golden_model(entry)
    peer = entry["peer"]
    D = np.array(peer["D"])
    par = np.linalg.cholesky(D).T[np.triu_indices(len(D))] if D.ndim == 2 else np.sqrt(D)
    psi = np.concatenate([par, peer["betas"], peer["gammas"], peer["phis"]])
    value = likelihood_objective(Pirls(made.problem), entry["n_agq"]).value(psi)
    assert -0.5 * value - jacobian == pytest.approx(peer["loglik"], abs=1e-6)
