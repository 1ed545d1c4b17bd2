"""Whole fits on hand-built problems: optima, certificates, starts, determinism, brute-force maximum
likelihood.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import oracles
import pytest
from problems import BY_NAME, CASES, DESIGN, build, intercepts, laplace, simulated

import refglmm as rg
from refglmm.covariance import make_structure
from refglmm.errors import DataError, OptimizationError
from refglmm.families.registry import get_family
from refglmm.optimize.control import Control
from refglmm.optimize.two_stage import fit_glmm, fit_linear

NEWTON = Control()
BOBYQA = Control(optimizer=("bobyqa", "bobyqa"))

every_case = pytest.mark.parametrize("case", CASES, ids=str)


@pytest.fixture(scope="module")
def cbpp():
    data = rg.datasets.load("cbpp")
    period, herd = data["period"].cat.codes.to_numpy(), data["herd"].cat.codes.to_numpy()
    X = np.column_stack([np.ones(56), period == 1, period == 2, period == 3])
    size = data["size"].to_numpy(float)
    return build(
        get_family("binomial"), X, [(herd, np.ones((56, 1)), 15)], [make_structure("us", 1)],
        data["incidence"].to_numpy() / size, size,
    )  # fmt: skip


def sleep(family, link, columns=1, structure="us"):
    """Reaction ~ Days + (1 | Subject), or (Days | Subject)."""
    data = rg.datasets.load("sleepstudy")
    X = np.column_stack([np.ones(180), data["Days"].to_numpy(float)])
    terms = [(data["Subject"].cat.codes.to_numpy(), X[:, :columns].copy(), 18)]
    y = data["Reaction"].to_numpy(float)
    return build(get_family(family, link), X, terms, [make_structure(structure, columns)], y, np.ones(180))


# -- optima --------------------------------------------------------------------------------------------------


@every_case
def test_an_interior_optimum_is_certified_and_stationary(case):
    """One random intercept, 25 groups: differences of the value, not the gradient in use, say it is
    stationary.
    """
    problem, _, _ = intercepts(case, levels=25, rows=8, seed=11)
    optimum, mode = fit_glmm(problem, 1, NEWTON)
    assert optimum.certificate.converged, optimum.certificate
    assert optimum.certificate.newton_decrement < 1e-8
    psi = problem.join(optimum.par, optimum.beta, optimum.phi)
    objective = laplace(problem)
    assert objective.value(psi) == pytest.approx(optimum.value, rel=1e-12)
    assert -2 * mode.log_density + mode.penalty + mode.logdet_L2 == pytest.approx(optimum.value, rel=1e-12)
    if optimum.certificate.singular:
        return
    slope = oracles.gradient_5_point(objective.value, psi, 1e-3 * np.maximum(np.abs(psi), 0.05))
    assert 0.5 * slope @ np.linalg.solve(optimum.hessian, slope) < 1e-8
    # the Hessian by differences of values
    size = 2e-3 * np.maximum(np.abs(psi), 0.05)
    for j in range(psi.size):
        e = np.where(np.arange(psi.size) == j, size, 0.0)
        f = [objective.value(psi + m * e) for m in range(-2, 3)]
        second = (-f[0] + 16 * f[1] - 30 * f[2] + 16 * f[3] - f[4]) / (12 * size[j] ** 2)
        assert optimum.hessian[j, j] == pytest.approx(second, rel=1e-3, abs=1e-4 * np.max(np.abs(optimum.hessian[j])))


def test_the_interior_cases_are_interior():
    """The test above checks slopes where the fit is not singular: that is nearly everywhere."""
    singular = 0
    for case in CASES:
        optimum, _ = fit_glmm(intercepts(case, levels=25, rows=8, seed=11)[0], 1, NEWTON)
        singular += optimum.certificate.singular
    assert singular <= 3


@pytest.mark.parametrize("design", ["balanced-us2", "crossed-us2+us1", "nested", "same-factor-twice", "hom-diag3"])
@pytest.mark.parametrize("name", ["binomial-logit", "poisson-log", "gamma-log", "negative_binomial-log"])
def test_never_worse_than_bobyqa(name, design):
    """Newton's value is at most BOBYQA's, and its verdict is positive whether or not the fit is singular."""
    problem, _ = simulated(BY_NAME[name], DESIGN[design], seed=2)
    newton, _ = fit_glmm(problem, 1, NEWTON)
    bobyqa, _ = fit_glmm(problem, 1, BOBYQA)
    assert newton.value <= bobyqa.value + 1e-6
    assert newton.certificate.converged, newton.certificate


@pytest.mark.parametrize("seed", [1, 5])
@pytest.mark.parametrize("design", ["cs3", "ar1-3-het", "hom-ar13"])
@pytest.mark.parametrize("name", ["binomial-logit", "gaussian-log", "gamma-inverse"])
def test_structured_covariances_are_never_worse_than_bobyqa(name, design, seed):
    """Correlation parameters at their bounds, standard deviations at zero: still the better optimum,
    certified.
    """
    problem, _ = simulated(BY_NAME[name], DESIGN[design], seed=seed)
    newton, _ = fit_glmm(problem, 1, NEWTON)
    bobyqa, _ = fit_glmm(problem, 1, BOBYQA)
    assert newton.value <= bobyqa.value + 1e-6
    assert newton.certificate.converged, newton.certificate


def test_a_vanishing_first_column_of_an_unstructured_term_is_still_judged():
    """T11 = 0 leaves only T21^2 + T22^2 determined; the verdict must not suffer, nor the optimum."""
    problem, _ = simulated(BY_NAME["inverse_gaussian-inverse"], DESIGN["balanced-us2"], seed=5)
    newton, _ = fit_glmm(problem, 1, NEWTON)
    bobyqa, _ = fit_glmm(problem, 1, BOBYQA)
    assert newton.value <= bobyqa.value + 1e-6
    assert newton.certificate.singular
    assert newton.certificate.converged, newton.certificate


@pytest.mark.parametrize("n_agq", [0, 1, 7])
@pytest.mark.parametrize("optimizer", ["bobyqa", "nelder_mead"])
def test_optimisers_agree(cbpp, n_agq, optimizer):
    newton, _ = fit_glmm(cbpp, n_agq, NEWTON)
    other, _ = fit_glmm(cbpp, n_agq, Control(optimizer=(optimizer, optimizer)))
    assert other.value == pytest.approx(newton.value, abs=1e-7)
    np.testing.assert_allclose(other.beta, newton.beta, atol=2e-4)
    np.testing.assert_allclose(other.par, newton.par, atol=2e-4)
    assert other.certificate.converged
    assert {report.optimizer for report in other.stages} == {optimizer}


@pytest.mark.golden
def test_cbpp_exact(cbpp):
    """Independent dense emulation with the inner problem solved to rounding: theta, beta, -2 log L and its
    pieces.
    """
    optimum, mode = fit_glmm(cbpp, 1, NEWTON)
    # the emulation was optimised without gradients: ours is lower by 1e-8
    assert 2 * 92.0262818715 - 3e-8 < optimum.value <= 2 * 92.0262818715
    assert optimum.par[0] == pytest.approx(0.6422614464, abs=1e-7)
    np.testing.assert_allclose(optimum.beta, [-1.3985320989, -0.9923327977, -1.1286720939, -1.5803138810], atol=2e-7)
    assert mode.logdet_L2 == pytest.approx(16.90101172, abs=1e-6)
    assert mode.penalty == pytest.approx(9.72312098, abs=1e-6)
    assert -2 * mode.log_density == pytest.approx(157.4284310, abs=1e-6)
    assert mode.deviance == pytest.approx(73.4717235, abs=1e-5)
    variance = 2 * np.linalg.inv(optimum.hessian)
    np.testing.assert_allclose(
        np.sqrt(np.diag(variance))[1:], [0.2324718619, 0.3066422283, 0.3266375544, 0.4274360647], rtol=2e-6
    )


@pytest.mark.golden
@pytest.mark.parametrize(("k", "loglik"), [(2, -92.0353695), (5, -91.9840379), (10, -91.9833688), (25, -91.9833690)])
def test_cbpp_quadrature(cbpp, k, loglik):
    """lme4's relative values plus the exact constant of the saturated model; absolute at every k."""
    optimum, _ = fit_glmm(cbpp, k, NEWTON)
    assert -0.5 * optimum.value == pytest.approx(loglik, abs=1e-7)
    if k == 25:
        assert optimum.par[0] == pytest.approx(0.6475185, abs=2e-5)
        np.testing.assert_allclose(optimum.beta, [-1.3992305, -0.9914037, -1.1278195, -1.5794707], atol=2e-5)


