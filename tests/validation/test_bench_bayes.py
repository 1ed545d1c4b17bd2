"""The posterior benchmark's own machinery: rates, distances of means, the report, workers that are not there."""

from __future__ import annotations

import json

import numpy as np
import pytest

from validation.bench import wire
from validation.bench.peers import PeerError
from validation.bench_bayes import figures, report, run
from validation.bench_bayes.cases import CASES, NUTPIE, OURS, RSTANARM, Case
from validation.bench_bayes.worker_python import Arrays
from validation.bench_bayes.worker_refglmm import Worker


def run_of(mean=0.0, seconds=2.0, seed=1, stuck=False):
    draws = np.random.default_rng(seed).normal(mean, 1.0, (4, 400, 2))
    if stuck:
        draws[0] += 5.0
    return {"wall": seconds, "sampling": seconds, "divergent": 0, "leapfrogs": 7.0} | figures.summary(draws)


def case_of(**programs):
    return {"formula": "y ~ x", "n": 10, "q": 3, "programs": {name: {"runs": runs} for name, runs in programs.items()}}


def test_the_rate_is_the_least_effective_sample_size_a_second():
    one = run_of()
    assert one["least"] == min(one["ess"])
    assert figures.rate(one) == pytest.approx(one["least"] / 2.0)
    assert 1200 < one["least"] < 2000  # 1,600 independent draws


def test_chains_that_disagree_have_no_effective_draws():
    one = run_of(stuck=True)
    assert one["rhat"] > figures.MIXED
    assert figures.rate(one) == 0.0
    case = case_of(refglmm=[run_of()], nutpie=[one])
    assert figures.ratio(case, NUTPIE) == float("inf")
    assert figures.distances(case, NUTPIE) is None


def test_ratios_are_of_medians_over_rounds():
    ours = [run_of(seconds=s) for s in (1.0, 2.0, 9.0)]
    theirs = [run_of(seconds=20.0)]
    assert figures.ratio(case_of(refglmm=ours, rstanarm=theirs), RSTANARM) == pytest.approx(10.0)
    assert figures.ratio(case_of(refglmm=ours), RSTANARM) is None


def test_distances_of_means_are_in_combined_errors_of_pooled_runs():
    same = case_of(refglmm=[run_of(seed=k) for k in (1, 2)], rstanarm=[run_of(seed=3)])
    assert np.all(figures.distances(same, RSTANARM) < figures.WITHIN)
    mean, error = figures.pooled(same["programs"][OURS])
    assert mean == pytest.approx(np.mean([r["mean"] for r in same["programs"][OURS]["runs"]], axis=0))
    assert error == pytest.approx(1.0 / np.sqrt(3200), rel=0.15)
    shifted = case_of(refglmm=[run_of(seed=1)], rstanarm=[run_of(0.2, seed=3)])
    assert np.all(figures.distances(shifted, RSTANARM) > figures.WITHIN)


def test_draws_come_back_as_they_were_written(tmp_path):
    draws = np.random.default_rng(4).standard_normal((4, 5, 3))
    draws.tofile(tmp_path / "draws.bin")
    np.testing.assert_array_equal(figures.read_draws(tmp_path / "draws.bin", 4, 5), draws)


def results_of(**cases):
    machine = {"processor": "p", "cores": 2, "system": "s", "python": "3", "load": 0.4}
    settings = {"chains": 4, "warmup": 10, "draws": 10, "workers": 2, "rounds": 1, "slow": 120.0, "budget": 60.0}
    programs = {OURS: {"version": "1", "stands on": {"numpy": "2"}}, RSTANARM: {"missing": "Rscript is not installed"}}
    return {"cases": cases, "programs": programs, "machine": machine, "settings": settings}


