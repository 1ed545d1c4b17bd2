"""The calibration's own machinery: counting, closed forms, one data set, the report."""

from __future__ import annotations

import copy
import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import pytest
from scipy import stats

import refglmm as rg
from refglmm.datasets import load
from refglmm.inference.parameters import estimates
from refglmm.inference.tasks import Outcome, run_tasks, seeds
from validation.calibration import designs, gather, report, run, tasks, theory
from validation.calibration.counting import (
    Coverage,
    count_coverage,
    distance,
    mean_and_error,
    share_error,
    shares_below,
    uniformity,
)
from validation.calibration.reasons import LIMIT, Reason, kind, limit_coverage, why

SUBJECTS, DF = 18, 144


# -- counting ------------------------------------------------------------------------------------------------


def test_intervals_of_a_normal_mean_cover_as_often_as_they_say():
    means = np.random.default_rng(1).normal(3.0, 0.5, size=20_000)
    for level in (0.95, 0.8):
        half = stats.norm.ppf(0.5 * (1 + level)) * 0.5
        found = count_coverage(level, 3.0, means - half, means + half)
        assert (found.n, found.missing) == (20_000, 0)
        assert abs(found.from_expected()) < 4
        assert abs(distance(found.below / found.n, 0.5 * (1 - level), found.n)) < 4
        assert found.error == pytest.approx(np.sqrt(level * (1 - level) / 20_000), rel=0.05)
        narrow = count_coverage(level, 3.0, means - 0.9 * half, means + 0.9 * half)
        assert narrow.from_expected() < -LIMIT
        assert abs(narrow.from_expected(2 * stats.norm.cdf(0.9 * half / 0.5) - 1)) < 4


def test_misses_are_counted_by_side_and_intervals_without_ends_apart():
    lower, upper = [0.0, 2.0, -3.0, np.nan, 0.0, 1.0], [2.0, 4.0, 0.5, 1.0, np.nan, np.inf]
    found = count_coverage(0.95, 1.0, lower, upper)
    assert found == Coverage(0.95, inside=2, below=1, above=1, missing=2)
    assert (found.n, found.share) == (4, 0.5)
    assert found.error == pytest.approx(0.25)
    assert np.isnan(count_coverage(0.95, 1.0, [np.nan], [1.0]).share)


def test_errors_of_shares_and_means():
    assert share_error(0.05, 500) == pytest.approx(0.009746794)
    assert distance(0.93, 0.95, 475) == pytest.approx(-2.0)
    np.testing.assert_array_equal(shares_below([0.05, 0.1, 0.95], np.array([0.1, 0.9])), [2 / 3, 2 / 3])
    mean, error = mean_and_error([[1.0, 2.0], [3.0, 2.0], [5.0, 2.0]])
    np.testing.assert_allclose(mean, [3.0, 2.0])
    np.testing.assert_allclose(error, [2.0 / np.sqrt(3.0), 0.0])
    assert uniformity(np.linspace(0.005, 0.995, 100))["p"] > 0.99
    assert uniformity(np.linspace(0.005, 0.995, 100) ** 2)["p"] < 0.01


# -- closed forms --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0.95, 0.8])
def test_closed_forms_agree_with_simulated_means_and_variances(level):
    rng, n, groups = np.random.default_rng(3), 40_000, 7
    y = rng.normal(size=(n, groups))
    z = stats.norm.ppf(0.5 * (1 + level))
    ml = y.std(axis=1)  # divides by the number of groups
    wald = np.mean(np.abs(y.mean(axis=1)) < z * ml / np.sqrt(groups))
    ratio = groups * np.log(np.mean(y**2, axis=1) / ml**2)
    profile = np.mean(ratio < z**2)
    for method, found in {"Wald": wald, "percentile": wald, "basic": wald, "profile": profile}.items():
        assert abs(distance(found, theory.coefficient_coverage(method, level, groups), n)) < 4
    for sd, df, divisor in ((np.sqrt(rng.chisquare(9, size=n) / 9), 9, 9), (ml, groups - 1, groups)):
        low, high = np.sqrt(stats.chi2.ppf([0.5 * (1 - level), 0.5 * (1 + level)], df) / divisor)
        half = z / np.sqrt(2 * divisor)
        ends = {
            "Wald": (sd * np.exp(-half), sd * np.exp(half)),
            "percentile": (sd * low, sd * high),
            "basic": (2 * sd - sd * high, 2 * sd - sd * low),
        }
        found = {method: count_coverage(level, 1.0, *interval).share for method, interval in ends.items()}
        found["profile"] = np.mean(divisor * (sd**2 - 1 - np.log(sd**2)) < z**2)
        for method, share in found.items():
            assert abs(distance(share, theory.sigma_coverage(method, level, df, divisor), n)) < 4


