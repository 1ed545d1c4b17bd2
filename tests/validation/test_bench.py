"""The benchmark's own machinery: cases, processes, the referee, the clocks, the figures and the report."""

from __future__ import annotations

import copy
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

import refglmm as rg
from refglmm.covariance import make_structure
from validation.bench import figures, floor, instrument, peers, referee, report, run, wire
from validation.bench.cases import (
    BIG_CROSSED,
    CASES,
    DISSECTED,
    FACTORISATION_BOUND,
    GLMM,
    LARGEST_PLOTTED,
    LME4,
    ONE_FACTOR,
    OURS,
    simulated,
)

BY_NAME = {case.name: case for case in CASES}
SMALL = [case for case in CASES if case.quick]


# ------------------------------------------------------------------------------------------------ cases
def test_the_cases_that_bars_and_tables_name_exist():
    assert {*DISSECTED, *FACTORISATION_BOUND, ONE_FACTOR, BIG_CROSSED} <= set(BY_NAME)
    assert len(BY_NAME) == len(CASES) >= 14
    assert (ONE_FACTOR, BIG_CROSSED) == ("simulated 1e6, 1e5 groups", "simulated 1e6, 1e4 x 1e3")
    assert BY_NAME[LARGEST_PLOTTED].simulated_n == 1_000_000


@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.name)
def test_every_program_can_read_the_response_as_a_number(case):
    data = case.data()
    model = rg.GLMM(case.formula, data, case.family)
    np.testing.assert_array_equal(model.frame.y, data[case.response])
    weights = np.ones(len(data)) if case.weights is None else data[case.weights]
    np.testing.assert_array_equal(model.frame.weights, weights)
    assert not data.isna().to_numpy().any()


def test_simulated_data_are_the_same_every_time_and_use_every_level():
    first, second = simulated(5000, 20, 7), simulated(5000, 20, 7)
    pd.testing.assert_frame_equal(first, second)
    assert first["g"].nunique() == 20
    assert first["h"].nunique() == 7
    assert "h" not in simulated(50, 5)
    assert 0.2 < first["y"].mean() < 0.6


# ------------------------------------------------------------------------------------------------- wire
def test_a_data_frame_survives_the_wire(tmp_path):
    data = pd.DataFrame({"x": [0.1, 1e-300, -3.0], "f": pd.Categorical(["b", "a", "b"], categories=["b", "a"])})
    wire.write_columns(tmp_path, data)
    pd.testing.assert_frame_equal(wire.read_columns(tmp_path), data)


def test_a_burst_leaves_the_first_call_out():
    durations = iter([0.05, 0.0, 0.0])
    _, times = wire.burst(lambda: time.sleep(next(durations)), 3)
    assert times["wall"] < 0.04
    durations = iter([0.05])
    assert wire.burst(lambda: time.sleep(next(durations)), 1)[1]["wall"] >= 0.05


def test_peak_memory_sees_an_allocation():
    code = (  # a process of its own, whose peak nothing else has raised
        "import numpy as np; from validation.bench.wire import peak_memory; before = peak_memory(); "
        "np.ones(10_000_000); print(peak_memory() - before)"
    )
    grown = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=peers.REPOSITORY)
    assert 70e6 < float(grown.stdout) < 100e6


# ------------------------------------------------------------------------------------------------ peers
def answering(monkeypatch, code):
    monkeypatch.setattr(peers, "command", lambda peer: [sys.executable, "-u", "-c", code])
    return peers.Worker("lme4", 4 * 2**30)


def test_a_worker_is_heard_among_its_own_chatter(monkeypatch):
    code = "for line in open(0): print('chatter'); print('@answer {\"wall\": 1.5}')"
    worker = answering(monkeypatch, code)
    assert [worker.ask("fit"), worker.ask("fit")] == [{"wall": 1.5}] * 2
    worker.stop()


def test_a_worker_over_budget_is_stopped(monkeypatch):
    worker = answering(monkeypatch, "import time; time.sleep(60)")
    with pytest.raises(peers.OverBudgetError, match="fit: no answer within 0 s"):
        worker.ask("fit", timeout=0.2)
    assert worker.process.poll() is not None