def test_the_report_has_promises_rates_and_what_is_missing(tmp_path):
    results = results_of(cbpp=case_of(refglmm=[run_of(seconds=1.0)], nutpie=[run_of(seconds=2.0, seed=2)]))
    single = {"data": "debate", "dimension": 154, "gradient": 80.0}
    single |= {f"{name}{clock}": 1.2 for name in ("sample", "bridge", "bayes factor") for clock in ("", ", cpu")}
    results["single"] = single
    assert report.write(results, tmp_path) == 0
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "Not there: rstanarm: Rscript is not installed." in text
    found = {promise: met for promise, _, met in report.bars(results)}
    assert found["cbpp: 3 times the effective draws a second of nutpie"] is False
    assert found["cbpp: 10 times the effective draws a second of rstanarm"] is None
    assert found["debate, 4 x (1000 + 1000), seconds under 1.5"] is True
    assert "| debate: 4 x (1000 + 1000) draws | 1.2 s | 1.2 s |" in text


def test_a_program_that_fails_leaves_its_reason(tmp_path):
    case = case_of(refglmm=[run_of()])
    case["programs"][NUTPIE] = {"failed": "sample: no answer within 5 s", "over budget": True}
    text = report.render(results_of(cbpp=case))
    assert "over budget" in text
    assert "nutpie: sample: no answer within 5 s" in text


def test_a_python_that_is_not_there_is_said(monkeypatch):
    monkeypatch.setattr(run, "PEER_PYTHON", "/nowhere/python")
    with pytest.raises(PeerError, match="the benchmark environment is missing"):
        run.command(NUTPIE)
    assert run.installed({NUTPIE})[NUTPIE]["missing"].startswith("the benchmark environment is missing")
    monkeypatch.setattr(run.shutil, "which", lambda _: None)
    with pytest.raises(PeerError, match="Rscript is not installed"):
        run.command(RSTANARM)


def test_cases_are_chosen_by_name():
    assert [c.name for c in run.chosen(run.parse_arguments(["--quick"]))] == ["cbpp"]
    assert [c.name for c in run.chosen(run.parse_arguments(["--only", "Verb;cbpp"]))] == ["cbpp", "VerbAgg"]
    assert len(run.chosen(run.parse_arguments([]))) == len(CASES)


@pytest.mark.filterwarnings("ignore:R-hat of:refglmm.errors.SamplingWarning")  # chains are short here
def test_our_worker_writes_the_arrays_and_draws_that_others_take(tmp_path):
    case: Case = CASES[0]
    wire.write_columns(tmp_path, case.data())
    worker = Worker()
    described = worker.load({**case.request(), "folder": str(tmp_path)})
    assert described["names"] == ["Intercept", "b[period2]", "b[period3]", "b[period4]", "sd[herd:Int]"]
    arrays = Arrays({**case.request(), **described, "folder": str(tmp_path)})
    np.testing.assert_allclose(arrays.X.mean(axis=0), 0.0, atol=1e-14)
    assert arrays.levels == [15]
    assert arrays.trials.sum() == case.data()["size"].sum()
    assert arrays.successes.sum() == pytest.approx(case.data()["incidence"].sum())
    file = tmp_path / "draws.bin"
    size = {"draws": 60, "warmup": 100, "chains": 2, "cores": 1, "seed": 1}
    found = worker.sample({**size, "file": str(file)})
    assert found["wall"] > 0.0
    draws = figures.read_draws(file, 2, 60)
    assert draws.shape == (2, 60, 5)
    assert -3.0 < draws[:, :, 0].mean() < 0.0


def test_reported_undoes_the_centring():
    arrays = Arrays.__new__(Arrays)
    arrays.means = np.array([2.0, -1.0])
    slopes = np.array([[[1.0, 3.0]]])
    values = arrays.reported(np.array([[5.0]]), slopes, np.array([[[0.7]]]))
    assert values.tolist() == [[[5.0 - 2.0 + 3.0, 1.0, 3.0, 0.7]]]


def test_results_are_plain_numbers():
    assert json.loads(json.dumps(run_of()))["rhat"] < 1.05
