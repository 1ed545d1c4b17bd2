"""The posterior on nodes: the likelihood of the exact engine, moments by brute force, and scores by differences."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import refglmm as rg
from refglmm.errors import NotAvailableError, NotPositiveDefiniteError
from refglmm.likelihood.posterior import GroupedModel, Values, hermite_rule, student_rule
from refglmm.optimize.em import FrozenObjective, Hybrid


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(11)
    g = np.repeat(np.arange(7), 5)
    x = rng.normal(size=g.size)
    eta = 0.4 + 0.5 * x + rng.normal(size=7)[g] + 0.5 * rng.normal(size=7)[g] * x
    return pd.DataFrame({"g": g.astype(str), "x": x, "y": rng.poisson(np.exp(eta)).astype(float)})


VALUES = {
    "us": Values(np.array([0.3, 0.4]), np.array([[0.8, 0.2], [0.2, 0.5]]), np.empty(0)),
    "diag": Values(np.array([0.3, 0.4]), np.diag([0.8, 0.5]), np.empty(0)),
}


def grouped(data, structure="us", family="poisson"):
    model = rg.GLMM(f"y ~ x + {structure}(1 + x | g)", data, family)
    return model, GroupedModel(model.problem)


@pytest.mark.parametrize("structure", ["us", "diag"])
@pytest.mark.parametrize("order", [1, 4, 9])
def test_the_likelihood_is_that_of_the_exact_engine(data, structure, order):
    model, group = grouped(data, structure)
    values = VALUES[structure]
    start = {"par": group.par(values.D), "beta": values.beta}
    with pytest.warns(rg.errors.ConvergenceWarning):
        fit = model.fit(n_agq=order, start=start, method=Hybrid(iter_em=0, iter_outer=0, polish=False))
    posterior = group.posterior(group.place(values, hermite_rule(order, 2)), values)
    assert posterior.loglik == pytest.approx(fit.loglik, abs=1e-9)


def test_moments_by_brute_force(data):
    """Riemann sums on a fine grid, family density from scipy, for the first group."""
    _, group = grouped(data)
    values = VALUES["us"]
    posterior = group.posterior(group.place(values, hermite_rule(25, 2)), values)
    rows = group.codes == 0
    axis = np.linspace(-6.0, 6.0, 401)
    b = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    eta = (group.problem.X[rows] @ values.beta)[:, None] + group.Z[rows] @ b.T
    density = np.exp(stats.poisson(np.exp(eta)).logpmf(group.problem.y[rows, None]).sum(axis=0))
    mass = density * stats.multivariate_normal(np.zeros(2), values.D).pdf(b)
    cell = (axis[1] - axis[0]) ** 2
    assert posterior.log_likelihoods[0] == pytest.approx(np.log(mass.sum() * cell), abs=1e-7)
    np.testing.assert_allclose(posterior.mean()[0], mass @ b / mass.sum(), atol=1e-6)
    np.testing.assert_allclose(posterior.second_moment()[0], (b.T * mass) @ b / mass.sum(), atol=1e-6)


@pytest.mark.parametrize("df", [5.0, np.inf])
def test_random_nodes_agree_within_their_error(data, df):
    _, group = grouped(data)
    values = VALUES["us"]
    exact = group.posterior(group.place(values, hermite_rule(15, 2)), values)
    rule = student_rule(20_000, group.groups, 2, df, np.random.default_rng(5))
    drawn = group.posterior(group.place(values, rule), values)
    np.testing.assert_allclose(drawn.log_likelihoods, exact.log_likelihoods, atol=0.02)
    np.testing.assert_allclose(drawn.mean(), exact.mean(), atol=0.03)


def test_weights_of_random_nodes_integrate_a_normal_density_to_one():
    rule = student_rule(200_000, 1, 3, 4.0, np.random.default_rng(2))
    mass = np.exp(rule.log_weight[0] + stats.multivariate_normal(np.zeros(3)).logpdf(rule.z[0]))
    assert mass.sum() == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(("structure", "family"), [("us", "poisson"), ("diag", "poisson"), ("us", "nbinom2")])
def test_frozen_scores_are_the_derivative_of_the_frozen_likelihood(data, structure, family):
    _, group = grouped(data, structure, family)
    values = VALUES[structure]._replace(phi=np.array([1.7]) if family == "nbinom2" else np.empty(0))
    frozen = FrozenObjective(group, group.place(values, hermite_rule(5, 2)))
    x = frozen.vector(values) + 0.05
    near, far = (
        np.array([frozen.value(x + h) - frozen.value(x - h) for h in size * np.eye(x.size)]) for size in (1e-3, 2e-3)
    )
    np.testing.assert_allclose(frozen.gradient(x), (8.0 * near - far) / 12e-3, rtol=1e-7, atol=1e-7)
    posterior = group.posterior(frozen.nodes, frozen.values(x))
    scores = frozen.node_scores(posterior, frozen.values(x))
    np.testing.assert_allclose(-np.einsum("gk,gkd->d", posterior.p, scores), frozen.gradient(x), rtol=1e-10, atol=1e-10)


def test_what_it_does_not_know_is_refused(data):
    model = rg.GLMM("y ~ x + (1 | g) + (0 + x | g)", data, "poisson")
    with pytest.raises(NotAvailableError, match=r"needs one random-effects term .*; this model has 2 terms \(us, us\)"):
        GroupedModel(model.problem, purpose="mcem()")
    _, group = grouped(data)
    with pytest.raises(NotPositiveDefiniteError, match="the covariance D has become singular"):
        group.place(VALUES["us"]._replace(D=np.ones((2, 2))), hermite_rule(3, 2))
