"""Each record of a peer as a call of ours.

Place in the reading order: after ``frames``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

import refglmm as rg
from validation.shelf.frames import expanded, frame, training

Record = Mapping[str, Any]

#: GLMMadaptive's family -> ours; log of its shape parameter = sign times log of ours.
ADAPTIVE = {
    "negative.binomial(log)": ("negative_binomial", 1.0),
    "zi.poisson(log)": ("zi.poisson", 1.0),
    "zi.negative.binomial(log)": ("zi.negative.binomial", 1.0),
    "zi.binomial(logit)": ("zi.binomial", 1.0),
    "hurdle.poisson(log)": ("hurdle.poisson", 1.0),
    "hurdle.negative.binomial(log)": ("hurdle.negative.binomial", 1.0),
    "hurdle.lognormal(identity)": ("hurdle.lognormal", 1.0),
    "hurdle.beta.fam(logit)": ("hurdle.beta", 1.0),
    "beta.fam(logit)": ("beta", 1.0),
    "beta.binomial(logit)": ("betabinomial", 1.0),
    "Gamma.fam(log)": ("Gamma(log)", -1.0),  # shape 1/phi
    "students.t(df=4, identity)": ("student_t(4)", 1.0),
    "students.t(df=3, identity)": ("student_t(3)", 1.0),
    "censored.normal(identity)": ("censored_normal", 1.0),
}
#: glmmTMB's family -> ours.
TMB = {
    "binomial": "binomial",
    "poisson": "poisson",
    "nbinom1": "nbinom1",
    "nbinom2": "negative_binomial",
    "genpois": "genpois",
    "compois": "compois",
    "truncated_poisson": "truncated_poisson",
    "truncated_nbinom1": "truncated_nbinom1",
    "truncated_nbinom2": "truncated_nbinom2",
    "betabinomial": "betabinomial",
    "beta_family": "beta",
    "Gamma": "gamma",
    "t_family": "student_t",
    "tweedie": "tweedie",
    "ordbeta": "ordbeta",
    "gaussian": "gaussian",
}


@dataclass(frozen=True)
class Case:
    """One model: how we fit it, and what a peer's record says of it.

    Attributes
    ----------
    constant : float
        What the peer's log-likelihood leaves out (the Jacobian of the lognormal law).
    shape_sign : float
        See :data:`ADAPTIVE`.
    """

    name: str
    peer: str
    record: Record
    data: pd.DataFrame
    function: Any
    arguments: Mapping[str, Any]
    n_agq: int = 1
    constant: float = 0.0
    shape_sign: float = 1.0
    notes: tuple[str, ...] = field(default=())

    def fit(self) -> Any:
        """Fit it."""
        return self.function(data=self.data, **self.arguments)


def adaptive_case(record: Record) -> Case:
    """One fit of GLMMadaptive; control values and notes of the record decide data, penalty and weights."""
    name, family = record["id"], record["family"]
    data = adaptive_data(record)
    ours, sign = ADAPTIVE.get(family, (re.sub(r"\((\w+)\)", r"(\1)", family), 1.0))
    arguments: dict[str, Any] = {
        "fixed": record["fixed"],
        "random": record["random"],
        "family": ours,
        "n_agq": int(record["nAGQ"]),
    }
    zero = record.get("zi") or {}
    arguments |= {f"zi_{part}": text for part, text in zero.items()}
    control = record.get("control") or {}
    if control.get("penalized") is True:
        arguments["penalized"] = "mvt"
    elif "pen_df" in control:
        arguments["penalized"] = {"kind": "mvt", "scale": control["pen_sigma"], "df": control["pen_df"]}
    if name == "bacteria_weighted":
        levels = data["ID"].cat.categories
        arguments["group_weights"] = {level: 1.0 + i % 3 for i, level in enumerate(levels)}
    constant = 0.0
    if family.startswith("hurdle.lognormal"):
        constant = -float(np.sum(np.log(data.loc[data["y"] > 0, "y"])))
    return Case(name, "GLMMadaptive", record, data, rg.mixed_model, arguments, int(record["nAGQ"]), constant, sign)


def adaptive_data(record: Record) -> pd.DataFrame:
    """The data frame of a fit of GLMMadaptive."""
    data = frame(record["data"].split(" (R set")[0].split(" (gad_beta")[0].split(" (lme4::cbpp with")[0])
    if record["id"] == "dynamic_poisson_train":
        return training(data)
    if "_cr_" in record["id"]:
        return expanded(data, "rating" if "wine" in record["id"] else "y", record["id"].rsplit("_", 1)[1])
    return data


_MODEL = re.compile(
    r"(?P<formula>.+?)(?:, zi (?P<zi>~ .+?))?(?:, disp (?P<dispersion>~ .+?))?"
    r", family = (?P<family>\w+)(?:\((?P<link>\w+)\))?(?P<rest>.*)"
)


def tmb_model(record: Record) -> re.Match[str]:
    """Formula, zero part, dispersion part, family and link of a record of glmmTMB."""
    match = _MODEL.fullmatch(record["model"].replace(" [independent]", ""))
    if match is None:
        raise ValueError(f"cannot read {record['model']!r}")
    return match


def tmb_data(record: Record) -> pd.DataFrame:
    """The data frame of a fit of glmmTMB."""
    return frame(record["data"].split(" (gad_beta")[0])


def tmb_case(record: Record) -> Case:
    """One fit of glmmTMB from the call in its record."""
    match = tmb_model(record)
    data = tmb_data(record)
    gaussian = match["family"] == "gaussian"
    arguments: dict[str, Any] = {"formula": match["formula"]}
    parts = {name: match[name] for name in ("zi", "dispersion") if match[name]}
    if gaussian and not parts:
        return Case(record["id"], "glmmTMB", record, data, rg.lmer, arguments | {"reml": bool(record["REML"])})
    arguments |= {"family": TMB[match["family"]], "link": match["link"], **parts}
    return Case(record["id"], "glmmTMB", record, data, rg.glmer, arguments)
