"""lme4's path: its optimum, its derivatives, its verdict and its gate."""

from __future__ import annotations

import numpy as np
import pytest
from problems import BY_NAME, DESIGN, build, intercepts, simulated

import refglmm as rg
from refglmm.covariance import make_structure
from refglmm.errors import OptimizationError
from refglmm.families.registry import get_family
from refglmm.optimize.control import Control, make_control
from refglmm.optimize.lme4_path import differences, fit_glmm_lme4, verdict
from refglmm.optimize.records import StageReport

LME4 = make_control(None, None, "lme4")


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


@pytest.fixture(scope="module")
def fitted(cbpp):
    return fit_glmm_lme4(cbpp, 1, LME4)


def report(success=True, message="success"):
    return StageReport("Laplace", "nelder_mead", 10, 0, 1.0, message, success, 0.1)


# -- cbpp ----------------------------------------------------------------------------------------------------


@pytest.mark.golden
def test_cbpp(fitted):
    """lme4 2.1-0, default optimisers: -2 log L 184.053132779 and estimates to its own stopping rule (5e-4
    of a step).
    """
    optimum, mode, _ = fitted
    assert optimum.value == pytest.approx(184.053132779, abs=1e-6)
    assert optimum.par[0] == pytest.approx(0.6420699277, abs=2e-5)
    np.testing.assert_allclose(optimum.beta, [-1.3983428645, -0.9919249750, -1.1282162159, -1.5797454136], atol=5e-5)
    assert mode.deviance == pytest.approx(73.47428357, abs=2e-4)
    assert [stage.optimizer for stage in optimum.stages] == ["bobyqa", "nelder_mead"]
    assert optimum.stages[0].value == pytest.approx(184.1086930, abs=1e-7)
    assert optimum.certificate.converged


@pytest.mark.golden
def test_standard_errors_are_contaminated_as_lme4_s_are(fitted):
    """The lesson: .2312 where the exact Hessian gives .2325 (lme4 2.1-0 prints .2312140, .3031506, ...)."""
    optimum, _, _ = fitted
    se = np.sqrt(np.diag(2 * np.linalg.inv(optimum.hessian)))[1:]
    np.testing.assert_allclose(se, [0.2312140, 0.3031506, 0.3228302, 0.4220492], rtol=2e-4)
    assert abs(se[0] - 0.2324718619) > 1e-3


@pytest.mark.golden
def test_rx_standard_errors(fitted):
    """lme4 2.1-0 with use.hessian = FALSE."""
    _, mode, _ = fitted
    inverse = np.linalg.inv(mode.rx)
    se = np.sqrt(np.sum(inverse**2, axis=1))
    np.testing.assert_allclose(se, [0.2278524, 0.3053475, 0.3260012, 0.4287019], rtol=2e-4)


@pytest.mark.golden
def test_cbpp_n_agq_0(cbpp):
    """lme4 2.1-0, nAGQ = 0: theta .6418385553, logLik -92.05434650; no derivatives are taken."""
    optimum, _, _ = fit_glmm_lme4(cbpp, 0, LME4)
    assert -0.5 * optimum.value == pytest.approx(-92.05434650, abs=1e-8)
    assert optimum.par[0] == pytest.approx(0.6418385553, abs=1e-5)
    np.testing.assert_allclose(optimum.beta, [-1.360475728, -0.976173236, -1.111072784, -1.559675684], atol=1e-5)
    assert optimum.hessian is None
    assert optimum.names == ("g0.c0",)


@pytest.mark.golden
@pytest.mark.parametrize(("k", "loglik"), [(2, -50.0570148), (5, -50.0056839), (10, -50.0050150), (25, -50.0050153)])
def test_cbpp_quadrature(cbpp, k, loglik):
    """lme4 2.1-0: relative to the saturated model."""
    optimum, _, _ = fit_glmm_lme4(cbpp, k, LME4)
    assert -0.5 * optimum.value == pytest.approx(loglik, abs=1e-6)


