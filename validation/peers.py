"""Numbers of other software, run for this comparison: ``peers/*.jsonl`` and the intervals behind two figures.

Place in the reading order: after ``compare``. Each case is turned into an entry like those of
``published.json`` and goes through the same comparison. ``peers/README.md`` says how the numbers were made.
"""

from __future__ import annotations

import csv
import json
import re
import warnings
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from math import sqrt
from pathlib import Path as FilePath
from typing import Any

import refglmm as rg
from validation.compare import Record, compare_entry
from validation.entries import Compute, Part, Read, Unreached
from validation.models import Fit, Path, Reader, fitted
from validation.tolerance import (
    LINEAR,
    LME4_DEFAULT,
    TIGHT,
    Allowance,
    Tolerance,
    absolute,
    everything,
    relative,
)

FOLDER = FilePath(__file__).parent

#: Data in a call -> its name here, where they differ.
FRAMES = {"nbsim": "nbsim_lme4", "cbpp2": "cbpp2_obs"}
_FAMILIES = {"Gamma": "gamma", "inverse.gaussian": "inverse_gaussian"}

NEGATIVE_BINOMIAL = LME4_DEFAULT.but(
    "glmer.nb searches the size in an outer loop to 1e-4 relative and refits from a warm start, where the "
    "default inner stop moves log L by 2e-3 (grouseticks at one size: -888.84070 warm, -888.84211 cold, "
    "-888.84052 tight)",
    loglik=absolute(2e-3), criterion=absolute(4e-3), shape=relative(1e-3), deviance=relative(1e-4),
    sd=Allowance(absolute=1e-5, relative=3e-3), theta=Allowance(absolute=1e-5, relative=3e-3),
)  # fmt: skip


def lines(file: str) -> list[dict[str, Any]]:
    """Read a file of one JSON object a line, numbers as printed."""
    text = (FOLDER / "peers" / file).read_text(encoding="utf-8")
    return [json.loads(line, parse_float=Decimal) for line in text.splitlines() if line]


def fit_of(case: dict[str, Any]) -> Fit:
    """Translate an R call into a fit; ``control = tight`` means exact mode, ``bob`` BOBYQA in both stages."""
    call = case["call"]
    formula, data = re.fullmatch(r"\S+?\((.*?), data = (\w+).*\)", call).groups()  # type: ignore[union-attr]
    fit = Fit(formula, FRAMES.get(data, data), mode="exact" if "control = tight" in call else "lme4")
    if call.startswith("lmer("):
        return fit.but(reml="REML = FALSE" not in call, mode="exact")
    if call.startswith("glmer.nb("):
        return fit.but(family="nb")
    family = case["family"]
    return fit.but(
        family=_FAMILIES.get(family, family),
        link=case["link"],
        n_agq=case["nAGQ"],
        weights="size" if "weights = size" in call else None,
        optimizer=("bobyqa", "bobyqa") if "control = bob" in call else None,
    )


def tolerance_of(case: dict[str, Any]) -> Tolerance:
    """Return what a case of lme4 may differ by: its stop, tight or default, decides."""
    call = case["call"]
    if call.startswith("lmer("):
        return LINEAR
    if call.startswith("glmer.nb("):
        return NEGATIVE_BINOMIAL
    return TIGHT if "control = tight" in call else LME4_DEFAULT


def _variance_row(model: Any, path: Path) -> float:
    """Standard deviation or correlation by ``group|column|other column``; no row, no correlation."""
    rows = model.varcorr.as_frame().astype({"var1": object, "var2": object}).fillna("")
    names = rows["grp"] + "|" + rows["var1"] + "|" + rows["var2"]
    if path[0] not in set(names) and not path[0].endswith("|"):
        group, first, second = path[0].split("|")
        if {f"{group}|{first}|", f"{group}|{second}|"} <= set(names):
            return 0.0
    (value,) = rows.loc[names == path[0], "sdcor"]
    return float(value)