def test_the_last_words_of_a_worker_are_kept(monkeypatch):
    worker = answering(monkeypatch, "import sys; sys.stderr.write('no such library\\n'); sys.exit(3)")
    with pytest.raises(peers.PeerError, match="ended with status 3: no such library"):
        worker.ask("fit")
    worker.stop()


def test_an_error_in_the_program_is_a_peer_error(monkeypatch):
    worker = answering(monkeypatch, 'for line in open(0): print(\'@answer {"error": "singular"}\')')
    with pytest.raises(peers.PeerError, match="fit: singular"):
        worker.ask("fit")
    worker.stop()


def test_a_program_that_is_not_there_says_what_to_do(monkeypatch):
    monkeypatch.setattr(peers, "BENCH_PYTHON", "nowhere/python")
    with pytest.raises(peers.PeerError, match=r"setup\.sh makes it"):
        peers.command(GLMM)
    monkeypatch.setattr(peers.shutil, "which", lambda name: None)
    with pytest.raises(peers.PeerError, match="Rscript is not installed"):
        peers.command(LME4)


def test_a_slow_program_sits_out_rounds():
    walls = {OURS: 40.0, LME4: 40.0, GLMM: 0.1, "gpboost": 9.0}
    fits = run.CaseRun(BY_NAME["cbpp"], tuple(walls), 10.0, 7)
    for peer, wall in walls.items():
        fits.program(peer)["first"] = {"wall": wall}
    rounds = {peer: [r for r in range(7) if fits._takes_part(peer, r)] for peer in walls}
    assert rounds == {OURS: [0, 3, 6], LME4: [], GLMM: list(range(7)), "gpboost": [0, 3, 6]}


@pytest.mark.slow
def test_one_case_from_end_to_end_with_our_own_worker():
    result = run.CaseRun(BY_NAME["VerbAgg"], (OURS,), 300.0, 1).run()
    ours = result["programs"][OURS]
    assert "failed" not in ours
    assert ours["value"] == pytest.approx(8151.39972, abs=1e-4)
    assert ours["peak"] > ours["before"] > 0
    assert result["dissected"]["passes"] >= ours["evaluations"]
    assert result["floor"]["prepared"] > result["floor"]["floor"] > 0
    assert result["groups"] == ["id", "item"]


# ---------------------------------------------------------------------------------------------- referee
@pytest.mark.parametrize("name", ["cbpp", "Contraception cm4", "Contraception cm5", "toenail, 25 nodes", "sleepstudy"])
def test_our_own_estimates_reported_as_a_rival_would_get_our_own_objective(name):
    case = BY_NAME[name]
    data = case.data()
    if case.reml is None:
        fit = rg.glmer(case.formula, data, case.family, n_agq=case.n_agq)
    else:
        fit = rg.lmer(case.formula, data, reml=case.reml)
    model = rg.GLMM(case.formula, data, "gaussian" if case.reml is not None else case.family)
    terms = []
    for term, structure, part in zip(model.design.terms, model.structures, model.problem.par_slices, strict=True):
        T = structure.factor(fit.optimum.par[part])
        group = ":".join(reversed(term.group.split(":")))
        terms.append(
            {"group": group, "columns": term.columns[::-1], "covariance": fit.sigma**2 * (T @ T.T)[::-1, ::-1]}
        )
    estimates = {
        "names": [":".join(reversed(n.split(":"))) for n in model.design.names[::-1]],
        "beta": fit.optimum.beta[::-1],
        "terms": terms[::-1],
        "sigma": fit.sigma,
    }
    par, beta = referee.psi_of(model, estimates)
    np.testing.assert_allclose(beta, fit.optimum.beta)
    value = referee.exact_objective(model, par, beta, case.n_agq, case.reml)
    assert value == pytest.approx(fit.optimum.value, abs=1e-8)


