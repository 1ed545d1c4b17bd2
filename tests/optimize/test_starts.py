"""Starting values: inside the domain, on the scale of the data, whatever the units."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import oracles
import pytest
from problems import BY_NAME, CASES, DESIGN, DESIGNS, build, intercepts, simulated, split_factors

from refglmm.covariance import make_structure
from refglmm.errors import DataError
from refglmm.families.kernel import VALUE
from refglmm.families.registry import get_family
from refglmm.likelihood.pirls import Pirls
from refglmm.likelihood.profiled import ProfiledLinear
from refglmm.optimize.control import make_control
from refglmm.optimize.starts import (
    fixed_point_step,
    model_hessian,
    par_scale,
    scaled_start,
    start_fixed,
    start_par,
    start_shape,
)
from refglmm.optimize.two_stage import fit_linear

every_case = pytest.mark.parametrize("case", CASES, ids=str)


@every_case
def test_the_start_has_a_finite_density(case):
    problem, _, _ = intercepts(case)
    beta, eta = start_fixed(problem)
    np.testing.assert_allclose(eta, problem.offset + problem.X @ beta, rtol=1e-14)
    assert np.all(problem.family.link.valid_eta(eta))
    phi = start_shape(problem, eta)
    out = np.empty((6, problem.n))
    assert np.isfinite(problem.family.observe(problem.y, eta, problem.weights, problem.base, phi, VALUE, out))
    assert phi.shape == (problem.n_phi,)
    assert np.all(phi > 0)


def test_an_exact_fit_is_found_by_least_squares():
    """y on the line: g(mu0) = eta exactly for the gaussian, so beta is the line."""
    x = np.linspace(0, 1, 10)
    problem = build(
        get_family("gaussian"), np.column_stack([np.ones(10), x]), [(np.repeat([0, 1], 5), np.ones((10, 1)),
2)],
        [make_structure("us", 1)], 3.0 + 2.0 * x + 1.0, np.ones(10), np.ones(10),
    )  # fmt: skip
    beta, _ = start_fixed(problem)
    np.testing.assert_allclose(beta, [3.0, 2.0], rtol=1e-12)


def test_the_offset_is_part_of_the_target():
    problem, _, _ = intercepts(BY_NAME["poisson-log"])
    shifted = replace(problem, offset=np.full(problem.n, 2.0))
    one, two = start_fixed(problem)[0], start_fixed(shifted)[0]
    np.testing.assert_allclose(two, one - [2.0, 0.0], atol=1e-10)


def test_no_valid_start_is_an_error_with_advice():
    problem, _, _ = intercepts(BY_NAME["poisson-identity"])
    hopeless = replace(problem, X=np.empty((problem.n, 0)), beta_names=(), offset=np.full(problem.n, -1.0))
    with pytest.raises(DataError, match=r"identity link of the poisson family .* give `start="):
        start_fixed(hopeless)


def test_scale_free_links_start_at_one():
    """lme4's start: every standard deviation 1 (columns of ones)."""
    problem, _, _ = intercepts(BY_NAME["binomial-logit"])
    _, eta = start_fixed(problem)
    np.testing.assert_array_equal(start_par(problem, eta), [1.0])


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_other_links_start_on_the_scale_of_the_response(unit):
    """Gamma with identity link, y in any units: the start moves with them."""
    problem, _, _ = intercepts(BY_NAME["gamma-identity"])
    scaled = problem.with_response(problem.y * unit)
    start = start_par(scaled, start_fixed(scaled)[1])
    plain = start_par(problem, start_fixed(problem)[1])
    assert start[0] == pytest.approx(plain[0] * unit, rel=1e-6)
    assert 0 < plain[0] < np.std(problem.y)


def test_a_column_in_millions_starts_at_a_millionth():
    design = DESIGN["same-factor-twice"]
    problem, _ = simulated(BY_NAME["poisson-log"], design)
    terms = [design.terms[0], (design.terms[1][0], design.terms[1][1] * 1e6, 8)]
    scaled = build(problem.family, problem.X, terms, problem.structures, problem.y, problem.weights)
    plain, other = scaled_start(problem, 1.0), scaled_start(scaled, 1.0)
    np.testing.assert_allclose(other, plain * [1.0, 1e-6], rtol=1e-12)