def test_log_density_at_the_mode_is_that_of_the_family(fitted, cbpp):
    """Sum over rows of log Bin(successes; size, mu), by scipy."""
    from scipy.stats import binom

    _, mode, _ = fitted
    expected = binom.logpmf(np.round(cbpp.weights * cbpp.y), cbpp.weights, mode.mu).sum()
    assert mode.log_density == pytest.approx(expected, rel=1e-12)


def test_the_same_fit_twice_is_bit_equal(cbpp, fitted):
    again, mode, _ = fit_glmm_lme4(cbpp, 1, LME4)
    assert again.value == fitted[0].value
    np.testing.assert_array_equal(again.beta, fitted[0].beta)
    np.testing.assert_array_equal(again.hessian, fitted[0].hessian)
    np.testing.assert_array_equal(mode.u, fitted[1].u)


def test_bobyqa_in_the_second_stage(cbpp, fitted):
    optimum, _, _ = fit_glmm_lme4(cbpp, 1, make_control(None, "bobyqa", "lme4"))
    assert optimum.value == pytest.approx(fitted[0].value, abs=1e-5)
    assert [stage.optimizer for stage in optimum.stages] == ["bobyqa", "bobyqa"]


def test_without_the_first_stage(cbpp):
    optimum, _, _ = fit_glmm_lme4(cbpp, 1, make_control({"initial_step": False}, None, "lme4"))
    assert len(optimum.stages) == 1
    assert optimum.value == pytest.approx(184.0531, abs=2e-3)


# -- edges ---------------------------------------------------------------------------------------------------


def test_a_variance_close_to_zero_is_put_on_it():
    """Groups more alike than chance: theta ends exactly at its bound, and derivatives are not taken."""
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
    optimum, _, _ = fit_glmm_lme4(problem, 1, LME4)
    assert optimum.par[0] == 0.0
    assert optimum.certificate.singular
    assert optimum.certificate.boundary == ("g0.c0",)
    assert optimum.hessian is None
    assert optimum.beta[0] == pytest.approx(np.log(1.5), abs=1e-3)


def test_a_zero_start_becomes_a_small_one(cbpp, fitted):
    optimum, _, _ = fit_glmm_lme4(cbpp, 1, LME4, {"par": np.zeros(1)})
    assert optimum.value == pytest.approx(fitted[0].value, abs=1e-5)
    assert optimum.trace[0].parameters[0] == pytest.approx(0.001)


def test_several_terms_and_correlations_run():
    """cs has a box of 1.5 for its correlation; the first radius must fit into it."""
    for name in ("crossed-us2+us1", "cs3", "hom-ar13"):
        problem, _ = simulated(BY_NAME["binomial-logit"], DESIGN[name], seed=2)
        start = {"par": np.where(np.isfinite(problem.par_upper), 0.0, 5.0) * (problem.par_start > 0)}
        optimum, _, _ = fit_glmm_lme4(problem, 1, LME4, start)
        assert np.isfinite(optimum.value)
        assert np.all(optimum.par >= problem.par_lower)
        assert np.all(optimum.par <= problem.par_upper)


def test_an_impossible_start_is_an_error(monkeypatch, cbpp):
    monkeypatch.setattr("refglmm.likelihood.lme4_walk.MAX_ITERATIONS", 1)
    with pytest.raises(OptimizationError, match=r"not finite at the start .*did not converge in 1 iterations"):
        fit_glmm_lme4(cbpp, 1, LME4)


def test_sigma_of_a_gamma():
    problem, _, _ = intercepts(BY_NAME["gamma-log"], levels=12)
    optimum, mode, sigma = fit_glmm_lme4(problem, 1, LME4)
    pearson = np.sum(problem.weights * (problem.y / mode.mu - 1) ** 2)
    assert sigma == pytest.approx(np.sqrt((pearson + mode.penalty) / problem.n), rel=1e-10)
    assert optimum.phi.size == 0


# -- the gate of the derivatives -----------------------------------------------------------------------------