def test_rejection_rates():
    assert theory.rejection_rate("z test", 0.05, SUBJECTS) == pytest.approx(2 * stats.t.sf(1.959964, 17), rel=1e-6)
    assert theory.rejection_rate("Kenward-Roger", 0.05, SUBJECTS) == 0.05
    assert theory.rejection_rate("likelihood ratio", 0.05, 10**6) == pytest.approx(0.05, rel=1e-4)


def test_intervals_of_sleepstudy_are_those_of_the_closed_form():
    """From least squares by subject, without any mixed model."""
    data, z = load("sleepstudy"), stats.norm.ppf(0.975)
    lines = [np.polyfit(d["Days"], d["Reaction"], 1, full=True)[:2] for _, d in data.groupby("Subject", observed=True)]
    slopes, rss = np.array([line[0] for line, _ in lines]), sum(float(r[0]) for _, r in lines)
    se, sigma = slopes.std(ddof=1) / np.sqrt(SUBJECTS), np.sqrt(rss / DF)
    fit = designs.slopes_design().base
    for method in ("wald", "profile"):
        ends = fit.confint(["Days", "sigma"], method=method).to_numpy()
        name = {"wald": "Wald", "profile": "profile"}[method]
        half = theory.largest_t(name, 0.95, SUBJECTS) * se
        np.testing.assert_allclose(ends[0], slopes.mean() + half * np.array([-1, 1]), rtol=2e-5)
        low, high = theory.variance_ratios(name, 0.95, DF, DF)
        np.testing.assert_allclose(ends[1], sigma / np.sqrt([high, low]), rtol=2e-5)
    assert theory.largest_t("Wald", 0.95, SUBJECTS) == pytest.approx(z * np.sqrt(17 / 18))


# -- one data set --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cbpp():
    return replace(designs.binomial_design(), replicates=3)


def test_the_truth_is_what_data_are_drawn_with():
    crossed = designs.crossed_design()
    assert list(crossed.truth.index) == list(estimates(crossed.base).index)
    source = crossed.source()
    eta = np.array([source.linear_predictor(np.random.default_rng(k)) for k in range(400)])
    treated = np.asarray(crossed.base.problem.X)[:, 1] == 1
    assert eta[:, ~treated].mean() == pytest.approx(1.0, abs=0.06)
    assert eta[:, treated].mean() - eta[:, ~treated].mean() == pytest.approx(0.4, abs=0.06)
    assert eta.var(axis=0).mean() == pytest.approx(0.5**2 + 0.4**2, rel=0.1)
    for make in designs.EFFECT_NULLS:
        experiment = make()
        assert np.ptp(experiment.source().fixed) < 1e-10  # Days has no effect
    assert experiment.base.nobs == sum(range(3, 11))
    assert not designs.null_herds().source().redrawn[0].draw(np.random.default_rng(1)).any()


def test_one_data_set_has_every_interval_and_its_residuals(cbpp):
    seed = seeds(5, 1)[0]
    outcome = run_tasks(lambda s: tasks.intervals_of(cbpp, s), [seed])[0]
    assert outcome.error is None
    found = outcome.value
    assert found["ends"].shape == (4, 2, 5, 2)
    assert np.all(found["ends"][..., 0] <= found["ends"][..., 1])
    assert (found["failed"], found["lost"]) == ({}, 0)
    y = cbpp.source().response(np.random.default_rng(seeds(seed, 3)[0]))
    fit = cbpp.base.model.with_response(y).fit()
    np.testing.assert_array_equal(found["ends"][0, 0], fit.confint(method="wald"))
    np.testing.assert_array_equal(found["ends"][1, 1], fit.profile().confint(level=0.8))
    assert set(found["residuals"]) == {"known", "estimated"}
    assert 0.0 < found["residuals"]["known"]["one"] < 1.0


def test_a_method_that_fails_is_counted_and_the_others_go_on(cbpp, monkeypatch):
    def broken(self, *args, **kwargs):
        raise rg.errors.OptimizationError("no way up")

    monkeypatch.setattr(rg.FittedModel, "profile", broken)
    found = gather.intervals(cbpp, 2, (1, 2))
    assert found["method failures"] == [["profile", "OptimizationError: no way up", 2]]
    missing = {row["method"]: row["missing"] for row in found["coverage"]}
    assert missing == {"Wald": 0, "profile": 2, "percentile": 0, "basic": 0}
    assert gather.failures([Outcome(None, "X: y", ()), Outcome(1, None, ())]) == {"0": "X: y"}
    counts = gather.warned([Outcome(1, None, ("at 3.5 of 2e-3", "at 4 of 1")), Outcome(1, None, ("at 1 of 2",))])
    assert counts == {"at # of #": 2}


