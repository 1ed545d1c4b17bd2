"""Writes golden_arviz.json: what ArviZ says about golden_draws.csv. Run with ArviZ 0.23: python golden_arviz.py."""

import hashlib
import json
import platform
import warnings
from pathlib import Path

import arviz
import numpy as np
import pandas as pd
import scipy
from arviz.stats import diagnostics

HERE = Path(__file__).parent
QUANTITIES = ["iid", "sticky", "swinging", "heavy", "apart", "wide", "ties"]


def golden(frame):
    """Diagnostics by quantity, Pareto smoothing by point, LOO and WAIC by model."""

    def draws(names):
        return frame[names].to_numpy().reshape(4, 60, -1)

    one = {name: draws([name])[:, :, 0] for name in QUANTITIES}
    out = {
        "rhat": {name: arviz.rhat(x) for name, x in one.items()},
        "rhat_rank": {name: arviz.rhat(x, method="z_scale") for name, x in one.items()},
        "rhat_folded": {name: arviz.rhat(x, method="folded") for name, x in one.items()},
        "ess_bulk": {name: arviz.ess(x) for name, x in one.items()},
        "ess_tail": {name: arviz.ess(x, method="tail") for name, x in one.items()},
        "ess_tail_95": {name: arviz.ess(x, method="tail", prob=0.025) for name, x in one.items()},
        "ess_mean": {name: arviz.ess(x, method="mean") for name, x in one.items()},
        "ess_quantile_30": {name: arviz.ess(x, method="quantile", prob=0.3) for name, x in one.items()},
        "mcse_mean": {name: arviz.mcse(x) for name, x in one.items()},
        "mcse_sd": {name: arviz.mcse(x, method="sd") for name, x in one.items()},
        "mcse_quantile_30": {name: arviz.mcse(x, method="quantile", prob=0.3) for name, x in one.items()},
        "e_bfmi": {name: diagnostics._bfmi(x).tolist() for name, x in one.items()},
        "autocorrelation": {name: arviz.autocorr(x)[:, :10].tolist() for name, x in one.items()},
    }
    for model in "ab":
        log_lik = draws([f"{model}{i}" for i in range(1, 7)])
        weights, khat = arviz.psislw(-log_lik.reshape(-1, 6).T, 0.7)
        data = arviz.from_dict(posterior={"x": log_lik[:, :, 0]}, log_likelihood={"y": log_lik})
        loo, waic = arviz.loo(data, pointwise=True, reff=0.7), arviz.waic(data, pointwise=True)
        out[f"psis_{model}"] = {"khat": khat.tolist(), "ess": (1.0 / np.exp(2.0 * weights).sum(axis=1)).tolist()}
        out[f"loo_{model}"] = {"elpd": loo.loo_i.values.tolist(), "se": loo.se, "p": loo.p_loo, "threshold": loo.good_k}
        out[f"waic_{model}"] = {"elpd": waic.waic_i.values.tolist(), "se": waic.se, "p": waic.p_waic}
    return out


def main():
    """Write the numbers with the versions that made them."""
    warnings.simplefilter("ignore")
    arviz.Numba.disable_numba()
    versions = {"python": platform.python_version(), "arviz": arviz.__version__}
    versions |= {"numpy": np.__version__, "scipy": scipy.__version__}
    numbers = golden(pd.read_csv(HERE / "golden_draws.csv"))
    data = {"file": "golden_draws.csv", "md5": hashlib.md5((HERE / "golden_draws.csv").read_bytes()).hexdigest()}
    text = json.dumps({"versions": versions, "data": data, **numbers}, indent=1, default=float)
    (HERE / "golden_arviz.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