@pytest.mark.parametrize(
    ("name", "hom", "par"),
    [
        ("us", False, [1.2, -0.3, 0.0, 0.5, 0.2, 0.0]),
        ("diag", False, [1.0, 2.0, 0.5]),
        ("diag", True, [0.7]),
        ("cs", False, [1.0, 2.0, 0.5, -0.2]),
        ("cs", True, [0.7, 0.4]),
        ("ar1", True, [0.7, -0.4]),
        ("ar1", False, [0.7, 1.0, 3.0, 0.9]),
    ],
)
def test_a_covariance_matrix_becomes_the_parameters_that_made_it(name, hom, par):
    structure = make_structure(name, 3, hom)
    T = structure.factor(par)
    np.testing.assert_allclose(referee.structure_par(structure, T @ T.T), par, atol=1e-12)


def test_names_that_do_not_match_are_refused():
    assert referee.align(["a", "b:c"], ["c:b", "a"]) == [1, 0]
    with pytest.raises(ValueError, match=r"reports \['a'\], not \['b'\]"):
        referee.align(["b"], ["a"])
    with pytest.raises(ValueError, match="reports"):
        referee.align(["a"], ["a", "b"])


# ------------------------------------------------------------------------------- instrument and floor
@pytest.fixture(scope="module")
def small_fit():
    case = BY_NAME["cbpp"]
    data = case.data()
    return lambda: rg.glmer(case.formula, data, case.family)


def test_the_shares_of_the_time_add_up_and_the_clocks_are_taken_away(small_fit):
    plain = small_fit()
    before = {name: vars(sys.modules[name]).copy() for name in sys.modules if name.startswith("refglmm.")}
    found = instrument.dissect(small_fit)
    assert sum(found["seconds"].values()) == pytest.approx(found["total"])
    assert all(seconds >= 0 for seconds in found["seconds"].values())
    for share in (instrument.FAMILY, instrument.FACTORISATION, instrument.INVERSE, instrument.FORMULA):
        assert found["seconds"][share] > 0, share
    assert found["passes"] >= plain.optimum.n_evaluations
    assert found["factorisations"] >= plain.optimum.n_evaluations
    assert all(vars(sys.modules[name])[key] is value for name, space in before.items() for key, value in space.items())


def test_the_fused_pass_agrees_with_matrices():
    data = simulated(400, 9, 4)
    model = rg.GLMM("y ~ x + t + (1 | g) + (1 | h)", data, "binomial")
    codes = floor.global_codes(model.design.terms)
    pairs, n_pairs = floor.pair_codes(codes)
    y, X, q = model.frame.y, model.design.X, model.problem.q
    beta, b = np.array([0.3, -0.2, 0.1]), np.linspace(-1, 1, q)
    Xts, Zts, diagonal, cross = np.empty(3), np.empty(q), np.empty(q), np.empty(n_pairs)
    floor.fused_pass(y, X, beta, codes, b, pairs, Xts, Zts, diagonal, cross)
    Z = np.zeros((400, q))
    np.put_along_axis(Z, codes, 1.0, axis=1)
    mu = 1 / (1 + np.exp(-(X @ beta + Z @ b)))
    C = Z.T @ ((mu * (1 - mu))[:, None] * Z)
    np.testing.assert_allclose(Xts, X.T @ (y - mu))
    np.testing.assert_allclose(Zts, Z.T @ (y - mu))
    np.testing.assert_allclose(diagonal, np.diag(C))
    seen = C[:9, 9:][C[:9, 9:] > 0]
    np.testing.assert_allclose(np.sort(cross), np.sort(seen))


# ------------------------------------------------------------------------------------ figures and report
def program(cpu, **more):
    return {"runs": [{"wall": 2 * c, "cpu": c} for c in cpu], "first": {"wall": 9.0, "cpu": 9.0}, **more}


