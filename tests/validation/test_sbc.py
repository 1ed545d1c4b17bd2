"""The machinery of simulation-based calibration: it accepts what is right and catches what is wrong."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from refglmm.bayes.posterior import Posterior
from validation.sbc import report, run
from validation.sbc.pairs import PAIRS, chosen
from validation.sbc.ranks import DRAWS, names, one_data_set, quantities, rank, true_position
from validation.sbc.simulate import RESPONSES, simulate
from validation.sbc.uniformity import (
    LEVEL,
    band,
    chance_within,
    chi_square_p,
    counts_below,
    ecdf_p,
    holm,
    judge,
    pointwise_p,
)

L, N = 99, 300
LEFT = {"ess": 300.0, "divergent": 0, "thin": 1, "seconds": 0.2}


# -- uniformity ----------------------------------------------------------------------------------------------


def test_p_values_of_uniform_ranks_are_uniform():
    rng = np.random.default_rng(1)
    p = np.array([(chi_square_p(r, 19), ecdf_p(r, 19)) for r in rng.integers(0, 20, (200, 60))])
    for level in (0.1, 0.25, 0.5):
        error = np.sqrt(level * (1 - level) / len(p))
        assert np.all(np.abs(np.mean(p <= level, axis=0) - level) < 4 * error)


def test_the_chance_of_staying_within_is_that_of_all_sequences():
    """Four ranks among 0, 1, 2: 81 equally likely sequences, counted one by one."""
    inside = np.array([[False, True, True, False, False], [False, False, True, True, False]])
    ranks = np.stack(np.meshgrid(*[np.arange(3)] * 4)).reshape(4, -1).T
    below = np.array([counts_below(r, 2) for r in ranks])
    expected = np.mean(inside[0, below[:, 0]] & inside[1, below[:, 1]])
    assert chance_within(inside) == pytest.approx(expected, rel=1e-12)
    assert chance_within(np.ones((2, 5), dtype=bool)) == pytest.approx(1.0, rel=1e-12)


def test_pointwise_p_values_are_those_of_a_binomial():
    p = pointwise_p(30, 9)
    for k, count in ((0, 3), (4, 20), (8, 30)):
        tails = stats.binom(30, (k + 1) / 10)
        assert p[k, count] == pytest.approx(min(1, 2 * min(tails.cdf(count), tails.sf(count - 1))))


def test_the_band_holds_as_many_curves_as_it_says():
    low, high = band(100, 19, 0.05)
    shares = np.array([counts_below(r, 19) for r in np.random.default_rng(2).integers(0, 20, (4000, 100))]) / 100
    held = np.mean(np.all((shares >= low) & (shares <= high), axis=1))
    assert 0.94 < held < 0.98


def test_holm_is_the_step_down_rule():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]).max() == 1.0


def test_bins_must_divide_the_ranks():
    with pytest.raises(ValueError, match="100 ranks do not divide into 7 bins"):
        chi_square_p([1, 2], 99, bins=7)


# -- right and wrong posteriors with closed forms --------------------------------------------------------------


def variance_ranks(prior_shape=3.0, extra_power=0.0, seed=3):
    """Ranks of a variance under an inverse-gamma(3, 2) prior, given five normal numbers with mean zero.

    The posterior that is ranked in may have another prior shape, or a density multiplied by a power of the variance:
    a forgotten Jacobian of its logarithm is the power -1.
    """
    rng = np.random.default_rng(seed)
    ranks = []
    for _ in range(N):
        variance = 1.0 / rng.gamma(3.0, 1.0 / 2.0)
        y = rng.normal(0.0, np.sqrt(variance), 5)
        shape, scale = prior_shape + 2.5 - extra_power, 2.0 + 0.5 * np.sum(y**2)
        draws = 1.0 / rng.gamma(shape, 1.0 / scale, (L, 1))
        ranks.append(rank(np.array([variance]), draws)[0])
    return np.array(ranks)


def test_the_right_posterior_passes():
    assert judge(variance_ranks(), L)["p"] > LEVEL


@pytest.mark.parametrize(
    "wrong", [{"prior_shape": 1.5}, {"extra_power": -1.0}, {"extra_power": 1.0}], ids=["prior", "Jacobian", "twice"]
)
def test_a_wrong_prior_or_jacobian_is_caught(wrong):
    found = judge(variance_ranks(**wrong), L)
    assert found["p"] < 1e-4
    assert found["ecdf"] < 1e-4


def test_a_posterior_that_is_too_narrow_is_caught():
    rng = np.random.default_rng(5)
    truth, y = rng.standard_normal(N), rng.standard_normal(N)
    y += truth  # the posterior is normal(y / 2, 1 / 2)
    draws = 0.5 * y + 0.7 * np.sqrt(0.5) * rng.standard_normal((L, N))
    found = judge(rank(truth, draws), L)
    assert max(found["chi-square"], found["ecdf"]) < 1e-3


# -- data sets -----------------------------------------------------------------------------------------------


def test_pairs_are_found_by_the_beginnings_of_their_names():
    assert [pair.name for pair in chosen("ordered; gamma")] == ["ordered, weak", "gamma, normal"]
    assert chosen(None) is PAIRS
    with pytest.raises(SystemExit, match="no pair is called 'gaussien'"):
        chosen("gaussien")


@pytest.mark.parametrize("pair", PAIRS, ids=[pair.name for pair in PAIRS])
def test_the_true_position_reports_the_truth(pair):
    """The posterior reads the simulated natural values and random effects back, and its eta is that of the data."""
    truth = simulate(pair, np.random.default_rng(6))
    posterior = Posterior(pair.model.problem.with_response(truth.y, pair.model.problem.weights), pair.priors)
    position = true_position(posterior, truth)[None]
    reported = dict(zip(names(posterior), quantities(posterior, position)[0], strict=True))
    for name, value in zip(pair.priors.names, truth.values, strict=True):
        if name.startswith(("sd[", "b[")) or name in ("sigma", "nu", "phi", "shape"):
            assert reported[name] == pytest.approx(value, rel=1e-10)
    assert reported["random effect 1"] == pytest.approx(truth.effects[0, 0], rel=1e-10)
    np.testing.assert_allclose(posterior.random_effects(position)[0], truth.effects.ravel(), rtol=1e-10)
    assert np.isfinite(reported["log likelihood"])


def test_responses_have_the_moments_of_their_families():
    rng, size = np.random.default_rng(7), 200_000
    eta = np.full(size, 0.4)
    mean = np.exp(0.4)
    y = RESPONSES["gamma"](eta, [3.0], rng)
    assert (y.mean(), y.var()) == pytest.approx((mean, mean**2 / 3), rel=0.02)
    y = RESPONSES["negative_binomial"](eta, [2.0], rng)
    assert (y.mean(), y.var()) == pytest.approx((mean, mean + mean**2 / 2), rel=0.02)
    y = RESPONSES["student_t"](eta, [1.5, 8.0], rng)
    assert (y.mean(), y.var()) == pytest.approx((0.4, 1.5**2 * 8 / 6), rel=0.03)
    y = RESPONSES["ordered"](eta, np.array([-1.0, 0.5]), rng)
    cumulative = stats.logistic.cdf(np.array([-1.0, 0.5]) - 0.4)
    assert [np.mean(y <= 0), np.mean(y <= 1)] == pytest.approx(cumulative, abs=0.005)
    assert np.mean(RESPONSES["bernoulli"](eta, [], rng)) == pytest.approx(stats.logistic.cdf(0.4), abs=0.005)


def test_a_data_set_leaves_ranks_and_the_same_ones_again():
    pair = PAIRS[0]
    first, again = (one_data_set(pair, run.seed_of(1, pair.name, 0)) for _ in range(2))
    assert first["ranks"] == again["ranks"]
    assert len(first["ranks"]) == len(first["values"]) == 7
    assert all(0 <= r <= DRAWS for r in first["ranks"])
    assert first["ess"] > DRAWS


# -- the run -------------------------------------------------------------------------------------------------


def fake_results(wrong=False):
    rng = np.random.default_rng(8)
    ranks = rng.integers(0, L + 1, (N, 2))
    if wrong:
        ranks[:, 1] = ranks[:, 1] ** 2 // L
    ones = {str(k): {"ranks": r.tolist()} | LEFT for k, r in enumerate(ranks)}
    found = {"formula": "y ~ x", "prior": "prior", "L": L, "names": ["a", "log likelihood"], "data sets": ones}
    machine = {"processor": "p", "cores": 2, "python": "3", "load": 0.5}
    return {"pairs": {"one": found}, "machine": machine, "settings": {"draws": L, "versions": "v", "seed": 1}}


def test_the_report_says_what_passes(tmp_path):
    assert report.write(fake_results(), tmp_path) == 0
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "Every quantity passes." in text
    assert "ranks_one.png" in text
    assert (tmp_path / "ranks_one.png").stat().st_size > 1000


def test_the_report_says_what_fails(tmp_path):
    results = fake_results(wrong=True)
    results["pairs"]["one"]["data sets"]["400"] = {"failed": "ArgumentError: no mode", "values": [1.0, 2.0]}
    assert report.write(results, tmp_path) == 1
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "**Not everything passes.**" in text
    assert "1 data sets lost: ArgumentError: no mode" in text
    rows = report.verdicts(results)
    assert [row["passed"] for row in rows] == [True, False]


def test_pairs_without_ranks(tmp_path):
    results = fake_results()
    results["pairs"]["not begun"] = results["pairs"]["one"] | {"data sets": {}}
    assert report.write(results, tmp_path) == 0
    assert "not begun" not in (tmp_path / "report.md").read_text(encoding="utf-8")
    results["pairs"]["lost"] = results["pairs"]["one"] | {"data sets": {"0": {"failed": "no mode", "values": [1.0]}}}
    assert report.write(results, tmp_path) == 1
    assert "1 data sets lost: no mode" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_a_run_goes_on_where_it_was(tmp_path, monkeypatch):
    done = []

    def work(name, seed, number):
        done.append(number)
        return name, number, {"ranks": [number] * 7} | LEFT

    monkeypatch.setattr(run, "work", work)
    arguments = ["--pairs", "gaussian, normal", "--jobs", "1", "--out", str(tmp_path)]
    run.main([*arguments, "--datasets", "3"])
    run.main([*arguments, "--datasets", "5"])
    assert done == [0, 1, 2, 3, 4]
    kept = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["pairs"]["gaussian, normal"]
    assert [one["ranks"][0] for one in kept["data sets"].values()] == [0, 1, 2, 3, 4]
    run.main([*arguments, "--datasets", "1", "--seed", "5"])
    assert done[5:] == [0]
