"""Fits of statsmodels' mixed models, recorded in ``statsmodels.json``.

From the repository: ``PYTHONPATH=. python validation/peers/statsmodels_vb.py``.

Needs statsmodels beside refglmm. Variational fits and joint modes of binomial and Poisson models (binomial counts have
to be expanded to one row a trial: statsmodels has no weights), and linear models by ML and REML. Each is written
as the report that :func:`refglmm.crosschecking.adapters.from_object` makes of the results.
"""

from __future__ import annotations

import json
import platform
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from refglmm.crosschecking.adapters import from_object
from validation.prepare import frame

OUTPUT = Path(__file__).parent / "statsmodels.json"
SEED = 20_261_121


@dataclass(frozen=True)
class Model:
    """One model: our formula and data, and how statsmodels spells it."""

    case: str
    formula: str
    data: str
    fixed: str
    variances: dict[str, str]
    family: str = "binomial"
    methods: tuple[str, ...] = ("fit_vb", "fit_map")


MODELS = (
    Model(
        "cbpp",
        "cbind(incidence, size - incidence) ~ period + (1 | herd)",
        "cbpp_obs",
        "y ~ C(period)",
        {"herd": "0 + C(herd)"},
    ),
    Model(
        "contraception",
        "use ~ age_s + I(age_s^2) + urban + ch + (1 | district)",
        "Contraception",
        "y ~ age_s + I(age_s**2) + C(urban) + C(ch)",
        {"district": "0 + C(district)"},
    ),
    Model(
        "bacteria",
        "y ~ trt + wk2 + (1 | ID)",
        "bacteria",
        "y ~ C(trt) + wk2",
        {"ID": "0 + C(ID)"},
    ),
    Model(
        "toenail",
        "outcome ~ treatment * time + (1 | patientID)",
        "toenail",
        "y ~ C(treatment) * time",
        {"patientID": "0 + C(patientID)"},
        methods=("fit_vb",),  # the joint mode of 298 parameters takes statsmodels' BFGS more than eight minutes
    ),
    Model(
        "culcita",
        "predation ~ ttt + (1 | block)",
        "culcita",
        "y ~ C(ttt)",
        {"block": "0 + C(block)"},
    ),
    Model(
        "epil",
        "y ~ lbase * trt + lage + V4 + (1 | subject)",
        "epil",
        "y ~ lbase * C(trt) + lage + V4",
        {"subject": "0 + C(subject)"},
        family="poisson",
    ),
    Model(
        "salamanders",
        "count ~ spp + mined + (1 | site)",
        "Salamanders",
        "y ~ C(spp) + C(mined)",
        {"site": "0 + C(site)"},
        family="poisson",
    ),
)


@dataclass(frozen=True)
class Linear:
    """One linear mixed model."""

    case: str
    formula: str
    data: str
    fixed: str
    groups: str
    random: str | None = None
    variances: dict[str, str] | None = None


LINEAR = (
    Linear("sleepstudy", "Reaction ~ Days + (Days | Subject)", "sleepstudy", "Reaction ~ Days", "Subject", "~Days"),
    Linear("sleepstudy_intercept", "Reaction ~ Days + (1 | Subject)", "sleepstudy", "Reaction ~ Days", "Subject"),
    Linear("dyestuff", "Yield ~ 1 + (1 | Batch)", "Dyestuff", "Yield ~ 1", "Batch"),
    Linear(
        "pastes",
        "strength ~ 1 + (1 | batch/cask)",
        "Pastes",
        "strength ~ 1",
        "batch",
        "~1",
        {"cask:batch": "0 + C(cask)"},
    ),
)


def zero_one(model: Model, data: pd.DataFrame) -> pd.DataFrame:
    """The data with a numeric response y, one row a trial."""
    if model.data == "cbpp_obs":
        trials = data["size"].astype(int).to_numpy()
        rows = data.loc[data.index.repeat(trials)].reset_index(drop=True)
        number = np.concatenate([np.arange(count) for count in trials])
        return rows.assign(y=(number < rows["incidence"].to_numpy()).astype(float))
    response = data[model.formula.split(" ~ ")[0]]
    if isinstance(response.dtype, pd.CategoricalDtype):
        response = response.cat.codes
    return data.assign(y=response.astype(float))


def bayesian_fits() -> Iterator[dict[str, Any]]:
    """Every model by both methods."""
    from statsmodels.genmod.bayes_mixed_glm import BinomialBayesMixedGLM, PoissonBayesMixedGLM

    kinds = {"binomial": BinomialBayesMixedGLM, "poisson": PoissonBayesMixedGLM}
    for spec in MODELS:
        data = zero_one(spec, frame(spec.data))
        for method in spec.methods:
            np.random.seed(SEED)  # noqa: NPY002 (statsmodels draws its start from the global state)
            model = kinds[spec.family].from_formula(spec.fixed, spec.variances, data)
            yield recorded(spec, f"{spec.case}_{method.removeprefix('fit_')}", getattr(model, method), spec.family)


def linear_fits() -> Iterator[dict[str, Any]]:
    """Every linear model by ML and REML."""
    from statsmodels.regression.mixed_linear_model import MixedLM

    for spec in LINEAR:
        data = frame(spec.data)
        for reml in (False, True):
            model = MixedLM.from_formula(
                spec.fixed, data, groups=data[spec.groups].astype(str), re_formula=spec.random,
                vc_formula=spec.variances,
            )  # fmt: skip
            name = f"{spec.case}_{'reml' if reml else 'ml'}"
            yield recorded(spec, name, lambda model=model, reml=reml: model.fit(reml=reml), "gaussian")


def recorded(spec: Any, case: str, fit: Any, family: str) -> dict[str, Any]:
    """One line: what was fitted, the report, and what was said on the way."""
    began = time.process_time()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = fit()
        report = from_object(result)
    print(case, round(time.process_time() - began, 1), "s", file=sys.stderr)
    said = sorted({f"{w.category.__name__}: {w.message}" for w in caught})
    return {
        "case": case,
        "formula": spec.formula,
        "data": spec.data,
        "family": family,
        "statsmodels": {"formula": spec.fixed, "random": spec.variances},
        "warnings": said,
        "report": report,
    }


def main() -> int:
    """Fit everything and write the file."""
    versions = {name: version(name) for name in ("statsmodels", "numpy", "scipy", "pandas")}
    versions["python"] = platform.python_version()
    fits = [*bayesian_fits(), *linear_fits()]
    made = {"made_by": "validation/peers/statsmodels_vb.py", "seed": SEED, "versions": versions, "fits": fits}
    OUTPUT.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
