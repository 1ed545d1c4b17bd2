"""The Bayesian side against numbers from elsewhere: exact integrals, published Bayes factors, another program's draws.

Place in the reading order: after ``peers``. A number with a Monte Carlo error on either side may differ by three of the
combined errors; numbers without one by half a unit in their last place.

The debate data and the record of BayesRTMB's runs may not be shipped: where they do not lie beside the repository, what
needs them is left out, and the report says so.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import cache
from typing import Any

import numpy as np

import refglmm as rg
from refglmm.bayes.diagnostics import mcse_mean
from refglmm.bayes.distributions import LogLogistic, Normal
from refglmm.errors import RefglmmWarning
from validation.compare import Broken, Comparison, Left, Record
from validation.prepare import AbsentError, beside, shared_folder
from validation.tolerance import half_unit

DEBATE = "sat ~ talk + perf + (1 | group)"
#: Mode of the debate model under ``prior_normal()``, found by BayesRTMB and by a closed form that shares no code.
MODE = {
    "Intercept": "1.895",
    "b[talk]": "0.2651",
    "b[perf]": "0.1572",
    "sigma": "0.7779",
    "sd[group:Int]": "0.4611",
    "negative log posterior": "399.64",
    "Laplace log marginal likelihood": "-410.02",
}
#: By quadrature over both standard deviations, everything else in closed form (tests/bayes/test_bridge.py).
LOG_ML, LOG_BF = -409.96460, 6.28692
#: Seeds, and iterations of each of four chains.
SEEDS, DRAWS = 50, 500
#: Bayes factor of the turtles without and with clutches, by quadrature (tests/bayes/test_bayes_factor.py); Sinharay and
#: Stern (2005) have 1.273.
TURTLES = 0.241143
#: Standard deviation of clutches that stands for none: the likelihood then differs by less than 1e-6.
NONE = 1e-5


def compare_posterior() -> Iterator[Record]:
    """Every section; what fails or is absent does not stop the others."""
    sections: dict[str, Callable[[], Iterator[Record]]] = {
        "debate: mode": debate_mode,
        "debate: bridge sampling": debate_bridge,
        "debate: Bayes factor": debate_bayes_factor,
        "debate: BayesRTMB's draws": bayesrtmb_draws,
        "turtles: Bayes factor": turtles,
    }
    for name, section in sections.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RefglmmWarning)
                yield from section()
        except AbsentError as absent:
            yield Left(name, "", 1, str(absent))
        except Exception as error:  # whatever is raised belongs into the report
            yield Broken(name, "", f"{type(error).__name__}: {error}")


def _record(entry: str, quantity: str, published: str, ours: float, allowed: float, reason: str) -> Comparison:
    number = Decimal(published)
    difference, tolerance = float(ours) - float(number), float(allowed) + half_unit(number)
    return Comparison(entry, quantity, published, float(ours), difference, tolerance, "posterior", reason)


@cache
def debate_model() -> rg.GLMM:
    """The model of BayesRTMB's article, with the priors of its first example."""
    return rg.GLMM(DEBATE, beside("debate"), "gaussian", prior=rg.prior_normal())


def debate_mode() -> Iterator[Record]:
    """MAP estimates and what is printed with them."""
    fit = debate_model().optimize()
    ours = fit.estimates["Estimate"].to_dict()
    ours["negative log posterior"] = fit.negative_log_posterior
    ours["Laplace log marginal likelihood"] = fit.log_marginal
    for name, published in MODE.items():
        yield _record("debate: mode", name, published, ours[name], 0.0, "half a unit in the last place")


def debate_bridge() -> Iterator[Record]:
    """Bridge estimates from chains with many seeds: on the mark, and as far off as they say."""
    fits = [
        debate_model().sample(sampling=DRAWS, warmup=DRAWS, seed=seed, progress=False) for seed in range(1, SEEDS + 1)
    ]
    for method in ("normal", "warp3"):
        found = [fit.bridge_sampling(method, seed=k) for k, fit in enumerate(fits)]
        yield from calibrated(f"debate: bridge sampling, {method}", found)


