"""Quadrature for several random effects a group: brute-force integrals, the rule itself, its exact gradient."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import oracles
import pytest
from problems import (
    BY_NAME,
    DESIGN,
    Design,
    assert_gradient,
    build,
    intercepts,
    laplace,
    quadrature,
    simulated,
    split_factors,
)
from scipy import linalg, special

import refglmm as rg
from refglmm.covariance import make_structure
from refglmm.families.registry import get_family
from refglmm.likelihood import agq
from refglmm.likelihood.agq import likelihood_objective
from refglmm.likelihood.layout import build_layout
from refglmm.likelihood.pirls import Pirls

GOLDEN = json.loads((Path(__file__).parent / "golden_agq.json").read_text(encoding="utf-8"))["fits"]
ONE_FACTOR = ("balanced-us2", "same-factor-twice", "cs3", "hom-diag3", "hom-ar13", "ar1-3-het")


def columns_of(terms):
    """Random-effects columns of all terms, side by side, and the groups."""
    return np.hstack([columns for _, columns, _ in terms]), terms[0][0], terms[0][2]


def dense_factor(problem, par):
    """T of all terms."""
    return linalg.block_diag(*split_factors(problem.structures, par))


def small(case, structures, columns, levels=3, rows=4, seed=5):
    """(problem, psi, terms): few groups, rows in random order, one group of a single row, moderate deviations."""
    rng = np.random.default_rng(seed)
    codes = rng.permutation(np.append(np.repeat(np.arange(levels - 1), rows), levels - 1))
    n = codes.size
    x, z = rng.uniform(-1, 1, n), rng.uniform(-1, 1, n)
    every = {"1": np.ones(n), "x": x, "z": z}
    terms = tuple((codes, np.column_stack([every[c] for c in names]), levels) for names in columns)
    design = Design("small", np.column_stack([np.ones(n), x]), terms, tuple(make_structure(*s) for s in structures))
    return *simulated(case, design, seed), terms


def product_integral(case, problem, psi, terms, points):
    """-2 log L of each group: the rule of ``points`` nodes a dimension on the prior of u, densities from scipy."""
    par, beta, _ = problem.split(psi)
    T, (Z, codes, levels) = dense_factor(problem, par), columns_of(terms)
    x, w = np.polynomial.hermite_e.hermegauss(points)
    nodes = np.array(list(itertools.product(x, repeat=Z.shape[1])))
    log_w = np.array([np.sum(np.log(t)) for t in itertools.product(w / w.sum(), repeat=Z.shape[1])])
    fixed, values, means = problem.offset + problem.X @ beta, [], []
    for level in range(levels):
        keep = codes == level
        eta = fixed[keep] + nodes @ T.T @ Z[keep].T
        mu = oracles.INVERSE_LINK[case.link](eta)
        log_f = oracles.log_density(case.family, problem.y[keep], mu, problem.weights[keep], case.phi)
        terms_ = log_w + log_f.sum(axis=1)
        values.append(special.logsumexp(terms_))
        means.append(np.exp(terms_ - values[-1]) @ nodes)
    return np.array(values), np.array(means)


TINY = [
    ("binomial-logit", [("us", 1, False)], ["1"]),
    ("binomial-probit", [("us", 2, False)], ["1x"]),
    ("poisson-log", [("us", 1, False), ("us", 1, False)], ["1", "x"]),
    ("gamma-log", [("us", 2, False)], ["1x"]),
    ("negative_binomial-log", [("us", 2, False), ("us", 1, False)], ["1x", "z"]),
]
every_tiny = pytest.mark.parametrize(("name", "structures", "columns"), TINY, ids=[t[0] for t in TINY])


@every_tiny
def test_many_nodes_give_the_integral(name, structures, columns):
    """A product rule of 40 nodes a dimension on the prior, another place and another root than ours."""
    case = BY_NAME[name]
    problem, psi, terms = small(case, structures, columns)
    values, means = product_integral(case, problem, psi, terms, 40)
    objective = quadrature(problem, 20)
    assert objective.value(psi) == pytest.approx(-2.0 * values.sum(), rel=1e-8)
    np.testing.assert_allclose(objective.group_log_likelihood(psi), values, rtol=1e-8)
    mean, covariance = objective.posterior_moments(psi)
    np.testing.assert_allclose(mean, means, atol=1e-7)
    assert np.all(np.linalg.eigvalsh(covariance) > 0)


def literal_rule(case, problem, psi, terms, points):
    """-2 log L as GLMMadaptive defines it, in b, with the upper triangular root of the curvature in b; dense."""
    par, beta, _ = problem.split(psi)
    T, (Z, codes, levels) = dense_factor(problem, par), columns_of(terms)
    q = Z.shape[1]
    D_inverse, log_det_D = np.linalg.inv(T @ T.T), np.linalg.slogdet(T @ T.T)[1]
    x, w = special.roots_hermite(points)
    nodes = np.array(list(itertools.product(x, repeat=q)))
    log_w = np.array([np.sum(np.log(t)) for t in itertools.product(w, repeat=q)])
    fixed, total = problem.offset + problem.X @ beta, 0.0
    for level in range(levels):
        keep = codes == level
        rows = oracles.Rows(case.family, case.link, problem.y[keep], problem.weights[keep], case.phi)
        mode = T @ oracles.dense_mode(rows, fixed[keep], Z[keep] @ T)
        H = Z[keep].T @ (rows.h(fixed[keep] + Z[keep] @ mode)[:, None] * Z[keep]) + D_inverse
        R = np.linalg.cholesky(H).T
        b = mode + np.sqrt(2.0) * np.linalg.solve(R, nodes.T).T
        log_f = np.array([rows.l(fixed[keep] + Z[keep] @ node).sum() for node in b])
        log_prior = -0.5 * (q * np.log(2.0 * np.pi) + log_det_D + np.einsum("ki,ij,kj->k", b, D_inverse, b))
        brace = log_w + np.sum(nodes**2, axis=1) + log_f + log_prior
        total += 0.5 * q * np.log(2.0) - np.linalg.slogdet(R)[1] + special.logsumexp(brace)
    return -2.0 * total


@every_tiny
@pytest.mark.parametrize("points", [2, 3])
def test_few_nodes_stand_where_the_peer_puts_them(name, structures, columns, points):
    """With few nodes the value depends on the root of the curvature: the literal rule in b."""
    case = BY_NAME[name]
    problem, psi, terms = small(case, structures, columns)
    assert quadrature(problem, points).value(psi) == pytest.approx(
        literal_rule(case, problem, psi, terms, points), rel=1e-9
    )


@pytest.mark.parametrize("design", ONE_FACTOR)
@pytest.mark.parametrize("name", ["binomial-logit", "binomial-probit", "gamma-log", "negative_binomial-log"])
def test_gradient(name, design):
    """Structures of one to three columns, canonical or not, with shape parameters or without; both curvatures."""
    problem, psi = simulated(BY_NAME[name], DESIGN[design])
    for curvature in ("observed", "expected"):
        assert_gradient(quadrature(problem, 4, curvature), psi)


@pytest.mark.parametrize("design", ONE_FACTOR)
def test_one_node_is_laplace(design):
    problem, psi = simulated(BY_NAME["binomial-cloglog"], DESIGN[design])
    value, gradient = quadrature(problem, 1).value_and_gradient(psi)
    value1, gradient1 = laplace(problem).value_and_gradient(psi)
    assert value == pytest.approx(value1, rel=1e-14)
    np.testing.assert_allclose(gradient, gradient1, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("last", [0.0, 1e-9, 1e-3, -1e-3])
@pytest.mark.parametrize("k", [3, 4])
def test_near_a_correlation_of_one_value_and_gradient_hold(last, k):
    """T_22 = 0: U_11 = 0, one direction of u without effect. D is even in T_22 and smooth through zero."""
    problem, psi = simulated(BY_NAME["poisson-log"], DESIGN["balanced-us2"])
    psi[2] = last
    objective = quadrature(problem, k)
    assert_gradient(objective, psi)
    mirrored = psi.copy()
    mirrored[2] = -last
    assert objective.value(psi) == pytest.approx(objective.value(mirrored), rel=1e-13)


@pytest.mark.parametrize("par", [(0.0, 0.0), (0.5, 0.0), (0.0, 0.5)])
def test_zero_variances(par):
    """(1 | g) + (0 + x | g) with a variance of zero is the model without that term; stationary there."""
    case = BY_NAME["binomial-logit"]
    problem, psi = simulated(case, DESIGN["same-factor-twice"])
    psi[:2] = par
    value, gradient = quadrature(problem, 5).value_and_gradient(psi)
    np.testing.assert_allclose(gradient[:2][np.array(par) == 0.0], 0.0, atol=1e-10)
    kept = [j for j in range(2) if par[j] > 0] or [0]
    terms = [DESIGN["same-factor-twice"].terms[j] for j in kept]
    structures = [make_structure("us", 1) for _ in kept]
    simpler = build(case.object, problem.X, terms, structures, problem.y, problem.weights, problem.offset)
    assert value == pytest.approx(quadrature(simpler, 5).value(np.r_[[par[j] for j in kept], psi[2:]]), rel=1e-13)


def test_the_order_of_rows_and_the_cut_into_blocks_do_not_matter(monkeypatch):
    case = BY_NAME["negative_binomial-log"]
    problem, psi, terms = small(case, [("us", 2, False)], ["1x"], levels=7)
    value, gradient = quadrature(problem, 6).value_and_gradient(psi)
    order = np.random.default_rng(1).permutation(problem.n)
    moved = [(codes[order], columns[order], levels) for codes, columns, levels in terms]
    shuffled = build(
        case.object, problem.X[order], moved, problem.structures, problem.y[order], problem.weights[order],
        problem.offset[order],
    )  # fmt: skip
    again = quadrature(shuffled, 6).value_and_gradient(psi)
    assert again[0] == pytest.approx(value, rel=1e-13)
    np.testing.assert_allclose(again[1], gradient, rtol=1e-9, atol=1e-10)
    monkeypatch.setattr(agq, "NODES_AT_A_TIME", 5)
    monkeypatch.setattr(agq, "CELLS_AT_A_TIME", 20)
    objective = quadrature(problem, 6)
    assert len(objective._blocks) > 3
    assert objective.grid.log_weight.size > 36  # the last batch is filled up
    pieces = objective.value_and_gradient(psi)
    assert pieces[0] == pytest.approx(value, rel=1e-13)
    np.testing.assert_allclose(pieces[1], gradient, rtol=1e-9, atol=1e-10)


def test_a_level_without_rows_integrates_to_one():
    case = BY_NAME["poisson-log"]
    problem, psi, terms = small(case, [("us", 1, False), ("us", 1, False)], ["1", "x"])
    wider = [(np.where(codes == 2, 4, codes), columns, 6) for codes, columns, _ in terms]
    layout = build_layout([t[0] for t in wider], [t[1] for t in wider], [6, 6], problem.n)
    objective, more = quadrature(problem, 5), quadrature(replace(problem, layout=layout), 5)
    value, gradient = objective.value_and_gradient(psi)
    value2, gradient2 = more.value_and_gradient(psi)
    assert value2 == pytest.approx(value, rel=1e-14)
    np.testing.assert_allclose(gradient2, gradient, rtol=1e-12)
    np.testing.assert_allclose(more.group_log_likelihood(psi)[[2, 3, 5]], 0.0, atol=1e-14)


@pytest.mark.parametrize("n_agq", [1, 4])
def test_scores_of_groups_sum_to_the_gradient_and_are_those_of_each_group(n_agq):
    """A group weighted with one and the others with zero is a model of that group alone."""
    problem, psi, terms = small(BY_NAME["gamma-log"], [("us", 2, False)], ["1x"])
    objective = quadrature(problem, n_agq)
    _, gradient = objective.value_and_gradient(psi)
    scores = objective.group_scores(psi)
    assert scores.shape == (terms[0][2], psi.size)
    np.testing.assert_allclose(scores.sum(axis=0), -0.5 * gradient, rtol=1e-10, atol=1e-11)
    alone = replace(problem, group_weights=np.array([0.0, 1.0, 0.0]))
    single = likelihood_objective(Pirls(alone), n_agq)
    assert single.value(psi) == pytest.approx(-2.0 * objective.group_log_likelihood(psi)[1], rel=1e-13)
    np.testing.assert_allclose(single.value_and_gradient(psi)[1], -2.0 * scores[1], rtol=1e-10, atol=1e-11)
    assert_gradient(single, psi)


def test_scores_are_there_after_a_value_and_after_differences():
    problem, psi = simulated(BY_NAME["binomial-logit"], DESIGN["balanced-us2"])
    expected = quadrature(problem, 5).value_and_gradient(psi)[1]
    objective = quadrature(problem, 5)
    objective.value(psi)
    np.testing.assert_allclose(objective.value_and_gradient(psi)[1], expected, rtol=1e-12)
    objective.gradient_nearby(psi)(psi + 1e-3)
    np.testing.assert_allclose(-2.0 * objective.group_scores(psi).sum(axis=0), expected, rtol=1e-9, atol=1e-9)


def test_the_objective_of_a_fit():
    problem, _, _ = intercepts(BY_NAME["binomial-logit"])
    assert likelihood_objective(Pirls(problem), 1).name == "Laplace"
    assert likelihood_objective(Pirls(problem), 3).name == "AGQ"
    weighted = replace(problem, group_weights=np.ones(8))
    assert likelihood_objective(Pirls(weighted), 1).name == "AGQ"


# -- golden numbers (provenance in the file) ---------------------------------------------------------------------------


def golden_model(entry):
    """The model of an entry; that of bacteria_weighted has weights 1, 2, 3, 1, ... in the order of the levels."""
    data = rg.datasets.load(entry["data"])
    weights = None
    if entry["id"] == "bacteria_weighted":
        weights = {level: 1 + j % 3 for j, level in enumerate(sorted(data["ID"].unique()))}
    return rg.GLMM(entry["formula"], data, get_family(entry["family"], entry["link"]), group_weights=weights)


def golden_id(entry):
    return f"{entry['id']}-{entry['n_agq']}"


@pytest.mark.golden
@pytest.mark.parametrize(
    "entry",
    [pytest.param(e, marks=[pytest.mark.slow] if e["n_agq"] > 21 and "slope" in e["id"] else []) for e in GOLDEN],
    ids=golden_id,
)
def test_golden_maxima(entry):
    """The tolerances that we claim: log-likelihood 1e-6, coefficients 1e-5 and their errors 1e-4 standard errors."""
    fit = golden_model(entry).fit(n_agq=entry["n_agq"])
    assert fit.loglik == pytest.approx(entry["loglik"], abs=1e-6)
    assert fit.optimum.certificate.converged
    se = np.array(entry["se"])
    np.testing.assert_array_less(np.abs(fit.beta - entry["betas"]) / se, 1e-5)
    np.testing.assert_allclose(fit.se, se, rtol=1e-4)


@pytest.mark.golden
@pytest.mark.parametrize("entry", [e for e in GOLDEN if e["n_agq"] <= 21], ids=golden_id)
def test_golden_value_at_the_estimates_of_the_peer(entry):
    """The rule itself, away from any maximum (GLMMadaptive's phi is log size or log shape)."""
    model, peer = golden_model(entry), entry["peer"]
    D = np.atleast_2d(peer["D"])
    T = np.linalg.cholesky(D)
    par = np.sqrt(np.diag(D)) if "||" in entry["formula"] else T.T[np.triu_indices(len(D))]
    log_phi = [] if peer["phis"] is None else [peer["phis"]["phi_1"]]
    log_phi = np.array(log_phi) * (-1.0 if entry["family"] == "gamma" else 1.0)
    objective = likelihood_objective(Pirls(model.problem), entry["n_agq"])
    value = objective.value(np.concatenate([par, peer["betas"], log_phi]))
    assert -0.5 * value == pytest.approx(peer["loglik"], abs=1e-6)
