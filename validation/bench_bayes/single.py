"""Times of refglmm alone: the debate model, its Bayes factor, one gradient of a crossed model.

Place in the reading order: after ``cases``. The debate data may not be shipped; where they do not lie beside the
repository, the look-alike that is shipped, of the same size, stands in.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import pandas as pd

import refglmm as rg
from validation.prepare import AbsentError, beside

#: Positions that one timing of the gradient visits.
POSITIONS = 2000


def debate() -> tuple[str, pd.DataFrame, str]:
    """Name, data, and the formula of the model."""
    try:
        return "debate", beside("debate"), "sat ~ talk + perf + (1 | group)"
    except AbsentError:
        return "debate_like", rg.datasets.load("debate_like"), "sat ~ talk + perf + (1 | group)"


def crossed(n: int = 5000, people: int = 100, items: int = 50) -> rg.GLMM:
    """A Bernoulli model with two crossed random intercepts and two coefficients: 154 parameters."""
    rng = np.random.default_rng(11)
    data = pd.DataFrame(
        {
            "person": pd.Categorical(rng.integers(0, people, n)),
            "item": pd.Categorical(rng.integers(0, items, n)),
            "x": rng.standard_normal(n),
        }
    )
    eta = 0.3 + 0.5 * data["x"] + rng.normal(0, 0.8, people)[data["person"].cat.codes]
    eta += rng.normal(0, 0.5, items)[data["item"].cat.codes]
    data["y"] = (rng.random(n) < 1.0 / (1.0 + np.exp(-eta))).astype(float)
    return rg.GLMM("y ~ x + (1 | person) + (1 | item)", data, "bernoulli", prior=rg.prior_normal())


def gradient_microseconds(model: rg.GLMM) -> float:
    """CPU time of one log density with its gradient, mean over many positions around zero."""
    posterior = model.posterior
    positions = 0.3 * np.random.default_rng(12).standard_normal((POSITIONS, posterior.dimension))
    began = time.process_time()
    posterior.log_densities(positions)
    return 1e6 * (time.process_time() - began) / POSITIONS


def _timed(work: Callable[[], Any]) -> tuple[Any, tuple[float, float]]:
    """Result, wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, (time.perf_counter() - wall, time.process_time() - cpu)


def single_numbers(repeats: int) -> dict[str, Any]:
    """Medians over ``repeats`` calls in a warm process; everything is called once before."""
    name, data, formula = debate()
    model = rg.GLMM(formula, data, "gaussian", prior=rg.prior_normal())
    seconds: dict[str, list[tuple[float, float]]] = {"sample": [], "bayes factor": [], "bridge": []}
    for repeat in range(repeats + 1):
        model.__dict__.pop("posterior", None)
        fit, sampled = _timed(partial(model.sample, seed=repeat, progress=False))
        _, bridged = _timed(fit.bridge_sampling)
        _, compared = _timed(partial(fit.bayes_factor, {"b[talk]": 0.0}, seed=repeat))
        if repeat:
            for key, value in (("sample", sampled), ("bayes factor", compared), ("bridge", bridged)):
                seconds[key].append(value)
    large = crossed()
    gradient_microseconds(large)
    gradients = [gradient_microseconds(large) for _ in range(3 * repeats)]
    return {
        "data": name,
        "dimension": large.posterior.dimension,
        **{key: median(wall for wall, _ in runs) for key, runs in seconds.items()},
        **{f"{key}, cpu": median(cpu for _, cpu in runs) for key, runs in seconds.items()},
        "gradient": median(gradients),
    }
