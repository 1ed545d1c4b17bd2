"""Everything that repeats work runs on any executor of concurrent.futures, with the numbers of a serial run."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

NULL = "cbind(incidence, size - incidence) ~ 1 + (1 | herd)"


def same(one, other):
    """Equal values, bit by bit, NaN being equal to NaN."""
    if isinstance(one, pd.DataFrame | pd.Series):
        return type(one) is type(other) and one.equals(other)
    return bool(np.array_equal(one, other, equal_nan=True))


def bootstrap(fit, **how):
    return [fit.bootstrap(nsim=8, seed=2, **how).replicates]


def bca(fit, **how):
    return [fit.bootstrap(nsim=25, seed=2).confint("period2", type="bca", **how)]


def profile(fit, **how):
    return [fit.profile([0, 1], **how).points]


def confint(fit, **how):
    intervals = fit.confint([0, 1], **how)
    boot = fit.confint([1], method="boot", nsim=40, seed=1, **how)
    return [intervals, boot]


def influence(fit, **how):
    result = fit.influence("herd", **how)
    return [result.beta, result.cooks_distance()]


def all_fit(fit, **how):
    result = fit.all_fit(**how)
    return [result.table.drop(columns="seconds", errors="ignore"), result.estimates]


def pb_test(fit, **how):
    result = fit.pb_test(fit.update(NULL), nsim=8, seed=3, **how)
    return [result.samples, result.table]


def calibrated_tests(fit, **how):
    return [fit.calibrated_tests(6, 19, seed=4, **how).as_frame()]


EVERYTHING = [bootstrap, bca, profile, confint, influence, all_fit, pb_test, calibrated_tests]


@pytest.mark.parametrize("task", EVERYTHING)
@pytest.mark.parametrize("kind", ["threads", "processes"])
@pytest.mark.filterwarnings("ignore::refglmm.errors.IntervalWarning")
def test_an_executor_changes_nothing(cbpp, task, kind, request):
    serial, spread = task(cbpp), task(cbpp, executor=request.getfixturevalue(kind))
    assert len(serial) == len(spread)
    for one, other in zip(serial, spread, strict=True):
        assert same(one, other), (one, other)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_dask_is_an_executor_too(cbpp):
    distributed = pytest.importorskip("distributed")
    settings = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "silence_logs": 50}
    with distributed.LocalCluster(**settings) as cluster, distributed.Client(cluster) as client:
        spread = {task: task(cbpp, executor=client.get_executor()) for task in (influence, pb_test, all_fit)}
    for task, values in spread.items():
        assert all(same(one, other) for one, other in zip(task(cbpp), values, strict=True)), task.__name__