def calibrated(entry: str, found: list[Any]) -> Iterator[Record]:
    """Estimates of one number with reported errors, each from other draws."""
    value, error = (np.array([getattr(result, key) for result in found]) for key in ("logml", "error"))
    n, z = len(value), (value - LOG_ML) / error
    spread = float(value.std(ddof=1))
    three = "three standard errors of the mean over seeds"
    yield _record(entry, f"mean over {n} seeds", f"{LOG_ML:.5f}", float(value.mean()), 3 * spread / np.sqrt(n), three)
    # of n correct ones 0.3 % are beyond three errors: more than one in fifty would be a surprise
    share = float(np.mean(np.abs(z) <= 3.0))
    yield _record(entry, "share within 3 reported errors", "1", share, 1.0 / n + 1e-12, "one seed")
    ratio = float(np.sqrt(np.mean((value - LOG_ML) ** 2)) / np.sqrt(np.mean(error**2)))
    yield _record(entry, "actual error / reported error", "1", ratio, 0.4, "an error of an error: 40 %")


def debate_bayes_factor() -> Iterator[Record]:
    """log BF of one coefficient, by bridge sampling and by the ratio of densities at zero."""
    fit = debate_model().sample(seed=1, progress=False)
    found = fit.bayes_factor({"b[talk]": 0.0}, seed=1)
    entry, reason = "debate: Bayes factor", "three reported errors"
    yield _record(entry, "log BF(talk)", f"{LOG_BF:.5f}", found.log_bf, 3 * found.error, reason)
    if (ratio := found.savage_dickey) is not None:
        yield _record(entry, "log BF(talk), Savage-Dickey", f"{LOG_BF:.5f}", ratio.log_bf, 3 * ratio.error, reason)


def bayesrtmb_draws() -> Iterator[Record]:
    """Posterior means and standard deviations that BayesRTMB's chains had."""
    file = shared_folder() / "reference" / "peers" / "bayesrtmb.jsonl"
    if not file.exists():
        raise AbsentError("the record of BayesRTMB's runs does not lie beside the repository")
    cases = {case["case"]: case for case in map(json.loads, file.read_text(encoding="utf-8").splitlines())}
    fit = debate_model().sample(sampling=4 * DRAWS, seed=1, progress=False)
    for name in ("nuts", "nuts_laplace", "nuts_parallel"):
        for row in cases[name]["table"]:
            if row["variable"] in fit.names:
                draws = fit.draws[row["variable"]]
                theirs = row["sd"] / np.sqrt(row["ess_bulk"])
                allowed = 3 * float(np.hypot(mcse_mean(draws), theirs))
                quantity = f"mean of {row['variable']}"
                reason = "three Monte Carlo errors of both chains"
                yield _record(f"BayesRTMB: {name}", quantity, str(row["mean"]), float(draws.mean()), allowed, reason)


def turtles() -> Iterator[Record]:
    """Probit model of the survival of turtles: are there clutches? log BF of none against some.

    Coefficients normal(0, sqrt 10) of the columns as they are: the column of ones is written as a variable, so that
    nothing is centred. The variance has density 1/(1 + v)^2.
    """
    data = rg.datasets.load("turtles").assign(one=1.0)
    coefficient = Normal(0.0, np.sqrt(10.0))
    prior = rg.prior_normal(
        coefficients={"b[one]": coefficient, "b[x]": coefficient, "sd[clutch:Int]": LogLogistic(0.0, 0.5)}
    )
    model = rg.GLMM("y ~ 0 + one + x + (1 | clutch)", data, "bernoulli", link="probit", prior=prior)
    fit = model.sample(sampling=4 * DRAWS, seed=1, progress=False)
    found = fit.bayes_factor({"sd[clutch:Int]": NONE}, method="warp3", seed=1)
    reason = "three reported errors"
    yield _record("turtles: Bayes factor", "log BF01", f"{TURTLES:.6f}", -found.log_bf, 3 * found.error, reason)