# -- families with a dispersion ------------------------------------------------------------------------------

#: Maximum likelihood by brute force, sleepstudy Reaction ~ Days + (1 | Subject): an own one-dimensional
#: Laplace
#: and an own 31-point quadrature, optimised separately (NumPy, no code shared). logLik, beta, sd, sqrt(phi).
BRUTE_FORCE = [
    ("gamma", "log", 1, -883.5783, (5.53394, 0.033845), 0.12459, 0.0966417),
    ("gamma", "log", 31, -883.5773, (5.53395, 0.0338451), 0.12459, 0.0966421),
    ("gamma", "identity", 1, -891.0197, (256.16, 9.35037), 33.995, 0.101825),
    ("gamma", "identity", 31, -891.0061, (256.162, 9.35027), 34.006, 0.101831),
    ("gamma", "inverse", 1, -879.0696, (0.00395986, -0.000116013), 0.00045068, 0.0932778),
    ("gamma", "inverse", 31, -879.0691, (0.00395986, -0.000116013), 0.0004507, 0.0932776),
    ("inverse_gaussian", "log", 1, -882.6204, (5.53934, 0.0325868), 0.12269, 0.00562666),
    ("inverse_gaussian", "log", 31, -882.6072, (5.53934, 0.0325872), 0.12271, 0.00562698),
    ("inverse_gaussian", "identity", 1, -890.0268, (257.975, 8.84224), 33.231, 0.00592676),
    ("inverse_gaussian", "identity", 31, -889.9883, (257.979, 8.84209), 33.261, 0.0059276),
]


