"""A fit never changes: everything it shows is bit-equal before and after all that can be done with it."""

from __future__ import annotations

import dataclasses
import inspect
import warnings
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import refglmm as rg
from refglmm.errors import RefglmmError
from refglmm.fitted import FittedModel
from refglmm.model import GLMM

#: Public methods without required arguments that are no accessors, and why they are left out.
LEFT_OUT = {
    "bootstrap": "draws; done in between",
    "calibrated_tests": "draws, and refits two hundred times",
    "check": "draws; done in between",
    "simulate": "draws; done in between",
    "simulated_residuals": "draws",
    "zero_inflation": "draws",
    "all_fit": "seven fits; done in between, for one optimiser",
    "confint": "profiles; done in between",
    "profile": "done in between",
    "drop1": "fits; done in between",
    "ranova": "fits",
    "refit_ml": "a fit; done in between",
    "update": "a fit; done in between",
    "influence": "fits; done in between",
}


def canonical(value, seen=()):
    """A value as nested tuples of what can be compared bit by bit (fits and models inside it left out)."""
    if isinstance(value, FittedModel | GLMM) or callable(value) or id(value) in seen:
        return type(value).__name__
    seen = (*seen, id(value))
    if isinstance(value, float | np.floating):
        return float(value).hex()
    if isinstance(value, np.ndarray) and value.dtype != object:
        return str(value.dtype), value.shape, value.tobytes()
    if sparse.issparse(value):
        value = value.tocoo()
        return value.shape, *(canonical(part, seen) for part in (value.row, value.col, value.data))
    if isinstance(value, pd.DataFrame):
        columns = [canonical(value.iloc[:, j], seen) for j in range(value.shape[1])]
        return tuple(map(str, value.columns)), tuple(columns), canonical(value.attrs, seen)
    if isinstance(value, pd.Series):
        return str(value.name), canonical(value.to_numpy(), seen), canonical(value.index, seen)
    if isinstance(value, pd.Index | np.ndarray | pd.Categorical | list | tuple):
        return type(value).__name__, *(canonical(item, seen) for item in value)
    if isinstance(value, Mapping):
        return tuple((str(name), canonical(item, seen)) for name, item in value.items())
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
    else:
        names = list(getattr(value, "__dict__", ()))
    if not names:
        return repr(value)
    return type(value).__name__, *((n, canonical(getattr(value, n), seen)) for n in names if "cache" not in n)


def accessors():
    """Names of all fields, properties and methods that can be called without an argument."""
    names = [field.name for field in dataclasses.fields(FittedModel) if not field.name.startswith("_")]
    for name, member in inspect.getmembers(FittedModel):
        if name.startswith("_") or name in LEFT_OUT or name in names:
            continue
        if callable(member):
            required = [
                p
                for p in list(inspect.signature(member).parameters.values())[1:]
                if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
            ]
            if required or name.startswith("plot_"):
                continue
        names.append(name)
    return names


def shown(fit):
    """Everything that a fit shows, by name; an error counts with its text."""
    out = {}
    for name in accessors():
        try:
            value = getattr(fit, name)
            out[name] = value() if callable(value) and name not in ("model", "family") else value
        except RefglmmError as error:
            out[name] = f"{type(error).__name__}: {error}"
    return out


def bits(values):
    return {name: canonical(value) for name, value in values.items()}


def changed(before, after):
    return [name for name in before if before[name] != after[name]]


def do_everything(fit, predictor):
    """All that works on a fit, in small."""
    fit.predict(se=True, interval="prediction", type="response")
    fit.predict(fit.model_frame().head(5), re_form=False, se=True)
    y = fit.simulate(2, seed=1)["sim_1"]
    fit.simulate(1, seed=1, use_u=True)
    fit.refit(y)
    fit.refit_ml()
    fit.profile("beta_").confint()
    fit.confint(method="wald")
    fit.bootstrap(nsim=3, seed=1).summary()
    fit.influence(fit.design.terms[0].group).cooks_distance()
    fit.influence(method="one-step").as_frame()
    fit.check(20, seed=1).as_frame()
    null = fit.update(f". ~ . - {predictor}")
    rg.anova(null, fit)
    fit.anova()
    fit.drop1()
    fit.pb_test(null, nsim=3, seed=1)
    fit.all_fit(["bobyqa"])
    fit.marginal_effects()
    fit.conditional_effects(predictor)
    fit.summary(ddf="satterthwaite" if fit.is_lmm else None)


@pytest.fixture(params=["cbpp", "sleepstudy"])
def fit(request):
    data = rg.datasets.load(request.param)
    if request.param == "cbpp":
        return rg.glmer("cbind(incidence, size - incidence) ~ period + (1 | herd)", data, "binomial")
    return rg.lmer("Reaction ~ Days + (Days | Subject)", data)


@pytest.mark.filterwarnings("ignore::refglmm.errors.RefglmmWarning")
def test_nothing_that_is_done_with_a_fit_changes_it(fit):
    before = bits(shown(fit))
    assert {"beta", "ranef", "to_json", "hat_values", "fortify", "optimum", "frame", "summary"} <= set(before)
    text = fit.to_json()
    do_everything(fit, "period" if fit.is_glmm else "Days")
    if fit.is_glmm:
        fit.lsmeans("period").contrasts("pairwise")
    else:
        fit.lsmeans("Days", at={"Days": [1.0, 4.0]})
    assert changed(before, bits(shown(fit))) == []
    assert fit.to_json() == text


def scribble(value):
    """Overwrite what can be overwritten of something that was handed out."""
    if isinstance(value, pd.DataFrame):
        for j in range(value.shape[1]):
            scribble(value.iloc[:, j])
            if pd.api.types.is_float_dtype(value.dtypes.iloc[j]):
                value.isetitem(j, -1.0)
    elif isinstance(value, pd.Series):
        scribble(value.to_numpy())
        if pd.api.types.is_float_dtype(value.dtype):
            value.iloc[:] = -1.0
    elif isinstance(value, np.ndarray) and value.flags.writeable and value.dtype.kind == "f":
        value[...] = -1.0
    elif sparse.issparse(value):
        scribble(value.data)
    elif isinstance(value, dict):
        for name in list(value):
            scribble(value[name])
            value[name] = "overwritten"


@pytest.mark.filterwarnings("ignore::refglmm.errors.RefglmmWarning")
def test_what_a_fit_hands_out_may_be_overwritten(fit):
    before = bits(shown(fit))
    for name, value in shown(fit).items():
        if name in {field.name for field in dataclasses.fields(FittedModel)} | {"problem"}:
            continue  # the fit itself, not handed out; its arrays are read-only
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scribble(value)
        assert changed(before, bits(shown(fit))) == [], name


def test_the_comparison_sees_a_changed_bit(fit):
    """The test data of the tests above: one last bit of one estimate."""
    optimum = dataclasses.replace(fit.optimum, beta=np.nextafter(fit.optimum.beta, np.inf))
    moved = dataclasses.replace(fit, optimum=optimum)
    found = changed(bits(shown(fit)), bits(shown(moved)))
    assert {"beta", "fixef", "optimum", "coefficients"} <= set(found)
    assert "ngroups" not in found