@pytest.fixture
def results():
    ours = {"n": 10, "q": 2, "value": 5.0, "evaluations": 7, "decrement": 1e-12, "converged": True}
    ours |= {"peak": 3e9, "before": 1e9}

    def case(name, our_time, **theirs):
        return {"name": name, "programs": {OURS: program(our_time, **ours), **theirs}}

    cases = [
        case("cbpp", [0.002, 0.001, 0.003], lme4=program([0.08]), glmm=program([0.001], refits=[{"cpu": 1.0}])),
        case("VerbAgg", [0.1], lme4=program([3.2], difference=-2e-5), glmm=program([0.05], difference=2e-6)),
        case("InstEval", [1.0], lme4=program([1.5])),
        case(
            LARGEST_PLOTTED,
            [4.0],
            lme4={"runs": [], "failed": "fit: no answer within 300 s", "over budget": True, "budget": 300.0},
        ),
        case("simulated 1e4, 1e3 x 1e2", [0.04], lme4=program([])),
        case(ONE_FACTOR, [40.0]),
    ]
    cases[0]["programs"][OURS]["refits"] = [{"cpu": 0.5}]
    seconds = dict.fromkeys(instrument.SHARES, 0.1)
    cases[1]["dissected"] = {"total": 0.9, "seconds": seconds, "passes": 70, "factorisations": 50}
    cases[1]["floor"] = {"pass": 0.001, "factorisation": 0.001, "floor": 0.02, "prepared": 0.08}
    return {
        "machine": {"processor": "abacus", "cores": 2, "system": "Linux", "python": "3.11", "load": 0.5},
        "settings": {"repeats": 3, "few": 3, "slow": 30.0, "budget": 300.0},
        "programs": {
            OURS: {"version": "0", "stands on": {"numpy": "2"}},
            LME4: {"version": "1.1.31"},
            GLMM: {"version": "0.6.2"},
            "gpboost": {"missing": "not installed"},
        },
        "startup": {"import": [0.4, 0.3], "fit": [2.0, 1.0], "cold": [9.0, 8.0]},
        "cases": {case["name"]: case for case in cases},
    }


def test_medians_first_fits_and_ratios(results):
    cbpp, small = results["cases"]["cbpp"], results["cases"]["simulated 1e4, 1e3 x 1e2"]
    assert figures.seconds(cbpp, OURS) == 0.002
    assert figures.seconds(cbpp, OURS, "wall") == 0.004
    assert figures.seconds(small, LME4) == 9.0  # only the first fit is there
    assert figures.seconds(cbpp, "glmmTMB") is None
    assert figures.ratio(cbpp, LME4) == pytest.approx(40)
    assert figures.mean_ratio(results, GLMM) == pytest.approx(0.5)
    assert figures.mean_ratio(results, "glmmTMB") is None


def test_the_exponent_of_a_power_law():
    assert figures.exponent([10, 100, 1000], [2e-3, 2e-2, 2e-1]) == pytest.approx(1.0)
    assert figures.exponent([10, 1000], [1.0, 10.0]) == pytest.approx(0.5)


def verdicts(results):
    return {bar.promise: (bar.met, bar.found) for bar in figures.bars(results)}


def test_each_bar_says_whether_it_is_met_and_by_what(results):
    found = verdicts(results)
    assert found["30 times faster than lme4 (geometric mean)"] == (False, "25.6")  # of 40, 32, 1.5, 225
    assert found["no model less than 3 times faster than lme4"] == (True, "VerbAgg 32")
    assert found["InstEval at least 2 times faster than lme4"] == (False, "InstEval 1.5")
    assert found["10 times faster than glmmTMB (geometric mean)"] == (None, "not measured")
    assert found["ahead of glmm where it takes 20 ms or more"] == (False, "VerbAgg 0.5")
    assert found["at most 5 ms behind glmm on the others"] == (True, "cbpp 1 ms")
    assert found["a refit to a new response ahead of glmm everywhere"] == (True, "cbpp 2")
    assert found["no objective above a rival's by more than 1e-6"] == (False, "VerbAgg (glmm) 2e-06")
    assert found["predicted decrease below 1e-8 at every optimum"][0] is True
    assert found[f"{ONE_FACTOR}: under 60 s"] == (False, "80 s")
    assert found[f"{ONE_FACTOR}: under 4 GB"] == (True, "3 GB")
    assert found[f"{BIG_CROSSED}: finishes"] == (None, "not measured")
    assert found["fresh process, warm cache: import, cbpp fit, summary under 1.5 s"] == (False, "2 s")
    assert found["import under 0.5 s"] == (True, "0.4 s")