@pytest.mark.golden
@pytest.mark.parametrize(("family", "link", "n_agq", "loglik", "beta", "sd", "root_phi"), BRUTE_FORCE)
def test_dispersion_families_against_brute_force(family, link, n_agq, loglik, beta, sd, root_phi):
    """To the digits printed, give or take what the other, derivative-free optimiser left (2e-5 of a
    slope).
    """
    optimum, _ = fit_glmm(sleep(family, link), n_agq, NEWTON)
    assert optimum.certificate.converged, optimum.certificate
    assert -0.5 * optimum.value == pytest.approx(loglik, abs=1e-4)
    np.testing.assert_allclose(optimum.beta, beta, rtol=2e-5)
    assert optimum.par[0] == pytest.approx(sd, rel=1e-4)
    assert np.sqrt(optimum.phi[0]) == pytest.approx(root_phi, rel=1e-5)


@pytest.fixture(scope="module")
def simulated_gamma():
    """(problem, integral): 12 groups of 5, shape 10, SD .5, and the true marginal deviance."""
    rng = np.random.default_rng(643)
    codes = np.repeat(np.arange(12), 5)
    x = np.tile(np.linspace(-1, 1, 5), 12)
    X, ones = np.column_stack([np.ones(60), x]), np.ones(60)
    y = rng.gamma(10.0, np.exp(1.0 + 0.5 * x + 0.5 * rng.standard_normal(12)[codes]) / 10.0)
    problem = build(get_family("gamma", "log"), X, [(codes, ones[:, None], 12)], [make_structure("us", 1)], y, ones)

    def integral(par, beta, phi):
        return oracles.integrated_deviance("gamma", "log", y, ones, phi, X @ beta, par * ones, codes, 12)

    return problem, integral


@pytest.mark.parametrize(("n_agq", "tolerance"), [(1, 1e-2), (15, 1e-3)])
def test_simulated_gamma_of_shape_10_reports_the_true_integral(simulated_gamma, n_agq, tolerance):
    """The log-likelihood at our estimates is that of brute-force integration; lme4's is 30 units off on such data."""
    problem, integral = simulated_gamma
    optimum, _ = fit_glmm(problem, n_agq, NEWTON)
    true = integral(optimum.par[0], optimum.beta, optimum.phi[0])
    assert -0.5 * optimum.value == pytest.approx(-0.5 * true, abs=tolerance)
    assert 0.25 < optimum.par[0] < 0.8  # lme4 reports .88 where true maximum likelihood gives .43
    assert 5 < 1 / optimum.phi[0] < 25


@pytest.mark.slow
def test_simulated_gamma_of_shape_10_maximises_the_true_integral(simulated_gamma):
    """A step of .02 in any parameter lowers the brute-force likelihood."""
    problem, integral = simulated_gamma
    optimum, _ = fit_glmm(problem, 15, NEWTON)
    here = np.concatenate([optimum.par, optimum.beta, np.log(optimum.phi)])
    best = integral(here[0], here[1:3], np.exp(here[3]))
    for step in np.vstack([0.02 * np.eye(4), -0.02 * np.eye(4)]):
        there = here + step
        assert integral(there[0], there[1:3], np.exp(there[3])) > best