def _rx_standard_error(model: Any, path: Path) -> float:
    """Standard error from the RX factor; that it differs from the Hessian's is the point."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rg.errors.VcovWarning)
        return sqrt(model.vcov("rx").loc[path[0], path[0]])


def lme4_entry(case: dict[str, Any]) -> dict[str, Any]:
    """Arrange one line of ``lme4.jsonl`` like an entry of ``published.json``."""
    keys = ("nobs", "npar", "logLik", "minus2ll", "AIC", "BIC", "fixef", "se", "nb_theta")
    quantities = {key: case[key] for key in keys if key in case}
    if not case["REML"]:
        quantities["deviance"] = case["deviance"]
    quantities["theta"] = list(case["theta"].values())
    quantities["n_groups"] = case["ngrps"]
    rows = {f"{row['grp']}|{row['var1'] or ''}|{row['var2'] or ''}": row["sdcor"] for row in case["VarCorr"]}
    quantities["sd_of"] = {name: x for name, x in rows.items() if name.endswith("|")}
    quantities["corr_of"] = {name: x for name, x in rows.items() if not name.endswith("|")}
    return {"quantities": quantities}


def lme4_parts(case: dict[str, Any]) -> list[Part]:
    """Compare everything by reading."""
    readers: dict[str, Reader] = {
        "sd_of": _variance_row,
        "corr_of": _variance_row,
        "nb_theta": lambda m, _: m.phi.iloc[0],
    }
    kinds = {"sd_of": "sd", "corr_of": "corr", "nb_theta": "shape"}
    if "max_abs_gradient" not in case and not case["call"].startswith("lmer("):
        # lme4 formed no derivatives here, so its standard errors are those of the RX factor
        readers["se"] = _rx_standard_error
    return [Read("quantities", fit_of(case), tolerance_of(case), readers, kinds)]


def compare_lme4() -> Iterator[Record]:
    """Every case of ``lme4.jsonl``."""
    for case in lines("lme4.jsonl"):
        yield from compare_entry(f"lme4: {case['case']}", lme4_entry(case), lme4_parts(case))


# ------------------------------------------------------------------- families with a scale, by brute force
_SCALE_CASES = {
    "gamma_log_sleep": ("gamma", "log"),
    "gamma_id_sleep": ("gamma", "identity"),
    "gamma_inv_sleep": ("gamma", "inverse"),
    "ig_log_sleep": ("inverse_gaussian", "log"),
    "ig_id_sleep": ("inverse_gaussian", "identity"),
}
_BRUTE_FORCE = everything("six digits of a maximum found over brute-force integrals", relative(2e-5)).but(
    "six digits of a maximum found over brute-force integrals; log-likelihood to 1e-3",
    loglik=absolute(1e-3), sd=relative(3e-4), fixef=relative(1e-3), shape=relative(3e-4),
)  # fmt: skip


def compare_scale_families() -> Iterator[Record]:
    """Gamma and inverse Gaussian models of sleepstudy whose integrals were done one by one."""
    for case in lines("scale_families_bruteforce.jsonl"):
        family, link = _SCALE_CASES[case["case"]]
        n_agq = 1 if "Laplace" in case["method"] else 31
        fit = Fit("Reaction ~ Days + (1 | Subject)", "sleepstudy", family, link, n_agq=n_agq)
        names = ("(Intercept)", "Days")
        quantities = {key: case[key] for key in ("logLik", "sd", "sqrt_phi")}
        quantities["fixef"] = dict(zip(names, case["fixef"], strict=True))
        readers = {"sqrt_phi": lambda model, _: sqrt(model.phi.iloc[0])}
        part = Read("quantities", fit, _BRUTE_FORCE, readers, {"sqrt_phi": "shape"})
        yield from compare_entry(f"{case['case']}, {case['method']}", {"quantities": quantities}, [part])


# --------------------------------------------------------------------- intervals of the paper's figures
_GM = "incidence/size ~ period + treatment + avg_size_sd"
_CM = "use ~ age_s + I(age_s^2) + urban1"
_FIGURE_FITS = {
    "herd": Fit(f"{_GM} + (1 | herd)", "cbpp2_obs", weights="size"),
    "herdobs": Fit(f"{_GM} + (1 | herd) + (1 | obs)", "cbpp2_obs", weights="size"),
    "obs": Fit(f"{_GM} + (1 | obs)", "cbpp2_obs", weights="size"),
    "ic": Fit(f"{_CM} + livch1 + livch2 + livch3 + (1 | district)", "Contraception", mode="lme4"),
    "bc": Fit(f"{_CM} + ch1 + (1 | district)", "Contraception", mode="lme4"),
    "bc_int": Fit(f"{_CM} + ch1 + age_s:ch1 + (1 | district)", "Contraception", mode="lme4"),
    "bc_int_dist_urb_var": Fit(f"{_CM} + ch1 + age_s:ch1 + (1 + urban1 | district)", "Contraception", mode="lme4"),
    "bc_int_dist_urb_nest": Fit(f"{_CM} + ch1 + age_s:ch1 + (1 | district/urban)", "Contraception", mode="lme4"),
    "bc_int_dist_urb_cross": Fit(f"{_CM} + ch1 + age_s:ch1 + (1 | urban:district)", "Contraception", mode="lme4"),
}


@cache
def figure_rows() -> dict[str, dict[str, Any]]:
    """Intervals by model: ``method/parameter/estimate|lower|upper``; the stored numbers have ten digits."""
    models: dict[str, dict[str, Any]] = {}
    with (FOLDER / "glmer_paper_ci.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            numbers = {key: Decimal(row[key]) for key in ("estimate", "lower", "upper") if row[key] not in ("", "NA")}
            models.setdefault(row["model"], {}).setdefault(row["method"], {})[row["parameter"]] = numbers
    return models


def wald_intervals(model: str) -> dict[str, float]:
    """Estimate +- 1.96 standard errors of each coefficient, under the names of the stored tables."""
    fit = fitted(_FIGURE_FITS[model])
    out: dict[str, float] = {}
    for name, estimate in fit.fixef.items():
        # the one singular fit was stored with the errors of the RX factor: lme4 1.1-31 has 0.72102 there
        se = _rx_standard_error(fit, (name,)) if model == "herdobs" else fit.se[name]
        half = 1.959963984540054 * se
        stored = name.removesuffix("_sd")
        out |= {
            f"{stored}/estimate": estimate,
            f"{stored}/lower": estimate - half,
            f"{stored}/upper": estimate + half,
        }
    return out


def compare_figures() -> Iterator[Record]:
    """Wald intervals of the coefficients of nine models; the other intervals come after the fit."""
    tolerance = everything("the stored fits used the default optimizer (2e-3, entry's note)", absolute(2e-3))
    for model, methods in figure_rows().items():
        parts: list[Part] = [
            Compute(
                "quantities/Wald",
                lambda model=model: wald_intervals(model),  # type: ignore[misc]
                tolerance,
                _FIGURE_FITS[model].mode,
            ),
            Unreached("quantities", "profile and bootstrap intervals, and Wald intervals of variances"),
        ]
        yield from compare_entry(f"figures 9 and 12: {model}", {"quantities": methods}, parts)
