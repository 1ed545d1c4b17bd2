"""The shelf of families: counts with too many zeros, ratings, overdispersed proportions, and a family of your own.

Run it with ``python docs/examples/shelf_of_families.py [--out DIR] [--nsim N]``. Salamanders counted in streams with
and without mining, by seven models of zeros and of spread; how bitter wines are, on a scale of five; cattle pneumonia
once more, with a beta-binomial; and a distribution that is not on the shelf, written in ten lines and checked.

Source: Brooks et al. (2017) and the data of Price et al. (2016); Christensen's tutorial on the R package ordinal and
the data of Randall (1989); Lesnoff et al. (2004).
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot
from worked import Example, heading, say, show

import refglmm as rg
from refglmm.plots.style import BLUE, VERMILION, tidy

SALAMANDERS = "count ~ spp + mined + (1 | site)"
#: Name -> family, and the other parts of the model.
MODELS: dict[str, tuple[str, dict[str, str]]] = {
    "poisson": ("poisson", {}),
    "zero-inflated poisson": ("poisson", {"zi": "~ mined"}),
    "nbinom2": ("nbinom2", {}),
    "zero-inflated nbinom2": ("nbinom2", {"zi": "~ mined"}),
    "hurdle nbinom2": ("hurdle.negative.binomial", {"zi": "~ spp + mined"}),
    "nbinom2, dispersion": ("nbinom2", {"dispersion": "~ mined"}),
    "nbinom1": ("nbinom1", {}),
}
WINE = "rating ~ temp + contact + (1 | judge)"
CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"


def numbers(fit: rg.FittedModel) -> dict[str, float]:
    """What the tables of this example name."""
    found = {"logLik": fit.loglik, "variance": fit.varcorr.terms[0].sd[0] ** 2}
    found |= {f"beta {name}": b for name, b in fit.fixef.items()} | {f"se {name}": s for name, s in fit.se.items()}
    if "zi" in fit.call:
        found |= {f"zero {name}": b for name, b in fit.fixef_zi.items()}
    return found | {f"shape {name}": value for name, value in fit.phi.items()}


# ----------------------------------------------------------------------------------------------------------- counts
def salamanders(example: Example) -> dict[str, rg.FittedModel]:
    """Seven models of the same counts."""
    heading("1. Counts: zeros and spread")
    say("""644 counts, 387 of them zero. A zero part (zi=) says where the zeros come from beyond those of the counts; a
        hurdle replaces them; a dispersion part says whose counts vary more. Each takes a formula, with random effects
        if wanted, and any number of crossed or nested factors.""")
    data, fits = rg.datasets.load("Salamanders"), {}
    for name, (family, parts) in MODELS.items():
        shown = "".join(f", {part}={formula!r}" for part, formula in parts.items())
        fits[name] = rg.glmer(SALAMANDERS, data, family, **parts, data_name="Salamanders")
        print(f"  glmer({SALAMANDERS!r}, Salamanders, {family!r}{shown}): logLik {fits[name].loglik:.4f}")
    example.compare_numbers("salamanders-shelf", {f"logLik {name}": fit.loglik for name, fit in fits.items()})
    show(rg.compare_models(*fits.values(), names=list(fits)))
    say("""nbinom1, whose variance is proportional to the mean, describes these counts best, and without a zero part:
        most zeros are those of small means. The pictures say what the criterion says.""")
    say("""Proper scoring rules look at each count: means over rows, at the modes of the random effects (larger is
        better).""")
    show(pd.DataFrame({name: fit.scoring_rules().mean() for name, fit in fits.items()}).T.round(4))
    example.picture(draw_frequencies(fits, data), "frequencies")
    example.picture(fits["poisson"].simulated_residuals(seed=1).plot(), "residuals_poisson")
    example.picture(fits["nbinom1"].simulated_residuals(seed=1).plot(), "residuals_nbinom1")
    return fits


def draw_frequencies(fits: dict[str, rg.FittedModel], data: pd.DataFrame) -> Any:
    """How often each count was seen, and how often it comes in data simulated from three models."""
    chosen = ("poisson", "zero-inflated poisson", "nbinom1")
    _, panels = pyplot.subplots(1, 3, figsize=(10, 3.4), sharey=True, layout="constrained")
    counts = np.arange(13)
    seen = np.array([np.sum(data["count"] == k) for k in counts])
    for panel, name in zip(panels, chosen, strict=True):
        draws = fits[name].simulate(200, seed=1).to_numpy()
        often = np.array([np.sum(draws == k, axis=0) for k in counts])
        low, high = np.quantile(often, [0.025, 0.975], axis=1)
        panel.bar(counts, np.sqrt(seen), color=BLUE, alpha=0.35, width=0.8, label="seen")
        panel.plot(counts, np.sqrt(often.mean(axis=1)), "o", color=VERMILION, markersize=4, label="model")
        panel.vlines(counts, np.sqrt(low), np.sqrt(high), color=VERMILION, linewidth=1.3, label="95 % of simulations")
        panel.set_title(name, loc="left", fontsize=10)
        panel.set_xlabel("salamanders counted")
        tidy(panel)
    ticks = np.array([0, 10, 50, 100, 200, 400])
    panels[0].set_yticks(np.sqrt(ticks), [str(k) for k in ticks])
    panels[0].set_ylabel("how often (root scale)")
    panels[2].legend(frameon=False, fontsize=8.5)
    return panels


def two_parts(example: Example, fit: rg.FittedModel, hurdle: rg.FittedModel) -> None:
    """What a model with a zero part says of a row."""
    heading("2. Two parts: what they predict")
    show(fit.summary())
    example.compare_numbers("salamanders-zinb", numbers(fit))
    example.compare_numbers("salamanders-hurdle", numbers(hurdle))
    rows = pd.DataFrame({"spp": ["GP", "GP"], "mined": ["yes", "no"]})
    kinds = ("response", "conditional", "zprob")
    say("""response: the mean, zeros included; conditional: the mean of the counting part; zprob: the probability of a
        zero from the zero part. Standard errors by the delta method, random effects at zero.""")
    for kind in kinds:
        rows = rows.assign(**fit.predict(rows, re_form=False, type=kind, se=True).add_prefix(f"{kind} "))
    show(rows.round(4).to_string(index=False))
    example.picture(fit.plot_predictions("spp"), "predictions")


# ---------------------------------------------------------------------------------------------------------- ratings
def ratings(example: Example) -> None:
    """Three families for ordered categories."""
    heading("3. Ratings: cumulative, sequential and adjacent-category models")
    say("""72 ratings of bitterness from 1 to 5 by nine judges. The thresholds stand where other models have an
        intercept. "ordered" (cumulative logits) is what clmm of the R package ordinal fits.""")
    data = rg.datasets.load("wine")
    families = ("ordered", "sequential", "adjacent")
    fits = {name: rg.glmer(WINE, data, name, n_agq=10, data_name="wine") for name in families}
    show(fits["ordered"].summary())
    example.compare_numbers("wine-clmm", numbers(fits["ordered"]))
    say("""The sequential model is the continuation ratio: GLMMadaptive fits it to data that are expanded, one row for
        each category passed. No expansion is needed here.""")
    example.compare_numbers("wine-sequential", numbers(fits["sequential"]))
    show(rg.compare_models(*fits.values(), names=list(fits)))
    rows = pd.DataFrame({"temp": ["cold", "warm"], "contact": ["no", "yes"]})
    show(fits["ordered"].predict(rows, re_form=False, type="prob").round(3))
    example.picture(fits["ordered"].plot_predictions("temp"), "ratings")


# ------------------------------------------------------------------------------------------------------ proportions
def proportions(example: Example) -> None:
    """Variation between herds or within them."""
    heading("4. Proportions that vary too much: beta-binomial")
    data = rg.datasets.load("cbpp")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fits = {name: rg.glmer(CBPP, data, name, data_name="cbpp") for name in ("binomial", "betabinomial")}
    for warning in caught:
        print(f"{warning.category.__name__}: {warning.message}")
    example.compare_numbers("cbpp-betabinomial", numbers(fits["betabinomial"]))
    show(rg.compare_models(*fits.values(), names=list(fits)))
    say("""A beta-binomial leaves no variance between herds: what looked like differences between herds is as well
        described by extra variation of every count. The data cannot tell; AIC prefers the latter.""")


# ----------------------------------------------------------------------------------------------- a family of your own
def point(y: float, eta: float, a: float, base: float, phi: np.ndarray) -> tuple[float, ...]:
    """Geometric counts with mean exp(eta): log density and its derivatives in eta, times the weight a."""
    p = 1.0 / (1.0 + np.exp(-eta))
    spread = p * (1.0 - p)
    density = a * (y * eta - (y + 1.0) * np.logaddexp(0.0, eta))
    h = a * (y + 1.0) * spread
    return density, a * (y - (y + 1.0) * p), h, a * p, h * (1.0 - 2.0 * p), a * spread


def geometric_deviance(y: np.ndarray, mu: np.ndarray) -> np.ndarray:
    """Twice the log density lost by mu against y."""
    own = np.where(y > 0, y * np.log(np.maximum(y, 1.0) / mu), 0.0)
    return 2.0 * (own - (y + 1.0) * np.log((y + 1.0) / (mu + 1.0)))


def own_family(example: Example) -> None:
    """Geometric counts: a negative binomial whose size is 1, but nobody told."""
    heading("5. A family of your own")
    say("""One function of one observation: log density, score, observed and expected information, and the slopes of
        both. numba compiles it. check() compares every derivative with differences of order eight.""")
    geometric = rg.families.UserFamily(
        "geometric",
        point,
        "log",
        variance=lambda mu: mu + mu * mu,
        unit_deviance=geometric_deviance,
        initial_mu=lambda y: y + 0.5,
        simulate=lambda mu, a, phi, rng: rng.geometric(1.0 / (1.0 + mu)) - 1.0,
        log_concave=True,
    )
    show(geometric.check([0.0, 1.0, 2.0, 5.0, 9.0], [-1.0, 0.0, 0.5, 1.0, 2.0]))
    data = rg.datasets.load("Salamanders")
    fit = rg.glmer(SALAMANDERS, data, geometric, n_agq=11, data_name="Salamanders")
    same = rg.glmer(SALAMANDERS, data, rg.families.NegativeBinomial("log", 1.0), n_agq=11)
    show(fit)
    print(f"\nnegative binomial with size 1, from the shelf: logLik {same.loglik:.10f}; ours {fit.loglik:.10f}")
    example.picture(fit.plot_caterpillar(), "sites")


def main(arguments: list[str] | None = None) -> int:
    """Run the example."""
    example = Example("The shelf of families", arguments)
    fits = salamanders(example)
    two_parts(example, fits["zero-inflated nbinom2"], fits["hurdle nbinom2"])
    ratings(example)
    proportions(example)
    own_family(example)
    return example.finish()


if __name__ == "__main__":
    sys.exit(main())