# -- invariances of the fit ----------------------------------------------------------------------------------


@pytest.mark.parametrize("n_agq", [0, 1, 5])
def test_the_same_fit_twice_is_bit_equal(n_agq):
    problem, _, _ = intercepts(BY_NAME["negative_binomial-log"], levels=15)
    one, mode1 = fit_glmm(problem, n_agq, NEWTON)
    two, mode2 = fit_glmm(problem, n_agq, NEWTON)
    assert one.value == two.value
    for name in ("par", "beta", "phi", "hessian", "gradient"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    np.testing.assert_array_equal(mode1.u, mode2.u)
    assert one.n_evaluations == two.n_evaluations


@pytest.mark.parametrize("factor", [1e-4, 1e5])
def test_a_rescaled_column_changes_its_coefficient_only(cbpp, factor):
    """Value, certificate and number of evaluations stay; beta_j and its SE are divided by the factor."""
    scaled = replace(cbpp, X=cbpp.X * [1.0, factor, 1.0, 1.0])
    plain, _ = fit_glmm(cbpp, 1, NEWTON)
    other, _ = fit_glmm(scaled, 1, NEWTON)
    assert other.value == pytest.approx(plain.value, abs=1e-9)
    assert other.beta[1] * factor == pytest.approx(plain.beta[1], rel=1e-5)
    np.testing.assert_allclose(np.delete(other.beta, 1), np.delete(plain.beta, 1), rtol=1e-5)
    assert other.certificate.converged
    np.testing.assert_allclose(other.certificate.eigenvalues, plain.certificate.eigenvalues, rtol=1e-4)
    S = np.array([1.0, 1.0, factor, 1.0, 1.0])
    np.testing.assert_allclose(other.hessian / np.outer(S, S), plain.hessian, rtol=1e-3, atol=1e-3)


def test_a_rescaled_random_slope_changes_its_deviation_only():
    problem, _ = simulated(BY_NAME["poisson-log"], DESIGN["same-factor-twice"], seed=2)
    terms = list(DESIGN["same-factor-twice"].terms)
    terms[1] = (terms[1][0], terms[1][1] * 1e4, terms[1][2])
    scaled = build(problem.family, problem.X, terms, problem.structures, problem.y, problem.weights, problem.offset)
    plain, _ = fit_glmm(problem, 1, NEWTON)
    other, _ = fit_glmm(scaled, 1, NEWTON)
    assert other.value == pytest.approx(plain.value, abs=1e-8)
    assert other.par[1] * 1e4 == pytest.approx(plain.par[1], rel=1e-4, abs=1e-6)


def test_the_order_of_rows_does_not_matter(cbpp):
    order = np.random.default_rng(3).permutation(56)
    codes = cbpp.layout.index[:, 0]
    shuffled = build(
        cbpp.family, cbpp.X[order], [(codes[order], np.ones((56, 1)), 15)], cbpp.structures, cbpp.y[order],
        cbpp.weights[order],
    )  # fmt: skip
    one, two = fit_glmm(cbpp, 1, NEWTON)[0], fit_glmm(shuffled, 1, NEWTON)[0]
    assert two.value == pytest.approx(one.value, abs=1e-10)
    np.testing.assert_allclose(two.beta, one.beta, atol=1e-6)


def test_weight_two_is_the_data_twice_for_an_estimated_size():
    """All weights 2: the deviance is that of every row duplicated, at the same estimates (lme4 gets this
    wrong).
    """
    problem, _, terms = intercepts(BY_NAME["negative_binomial-log"], levels=15)
    codes, Z, levels = terms[0]
    weighted = problem.with_response(problem.y, np.full(problem.n, 2.0))
    keep = np.concatenate([np.arange(problem.n)] * 2)
    doubled = build(
        problem.family, problem.X[keep], [(codes[keep], Z[keep], levels)], problem.structures,
problem.y[keep],
        np.ones(keep.size),
    )  # fmt: skip
    one, two = fit_glmm(weighted, 1, NEWTON)[0], fit_glmm(doubled, 1, NEWTON)[0]
    assert one.value == pytest.approx(two.value, abs=1e-8)
    np.testing.assert_allclose(one.phi, two.phi, rtol=1e-4)


# -- singular, starts, limits --------------------------------------------------------------------------------


def test_a_singular_fit_is_converged_and_named():
    """Groups more alike than chance: the variance is 0, the value that of the GLM."""
    y = np.tile([0.0, 1.0, 2.0, 3.0], 6)
    codes = np.repeat(np.arange(6), 4)
    problem = build(
        get_family("poisson"),
        np.ones((24, 1)),
        [(codes, np.ones((24, 1)), 6)],
        [make_structure("us", 1)],
        y,
        np.ones(24),
    )
    optimum, _ = fit_glmm(problem, 1, NEWTON)
    assert optimum.par[0] == 0.0
    assert optimum.beta[0] == pytest.approx(np.log(1.5), abs=1e-7)
    glm = -2 * oracles.log_density("poisson", y, np.full(24, 1.5), np.ones(24)).sum()
    assert optimum.value == pytest.approx(glm, abs=1e-9)
    assert optimum.certificate.singular
    assert optimum.certificate.converged
    assert optimum.certificate.boundary == ("g0.c0",)


def test_any_reasonable_start_ends_at_the_same_optimum(cbpp):
    default, _ = fit_glmm(cbpp, 1, NEWTON)
    for start in ({"par": [3.0]}, {"par": [0.05]}, {"beta": [1.0, 1.0, 1.0, 1.0]}, {"par": [0.0]}):
        optimum, _ = fit_glmm(cbpp, 1, NEWTON, {k: np.array(v) for k, v in start.items()})
        assert optimum.value == pytest.approx(default.value, abs=1e-8), start
        assert optimum.certificate.converged


def test_without_the_first_stage(cbpp):
    optimum, _ = fit_glmm(cbpp, 1, Control(initial_step=False))
    assert [report.name for report in optimum.stages] == ["Laplace"]
    assert optimum.value == pytest.approx(184.052563743, abs=1e-7)


@pytest.mark.parametrize("par", [0.9, 0.0])
def test_a_start_that_leaves_nothing_open_skips_the_first_stage(cbpp, par):
    start = {"par": np.array([par]), "beta": np.array([-1.0, -1.0, -1.0, -1.0])}
    for initial_step, stages in ((None, ["Laplace"]), (False, ["Laplace"]), (True, ["n_agq=0", "Laplace"])):
        optimum, _ = fit_glmm(cbpp, 1, Control(initial_step=initial_step), start)
        assert list(dict.fromkeys(report.name for report in optimum.stages)) == stages
        assert optimum.value == pytest.approx(184.052563743, abs=1e-7)
    del start["par"]
    assert len(fit_glmm(cbpp, 1, Control(), start)[0].stages) == 2


def test_a_start_is_not_complete_without_its_shapes():
    problem, psi, _ = intercepts(BY_NAME["gamma-log"])
    start = {"par": psi[:1], "beta": psi[1:3]}
    assert len(fit_glmm(problem, 1, NEWTON, start)[0].stages) == 2
    assert len(fit_glmm(problem, 1, NEWTON, {**start, "phi": np.array([0.1])})[0].stages) == 1


@pytest.mark.parametrize("design", ["crossed-us2+us1", "hom-diag3", "cs3"])
@pytest.mark.parametrize("name", ["binomial-log", "negative_binomial-identity", "inverse_gaussian-identity"])
def test_bounded_links_find_a_start_of_their_own(name, design):
    """Default standard deviations must not put the mode on the edge of the link's domain."""
    problem, _ = simulated(BY_NAME[name], DESIGN[design])
    optimum, _ = fit_glmm(problem, 1, NEWTON)
    assert np.isfinite(optimum.value)


def test_an_impossible_start_is_an_error_with_the_reason():
    problem, psi, _ = intercepts(BY_NAME["gamma-inverse"])
    with pytest.raises(OptimizationError, match="not finite at the start") as error:
        fit_glmm(problem, 1, NEWTON, {"beta": -psi[1:3], "phi": np.array([0.1])})
    assert "domain of the link" in str(error.value)


def test_a_response_that_no_start_can_reach_is_an_error():
    """Poisson-sqrt with an offset of -100 and no intercept: eta cannot be made positive."""
    problem, _, _ = intercepts(BY_NAME["poisson-sqrt"])
    hopeless = replace(problem, X=np.empty((problem.n, 0)), beta_names=(), offset=np.full(problem.n, -100.0))
    with pytest.raises(DataError, match="cannot find valid starting values"):
        fit_glmm(hopeless, 1, NEWTON)


def test_a_limit_on_evaluations_is_reported(cbpp):
    optimum, _ = fit_glmm(cbpp, 1, Control(optimizer=("bobyqa", "bobyqa"), max_evaluations=8, derivatives=False))
    assert not optimum.certificate.converged
    assert "maximum number of evaluations reached" in optimum.certificate.messages[0]
    assert optimum.certificate.messages[0].startswith("bobyqa")


def test_without_derivatives_there_is_no_hessian(cbpp):
    optimum, _ = fit_glmm(cbpp, 1, Control(derivatives=False))
    assert optimum.hessian is None
    assert not optimum.certificate.converged
    assert optimum.value == pytest.approx(184.052563743, abs=1e-7)


def test_the_record_of_the_optimisation(cbpp):
    optimum, _ = fit_glmm(cbpp, 1, NEWTON)
    assert [report.name for report in optimum.stages] == ["n_agq=0", "Laplace"]
    assert optimum.n_evaluations == sum(report.n_evaluations for report in optimum.stages)
    assert len(optimum.trace) >= optimum.n_evaluations
    assert {evaluation.stage for evaluation in optimum.trace} == {"n_agq=0", "Laplace"}
    laplace_values = [e.value for e in optimum.trace if e.stage == "Laplace"]
    assert min(laplace_values) >= optimum.value - 1e-9
    assert all(evaluation.pirls_iterations >= 1 for evaluation in optimum.trace)
    assert "Laplace: newton" in str(optimum.stages[1])
    assert optimum.names == ("g0.c0", "x0", "x1", "x2", "x3")


# -- linear mixed models -------------------------------------------------------------------------------------


@pytest.mark.golden
@pytest.mark.parametrize(("reml", "criterion"), [(True, 1743.628272), (False, 1751.939344)])
def test_sleepstudy(reml, criterion):
    """lme4's help pages: (Days | Subject), REML criterion and ML deviance."""
    optimum, _, sigma = fit_linear(sleep("gaussian", "identity", 2), reml, NEWTON)
    assert optimum.value == pytest.approx(criterion, abs=1e-6)
    np.testing.assert_allclose(optimum.beta, [251.405105, 10.467286], atol=1e-5)
    assert sigma == pytest.approx(25.5918, abs=1e-4)
    assert optimum.certificate.converged
    assert optimum.certificate.newton_decrement < 1e-10


@pytest.mark.parametrize("optimizer", ["bobyqa", "nelder_mead"])
def test_linear_optimisers_agree(optimizer):
    problem = sleep("gaussian", "identity", 2)
    newton = fit_linear(problem, True, NEWTON)[0]
    other = fit_linear(problem, True, Control(optimizer=(optimizer, optimizer)))[0]
    assert other.value == pytest.approx(newton.value, abs=1e-8)
    np.testing.assert_allclose(other.par, newton.par, atol=1e-4)


def test_linear_boundary_gradient_is_the_even_one():
    """Dyestuff2: variance 0; the derivative in theta vanishes there and curvature is positive."""
    data = rg.datasets.load("Dyestuff2")
    problem = build(
        get_family("gaussian"), np.ones((30, 1)), [(data["Batch"].cat.codes.to_numpy(), np.ones((30, 1)), 6)],
        [make_structure("us", 1)], data["Yield"].to_numpy(float), np.ones(30),
    )  # fmt: skip
    optimum, _, sigma = fit_linear(problem, True, NEWTON)
    assert optimum.par[0] == 0.0
    assert optimum.gradient[0] == pytest.approx(0.0, abs=1e-9)
    assert optimum.hessian[0, 0] > 0
    assert optimum.certificate.singular
    assert optimum.certificate.converged
    assert optimum.beta[0] == pytest.approx(5.6656, abs=1e-4)
    assert sigma == pytest.approx(np.std(problem.y, ddof=1), rel=1e-10)


@pytest.mark.golden
@pytest.mark.parametrize("structure", ["us", "cs"])
def test_two_columns_of_cs_are_unstructured(structure):
    """sleepstudy ML: logLik -875.96967223 either way (lme4's test-covariance_structures)."""
    optimum, _, sigma = fit_linear(sleep("gaussian", "identity", 2, structure), False, NEWTON)
    assert -0.5 * optimum.value == pytest.approx(-875.96967223, abs=1e-7)
    assert sigma == pytest.approx(25.5918, abs=1e-4)