@pytest.mark.parametrize("design", DESIGNS, ids=str)
def test_starts_and_scales_fit_every_structure(design):
    """Standard deviations positive, correlations at zero, inside the bounds; scales positive and finite."""
    problem, _ = simulated(BY_NAME["binomial-logit"], design)
    start = scaled_start(problem, 0.7)
    assert np.all(start >= problem.par_lower)
    assert np.all(start <= problem.par_upper)
    deviations = problem.par_lower == 0.0
    assert np.all(start[deviations] > 0)
    assert np.all(start[~deviations] == 0)
    for par in (start, 0.0 * start):
        scale = par_scale(problem, par, start)
        assert np.all(np.isfinite(scale))
        assert np.all(scale > 0)
    # a standard deviation's natural change is its own size
    for structure, part in zip(problem.structures, problem.par_slices, strict=True):
        if structure.name == "diag":
            np.testing.assert_allclose(par_scale(problem, start, start)[part], start[part])


def test_a_column_of_zeros_is_survived():
    problem, _ = simulated(BY_NAME["binomial-logit"], DESIGN["nested"])
    design = DESIGN["nested"]
    terms = [(design.terms[0][0], np.zeros((design.n, 1)), 12), design.terms[1]]
    zero = build(problem.family, problem.X, terms, problem.structures, problem.y, problem.weights)
    np.testing.assert_array_equal(scaled_start(zero, 1.0), [1.0, 1.0])


@pytest.mark.parametrize(
    ("structure", "par"),
    [
        (make_structure("us", 2), [0.8, -0.5, 0.4]),
        (make_structure("diag", 2), [0.8, 0.4]),
        (make_structure("cs", 2), [0.8, 0.4, 0.3]),
        (make_structure("ar1", 3, True), [0.7, 0.6]),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_the_model_hessian_of_one_term_is_the_expected_information(structure, par):
    """tr(V^-1 dV_k V^-1 dV_l), V = W^-1 + MM', by dense algebra."""
    rng = np.random.default_rng(5)
    n, levels, k, par = 60, 7, structure.k, np.array(par)
    codes, Z, weights = rng.integers(0, levels, n), rng.normal(size=(n, k)), rng.uniform(0.5, 2.0, n)
    problem = build(
        get_family("gaussian"), np.ones((n, 1)), [(codes, Z, levels)], [structure], rng.normal(size=n), weights
    )
    pirls = Pirls(problem)
    pirls.set_parameters(par, np.ones(1))
    pirls.assemble(weights)
    pirls.factor.factorize()
    scale = np.ones(par.size + 1)
    found = model_hessian(problem, pirls.factor, par, scale)

    big_Z = np.zeros((n, levels * k))
    for i in range(n):
        big_Z[i, codes[i] * k : (codes[i] + 1) * k] = Z[i]

    def spread(A):
        return big_Z @ np.kron(np.eye(levels), A) @ big_Z.T

    T = structure.factor(par)
    inverse = np.linalg.inv(np.diag(1.0 / weights) + spread(T @ T.T))
    dV = [inverse @ spread(D @ T.T + T @ D.T) for D in structure.d_factor(par)]
    expected = np.array([[np.trace(A @ B) for B in dV] for A in dV])
    np.testing.assert_allclose(found[: par.size, : par.size], expected, rtol=1e-10, atol=1e-10)
    assert found[-1, -1] == n


@pytest.mark.parametrize("reml", [False, True], ids=["ML", "REML"])
@pytest.mark.parametrize("design", [DESIGN["balanced-us2"], DESIGN["crossed-us2+us1"], DESIGN["nested"]], ids=str)
def test_fixed_point_steps_lower_the_criterion_and_rest_at_the_optimum(design, reml):
    """Where the gradient vanishes S = A for each term, so the step goes nowhere; elsewhere it goes down."""
    rng = np.random.default_rng(8)
    T = split_factors(design.structures, design.par(0.9))
    M = oracles.dense_Z(design.terms) @ oracles.dense_Lambda(T, [t[2] for t in design.terms])
    y = design.X @ [2.0, -1.0] + M @ rng.standard_normal(M.shape[1]) + rng.normal(size=design.n)
    problem = build(get_family("gaussian"), design.X, design.terms, design.structures, y, np.ones(design.n))
    objective = ProfiledLinear(problem, reml)
    par = scaled_start(problem, 1.0)
    value, _ = objective.value_and_gradient(par)
    for _ in range(3):
        par = fixed_point_step(objective)
        lower, _ = objective.value_and_gradient(par)
        assert lower < value
        value = lower
    optimum = fit_linear(problem, reml, make_control(None, None, "exact"))[0].par
    objective.value_and_gradient(optimum)
    np.testing.assert_allclose(fixed_point_step(objective), optimum, rtol=1e-5)