def test_the_numbers_do_not_depend_on_the_workers():
    experiment = designs.null_herds()
    here = gather.variance_tests(experiment, 4, (1, 0))
    with ProcessPoolExecutor(2, get_context("forkserver")) as pool:
        there = gather.variance_tests(experiment, 4, (1, 0), pool)
    assert here == there
    assert here != gather.variance_tests(experiment, 4, (2, 0))


def test_rejections_at_exactly_the_size_count():
    done = [{"KS": 6 / 120, "Zeros": 0.04}, {"KS": 7 / 120}, {"KS": 2 * (3 / 120)}]
    assert gather.rejections(done) == {"KS": [2, 3], "Zeros": [1, 1]}


# -- reasons and report --------------------------------------------------------------------------------------


def test_a_reason_holds_only_for_what_looks_like_it():
    reason = Reason(("sd",), ("percentile",), "low", "above", "why")
    row = {"parameter": "sd_(Intercept)|herd", "method": "percentile", "below": 1, "above": 9}
    assert reason.fits(row, "low")
    assert not reason.fits(row, "high")
    assert not reason.fits({**row, "below": 20}, "low")
    assert not reason.fits({**row, "method": "profile"}, "low")
    assert not reason.fits({**row, "parameter": "Days"}, "low")
    herd = {**row, "level": 0.95}
    assert limit_coverage("cbpp", herd) == theory.sigma_coverage("percentile", 0.95, 14, 15)
    assert limit_coverage("cbpp", {**herd, "parameter": "period2"}) is None
    assert "twice" in why(herd, "low")
    assert why({**herd, "method": "profile", "below": 10}, "low") == ""
    assert [kind(name) for name in ("cor_a.b|g", "sigma", "Days")] == ["cor", "sigma", "coefficient"]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calibration")
    sizes = ["--datasets", "2", "--calibrated", "2", "--replicates", "2", "--workers", "1"]
    return folder, run.main([*sizes, "--out", str(folder)])


def test_the_command_writes_report_pictures_and_results(written):
    folder, code = written
    results = json.loads((folder / report.RESULTS).read_text(encoding="utf-8"))
    assert (folder / report.REPORT).read_text(encoding="utf-8") == report.render(results)
    assert code == min(1, sum(not d.reason for d in report.departures(results)))
    for name in report.PICTURES:
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
        assert f"({name})" in report.render(results)


def test_the_report_says_what_the_results_say(written):
    results = json.loads((written[0] / report.RESULTS).read_text(encoding="utf-8"))
    changed = copy.deepcopy(results)
    row = next(r for r in changed["intervals"][0]["coverage"] if r["method"] == "profile")
    row |= {"inside": 437, "below": 41, "above": 19, "missing": 3}
    text = report.render(changed)
    assert "87.9 ± 1.5 * (41 / 19, 3 without)" in text
    assert "| cbpp, `sd_(Intercept)\\|herd` | profile | 95 | 87.9 ± 1.5 | low, 41 / 19 | " in text
    assert "87.9 ± 1.5" not in report.render(results)
    p = changed["effects"][0]["p"]["z test"]
    p[:] = [0.001] * 30 + [0.5] * 70
    assert "30.0 ± 4.6 *" in report.render(changed)


def test_where_theory_has_a_number_agreement_with_it_is_the_only_reason(written):
    results = json.loads((written[0] / report.RESULTS).read_text(encoding="utf-8"))
    for experiment in results["intervals"]:
        for row in experiment["coverage"]:
            row |= {"inside": round(2000 * row["level"]), "below": 0, "missing": 0}
            row["above"] = 2000 - row["inside"]
    days = [r for r in results["intervals"][1]["coverage"] if r["parameter"] == "Days" and r["method"] == "Wald"]
    assert {d.row["parameter"] for d in report.departures(results)} <= {"Days", "(Intercept)", "sigma"}
    assert [d.reason for d in report.departures(results) if d.row in days] == ["", ""]
    for row in days:
        row["inside"] = round(2000 * row["expected"])
        row["above"] = 2000 - row["inside"]
    reasons = [d.reason for d in report.departures(results) if d.row in days]
    assert reasons == [report.AGREES] * 2
    assert f"| {100 * days[0]['expected']:.1f} | " in report.departures_section(results)
