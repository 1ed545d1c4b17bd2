"""Two of our own paths in one run: with exact gradients a fit needs fewer evaluations and no more time.

Ratios only: the machine that runs the tests may be slow or busy. CPU time, repeats in turn.
"""

from __future__ import annotations

import gc
import time
from statistics import median

import numpy as np
import pytest

import refglmm as rg
from validation.bench.cases import CASES

REPEATS = 5
BY_NAME = {case.name: case for case in CASES}


def cpu_seconds(work):
    gc.collect()
    began = time.process_time()
    work()
    return time.process_time() - began


def alternating(first, second):
    """Median CPU seconds of two functions, called in turn; the first round only warms up."""
    rounds = [(cpu_seconds(first), cpu_seconds(second)) for _ in range(REPEATS + 1)][1:]
    return tuple(median(side) for side in zip(*rounds, strict=True))


@pytest.fixture(scope="module", params=["Contraception cm3", "Contraception cm4", "grouseticks"])
def model(request):
    case = BY_NAME[request.param]
    return rg.GLMM(case.formula, case.data(), case.family)


def test_gradients_save_evaluations_and_reach_the_same_optimum(model):
    with_gradient, without = model.fit(optimizer="newton"), model.fit(optimizer="bobyqa")
    assert with_gradient.optimum.n_evaluations < 0.5 * without.optimum.n_evaluations
    assert with_gradient.optimum.value <= without.optimum.value + 1e-7


def test_gradients_cost_no_time(model):
    with_gradient, without = alternating(lambda: model.fit(optimizer="newton"), lambda: model.fit(optimizer="bobyqa"))
    assert with_gradient <= without


def test_a_refit_saves_the_time_of_parsing_and_of_the_first_stage():
    case = BY_NAME["Contraception cm3"]
    data = case.data()
    fit = rg.glmer(case.formula, data, case.family)
    refit, whole = alternating(lambda: fit.refit(fit.frame.y), lambda: rg.glmer(case.formula, data, case.family))
    assert refit < whole


def test_time_grows_no_faster_than_the_rows():
    # eight times the rows with the same groups: anything superlinear in n would show
    def fits(n):
        rng = np.random.default_rng(3)
        data = {"x": rng.standard_normal(n), "g": rng.integers(0, 50, n).astype(str)}
        data["y"] = (rng.random(n) < 1 / (1 + np.exp(-data["x"]))) * 1.0
        model = rg.GLMM("y ~ x + (1 | g)", data, "binomial")
        return lambda: model.fit(control={"derivatives": True})

    small, large = fits(4_000), fits(32_000)
    seconds = alternating(small, large)
    assert seconds[1] < 8 * 1.5 * seconds[0]
