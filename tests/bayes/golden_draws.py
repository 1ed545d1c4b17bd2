"""Writes golden_draws.csv, the draws that the golden numbers of ArviZ and R's loo are about: python golden_draws.py.

Four chains of 60 draws. ``iid``: independent normals; ``sticky``, ``swinging``: first-order autoregressions with
coefficients 0.8 and -0.5; ``heavy``: Cauchy; ``apart``: sticky, its fourth chain elsewhere; ``wide``: independent, its
first chain three times as wide; ``ties``: rounded. ``a1`` ... ``a6`` and ``b1`` ... ``b6``: log-likelihoods of six
points under two normal models, the sixth an outlier.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.signal import lfilter

CHAINS, DRAWS = 4, 60
Y = np.array([-0.3, 0.4, 1.1, -1.2, 0.2, 3.9])


def autoregression(noise, rho):
    """Stationary normal chains with autocorrelation rho^t, from independent normals (chains, draws)."""
    return lfilter([np.sqrt(1.0 - rho**2)], [1.0, -rho], noise, axis=1)


def main():
    """Draw, round to six decimals, write."""
    rng = np.random.default_rng(20210)
    z = rng.standard_normal((8, CHAINS, DRAWS))
    sticky = autoregression(z[1], 0.8)
    columns = {
        "chain": np.repeat(np.arange(CHAINS), DRAWS).reshape(CHAINS, DRAWS),
        "iid": z[0],
        "sticky": sticky,
        "swinging": autoregression(z[2], -0.5),
        "heavy": np.tan(np.pi * (rng.uniform(size=(CHAINS, DRAWS)) - 0.5)),
        "apart": sticky + np.array([0.0, 0.0, 0.0, 1.5])[:, None],
        "wide": z[3] * np.array([3.0, 1.0, 1.0, 1.0])[:, None],
        "ties": np.round(2.0 * z[4]) / 2.0 + 0.0,
    }
    for model, sd in (("a", 1.0), ("b", 2.0)):
        mu = 0.7 + sd / np.sqrt(6.0) * autoregression(z[5 if model == "a" else 6], 0.4)
        for i, y in enumerate(Y, start=1):
            columns[f"{model}{i}"] = -0.5 * np.log(2.0 * np.pi * sd**2) - (y - mu) ** 2 / (2.0 * sd**2)
    frame = pd.DataFrame({name: np.ravel(values) for name, values in columns.items()})
    frame.round(6).to_csv(Path(__file__).with_name("golden_draws.csv"), index=False, float_format="%.6g")


if __name__ == "__main__":
    main()