def test_derivatives_follow_the_number_of_rows(cbpp):
    """At the limit none are taken and nothing is said; forced on they are, without a verdict."""
    off, _, _ = fit_glmm_lme4(cbpp, 1, make_control({"derivatives_max_n": 56}, None, "lme4"))
    assert off.hessian is None
    assert off.certificate.messages == ()
    on, _, _ = fit_glmm_lme4(cbpp, 1, make_control({"derivatives_max_n": 57}, None, "lme4"))
    assert on.hessian is not None
    forced, _, _ = fit_glmm_lme4(cbpp, 1, make_control({"derivatives_max_n": 56, "derivatives": True}, None, "lme4"))
    np.testing.assert_array_equal(forced.hessian, on.hessian)
    assert forced.certificate.messages == ()
    never, _, _ = fit_glmm_lme4(cbpp, 1, make_control({"derivatives": False}, None, "lme4"))
    assert never.hessian is None


def test_differences_of_a_quadratic_are_exact():
    """Central differences with step 1e-4; a quadratic has no truncation error; analytic."""
    A = np.array([[4.0, 1.0, 0.0], [1.0, 3.0, -1.0], [0.0, -1.0, 2.0]])
    gradient, hessian = differences(lambda x: 0.5 * x @ A @ x, np.array([0.1, -0.2, 0.3]))
    np.testing.assert_allclose(gradient, A @ [0.1, -0.2, 0.3], atol=1e-10)
    np.testing.assert_allclose(hessian, A, atol=1e-6)


# -- the verdict ---------------------------------------------------------------------------------------------

NAMES = ("sd", "(Intercept)", "x")


def say(gradient, hessian, **more):
    settings = {"boundary": (), "residual": 0.0, "reports": [report()], "judge": True} | more
    return verdict(
        NAMES, np.asarray(gradient, float), np.asarray(hessian, float), settings["boundary"],
settings["residual"],
        settings["reports"], judge=settings["judge"],
    )  # fmt: skip


def test_a_good_fit_has_no_messages():
    certificate = say([1e-5, 0, 0], np.eye(3))
    assert certificate.converged
    assert certificate.messages == ()
    assert certificate.newton_decrement == pytest.approx(0.5e-10)


def test_the_scaled_gradient_names_the_parameter_and_not_component_1():
    certificate = say([0.0, 0.0, 0.01], np.eye(3))
    assert not certificate.converged
    assert certificate.messages == ("failed to converge: scaled gradient 0.01 of x exceeds 0.002",)


def test_the_smaller_of_raw_and_scaled_counts():
    assert say([0.01, 0, 0], np.diag([1e6, 1, 1])).converged  # scaled: 1e-5
    assert say([1e-3, 0, 0], np.diag([1e-4, 1, 1])).converged  # raw: 1e-3


@pytest.mark.parametrize(
    ("diagonal", "words"),
    [
        ([1.0, -1.0, 1.0], "degenerate Hessian with 1 negative eigenvalue"),
        ([1.0, 1e-8, 1.0], "numerically singular in the direction of (Intercept)"),
        ([1.0, 2e6, 1.0], "very large Hessian eigenvalue"),
        ([2e-6, 1.0, 9e5], "large ratio of Hessian eigenvalues"),
    ],
)
def test_eigenvalue_messages(diagonal, words):
    certificate = say(np.zeros(3), np.diag(diagonal))
    assert not certificate.converged
    assert any(words in message for message in certificate.messages)


def test_recorded_eigenvalues_are_those_of_the_scaled_hessian():
    certificate = say(np.zeros(3), np.array([[100.0, 5.0, 0], [5.0, 1.0, 0], [0, 0, 4.0]]))
    np.testing.assert_allclose(certificate.eigenvalues, [0.5, 1.0, 1.5])


def test_a_singular_fit_is_not_judged_further():
    certificate = say([1.0, 1.0, 1.0], -np.eye(3), judge=False, boundary=("sd",))
    assert certificate.messages == ()
    assert certificate.singular


def test_an_optimiser_s_complaint_is_kept():
    reports = [report(success=False, message="maximum number of evaluations reached")]
    certificate = say(np.zeros(3), np.eye(3), reports=reports)
    assert certificate.messages == ("nelder_mead: maximum number of evaluations reached",)
    assert not certificate.converged


def test_control_of_lme4_mode():
    assert LME4.optimizer == ("bobyqa", "nelder_mead")
    assert make_control(None, None, "exact") == Control()