def test_bars_turn_when_the_numbers_do(results):
    better = copy.deepcopy(results)
    cases = better["cases"]
    cases["VerbAgg"]["programs"][GLMM] = program([0.2], difference=-1e-9)
    cases["cbpp"]["programs"][OURS]["runs"] = [{"wall": 0.02, "cpu": 0.02}]
    cases["cbpp"]["programs"][OURS]["decrement"] = 1e-7
    cases["InstEval"]["programs"][LME4] = program([2.5])
    faster = copy.deepcopy(results)
    faster["cases"]["InstEval"]["programs"][LME4] = program([40.0])
    assert verdicts(faster)["30 times faster than lme4 (geometric mean)"] == (True, "58.3")
    cases[BIG_CROSSED] = {"name": BIG_CROSSED, "programs": {OURS: program([], failed="out of memory")}}
    found = verdicts(better)
    assert found["no model less than 3 times faster than lme4"] == (True, "cbpp 4")
    assert found["InstEval at least 2 times faster than lme4"] == (True, "InstEval 2.5")
    assert found["ahead of glmm where it takes 20 ms or more"] == (True, "VerbAgg 2")
    assert found["at most 5 ms behind glmm on the others"] == (False, "cbpp 19 ms")
    assert found["no objective above a rival's by more than 1e-6"][0] is True
    assert found["predicted decrease below 1e-8 at every optimum"] == (False, "cbpp 1e-07")
    assert found[f"{BIG_CROSSED}: finishes"] == (False, "out of memory")


def test_the_report_shows_what_was_measured_and_what_was_not(results, tmp_path, capsys):
    assert report.write(results, tmp_path) == 0
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "abacus, 2 cores" in text
    assert "Not there: gpboost: not installed." in text
    assert "| cbpp | 10 | 2 | 2 | 80 (40) | 1 (0.5) |" in text
    assert f"| {LARGEST_PLOTTED} | 10 | 2 | 4,000 | > 300 s |  |" in text
    assert "| simulated 1e4, 1e3 x 1e2 | 10 | 2 | 40 | 9,000* (225) |  |" in text
    assert "| VerbAgg | 7 | 70 | 50 | 1.0e-12 | yes |" in text
    assert "| VerbAgg | 5.000000 | -2.0e-05 | 2.0e-06 |" in text
    assert "| cbpp | 3,000 (2,000) |  |  |" in text
    assert "| cbpp | 500 | 1,000 | 2 |" in text
    assert "| refglmm | 1.00 | 1.00 (10,000 to 1,000,000) |" in text
    assert "| factorisation | 100 | 11 % |" in text
    assert "| VerbAgg | 1 | 1 | 20 | 4 | 5 |" in text
    assert "| import | 0.40 | 0.30 |" in text
    assert f"- {LARGEST_PLOTTED}, lme4: fit: no answer within 300 s" in text
    assert report.PICTURE in text
    assert (tmp_path / report.PICTURE).stat().st_size > 10_000
    missed = sum(met is False for met, _ in verdicts(results).values())
    assert f"{missed} missed" in capsys.readouterr().out


def test_a_report_of_one_small_case_has_no_empty_sections(results):
    results["cases"] = {"InstEval": results["cases"]["InstEval"]}
    del results["startup"]
    text = report.render(results)
    for absent in ("Time against n", "Where the time goes", "A new response", "fresh process, seconds", report.PICTURE):
        assert absent not in text


def test_tables_of_numbers_are_readable():
    assert [report.milliseconds(s) for s in (None, 0.00123456, 0.0123456, 12.3456)] == ["", "1.23", "12.3", "12,346"]
    assert [report.times(r) for r in (None, 0.0456, 1.26, 9.96, 76.4)] == ["", "0.046", "1.3", "10", "76"]


def test_the_command_line_chooses_cases():
    names = [case.name for case in run.chosen(run.parse_arguments(["--only", "Contraception cm1;VerbAgg"]))]
    assert names == ["Contraception cm1", "VerbAgg"]
    assert [case.name for case in run.chosen(run.parse_arguments(["--quick"]))] == [case.name for case in SMALL]
    assert len(run.chosen(run.parse_arguments([]))) == len(CASES)
