"""The models of the benchmark and their data.

Place in the reading order: first. Responses are numbers for every program, factors are unordered Categoricals,
and a data frame holds little besides what its model uses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from refglmm import datasets

#: Name of each program in results and report, in the order of the columns.
OURS, LME4, GLMMTMB, GLMM, GLMM_DEFAULT, GPBOOST = (
    "refglmm",
    "lme4",
    "glmmTMB",
    "glmm",
    "glmm (defaults)",
    "gpboost",
)
EVERYBODY = (OURS, LME4, GLMMTMB, GLMM, GLMM_DEFAULT, GPBOOST)


@dataclass(frozen=True)
class Case:
    """One model.

    Attributes
    ----------
    formula : str
        As R and refglmm read it; ``formulas`` has another spelling for a program that needs one.
    peers : tuple of str
        Programs that can fit it. "glmm (defaults)" appears where glmm's default call does more than fit
        (likelihood-ratio tables of Poisson models, Satterthwaite degrees of freedom); "glmm" is asked not to.
    n_agq, reml : quadrature nodes; REML (None: not a linear mixed model)
    response, weights : columns for the programs that take arrays
    simulated_n : int
        Rows of a simulated data set of fixed q, for the plot of time against n; 0 elsewhere.
    """

    name: str
    formula: str
    family: str
    data: Callable[[], pd.DataFrame]
    peers: tuple[str, ...]
    response: str
    n_agq: int = 1
    reml: bool | None = None
    weights: str | None = None
    formulas: Mapping[str, str] = field(default_factory=dict)
    simulated_n: int = 0
    quick: bool = False

    def formula_for(self, peer: str) -> str:
        """The formula as this program spells it."""
        return self.formulas.get(peer, self.formula)

    def request(self, peer: str) -> dict[str, Any]:
        """What a worker needs to know."""
        return {
            "formula": self.formula_for(peer),
            "family": self.family,
            "n_agq": self.n_agq,
            "reml": self.reml,
            "response": self.response,
            "weights": self.weights,
        }


# ------------------------------------------------------------------------------------------------ data
def factor(values: pd.Series) -> pd.Categorical:
    """R's ``factor()`` of whole numbers: text levels in numerical order."""
    text = values.astype(int).astype(str)
    return pd.Categorical(text, categories=sorted(text.unique(), key=int))


def cbpp() -> pd.DataFrame:
    """cbpp with ``prop = incidence / size`` for the programs without ``cbind``."""
    data = datasets.load("cbpp")
    return data[["herd", "period", "incidence", "size"]].assign(prop=data["incidence"] / data["size"])


def contraception() -> pd.DataFrame:
    """``ch``: any living children; ``age_s = age / (2 sd(age))``."""
    data = datasets.load("Contraception")
    ch = np.where(data["livch"].astype(str) == "0", "N", "Y")
    return data[["district", "urban", "livch"]].assign(
        use=(data["use"] == "Y") * 1.0,
        ch=pd.Categorical(ch, categories=["N", "Y"]),
        age_s=data["age"] / (2 * data["age"].std()),
    )


def verbagg() -> pd.DataFrame:
    """``r = 1`` where r2 is Y."""
    data = datasets.load("VerbAgg")
    return data[["Anger", "Gender", "btype", "situ", "id", "item"]].assign(r=(data["r2"] == "Y") * 1.0)


def grouseticks() -> pd.DataFrame:
    """``h``: HEIGHT in standard deviations from its mean."""
    data = datasets.load("grouseticks")
    height = data["HEIGHT"]
    return data[["TICKS", "YEAR", "BROOD", "INDEX", "LOCATION"]].assign(h=(height - height.mean()) / height.std())


def toenail() -> pd.DataFrame:
    """``severe = 1`` for the second level of outcome."""
    data = datasets.load("toenail")
    severe = (data["outcome"] == data["outcome"].cat.categories[1]) * 1.0
    return data[["time", "treatment", "patientID"]].assign(severe=severe)


def arabidopsis() -> pd.DataFrame:
    """Codes as factors; ``fruits`` is total.fruits under a name without a dot."""
    data = datasets.load("Arabidopsis")
    codes = {name: factor(data[name]) for name in ("gen", "rack", "nutrient")}
    return data[["popu", "amd", "status"]].assign(fruits=data["total.fruits"], **codes)


def epil() -> pd.DataFrame:
    """``per`` and ``subject`` as factors."""
    data = datasets.load("epil")
    return data[["y", "lbase", "trt", "lage"]].assign(per=factor(data["period"]), subject=factor(data["subject"]))


def insteval() -> pd.DataFrame:
    """``high = 1`` for ratings above 3."""
    data = datasets.load("InstEval")
    return data[["s", "d", "service", "dept", "y"]].assign(high=(data["y"] > 3) * 1.0)


def simulated(n: int, q1: int, q2: int = 0) -> pd.DataFrame:
    """Binary data: a covariate, a 0/1 covariate, random intercepts of q1 and (if any) q2 crossed groups."""
    rng = np.random.default_rng([n, q1, q2])
    data = {"x": rng.standard_normal(n), "t": rng.integers(0, 2, n) * 1.0}
    eta = -0.5 + 0.5 * data["x"] + 0.3 * data["t"]
    frame = pd.DataFrame(data)
    for name, q, sd in (("g", q1, 0.8), ("h", q2, 0.5)):
        if q:
            codes = rng.integers(0, q, n)
            eta += sd * rng.standard_normal(q)[codes]
            frame[name] = factor(pd.Series(codes + 1))
    return frame.assign(y=(rng.random(n) < 1.0 / (1.0 + np.exp(-eta))) * 1.0)


# ---------------------------------------------------------------------------------------------- models
BINARY = (OURS, LME4, GLMMTMB, GLMM, GPBOOST)
COUNTS = (OURS, LME4, GLMMTMB, GLMM, GLMM_DEFAULT, GPBOOST)
STRUCTURED = (OURS, GLMMTMB)  # lme4 before 2.0 and the others have no cs() and ar1()
QUADRATURE = (OURS, LME4, GLMM)

_CH = "use ~ age_s + I(age_s^2) + urban + ch + age_s:ch + "
_EPIL = "y ~ lbase * trt + lage + "
_CONTRACEPTION = {
    "cm1": "use ~ age_s + I(age_s^2) + urban + livch + (1 | district)",
    "cm2": "use ~ age_s + I(age_s^2) + urban + ch + (1 | district)",
    "cm3": _CH + "(1 | district)",
    "cm4": _CH + "(1 + urban | district)",
    "cm5": _CH + "(1 | district/urban)",
    "cm6": _CH + "(1 | district:urban)",
}


def _contraception_case(name: str) -> Case:
    """gpboost has no correlated slopes; the nested terms of cm5 are single columns to it as to us."""
    peers = tuple(peer for peer in BINARY if not (name == "cm4" and peer == GPBOOST))
    return Case(f"Contraception {name}", _CONTRACEPTION[name], "binomial", contraception, peers, "use", quick=True)


def _simulated_case(n: int, q1: int, q2: int, in_plot: bool) -> Case:
    groups = "(1 | g) + (1 | h)" if q2 else "(1 | g)"
    sizes = f"{q1:.0e} x {q2:.0e}" if q2 else f"{q1:.0e} groups"
    return Case(
        f"simulated {n:.0e}, {sizes}".replace("e+0", "e"),
        f"y ~ x + t + {groups}",
        "binomial",
        lambda: simulated(n, q1, q2),
        BINARY,
        "y",
        simulated_n=n if in_plot else 0,
    )


CASES: tuple[Case, ...] = (
    Case(
        "cbpp",
        "cbind(incidence, size - incidence) ~ period + (1 | herd)",
        "binomial",
        cbpp,
        BINARY,
        "prop",
        weights="size",
        formulas={GLMM: "prop ~ period + (1 | herd)"},
        quick=True,
    ),
    *(_contraception_case(name) for name in _CONTRACEPTION),
    Case(
        "VerbAgg",
        "r ~ Anger + Gender + btype + situ + (1 | id) + (1 | item)",
        "binomial",
        verbagg,
        BINARY,
        "r",
        quick=True,
    ),
    Case(
        "grouseticks",
        "TICKS ~ YEAR + h + (1 | BROOD) + (1 | INDEX) + (1 | LOCATION)",
        "poisson",
        grouseticks,
        COUNTS,
        "TICKS",
        quick=True,
    ),
    Case(
        "toenail, 25 nodes",
        "severe ~ time * treatment + (1 | patientID)",
        "binomial",
        toenail,
        QUADRATURE,
        "severe",
        n_agq=25,
        quick=True,
    ),
    Case(
        "Arabidopsis",
        "fruits ~ nutrient * amd + status + (1 | popu) + (1 | gen) + (1 | popu:rack)",
        "poisson",
        arabidopsis,
        COUNTS,
        "fruits",
        quick=True,
    ),
    Case("epil, cs", _EPIL + "cs(0 + per | subject)", "poisson", epil, STRUCTURED, "y", quick=True),
    Case("epil, ar1", _EPIL + "ar1(0 + per | subject)", "poisson", epil, STRUCTURED, "y", quick=True),
    Case(
        "sleepstudy",
        "Reaction ~ Days + (Days | Subject)",
        "gaussian",
        lambda: datasets.load("sleepstudy"),
        (OURS, LME4, GLMMTMB, GLMM, GLMM_DEFAULT),
        "Reaction",
        reml=True,
        quick=True,
    ),
    Case(
        "Penicillin",
        "diameter ~ 1 + (1 | plate) + (1 | sample)",
        "gaussian",
        lambda: datasets.load("Penicillin"),
        COUNTS,
        "diameter",
        reml=True,
        quick=True,
    ),
    Case(
        "InstEval",
        "y ~ 1 + service + (1 | s) + (1 | d) + (1 | dept:service)",
        "gaussian",
        insteval,
        COUNTS,
        "y",
        reml=True,
    ),
    Case(
        "InstEval, y > 3",
        "high ~ 1 + service + (1 | s) + (1 | d) + (1 | dept:service)",
        "binomial",
        insteval,
        BINARY,
        "high",
    ),
    _simulated_case(10_000, 1_000, 100, True),
    _simulated_case(100_000, 1_000, 100, True),
    _simulated_case(1_000_000, 1_000, 100, True),
    _simulated_case(1_000_000, 100_000, 0, False),
    _simulated_case(1_000_000, 10_000, 1_000, False),
)
#: Cases that the bars name.
ONE_FACTOR, BIG_CROSSED, LARGEST_PLOTTED = (CASES[i].name for i in (-2, -1, -3))
#: Cases for which the report says where the time goes.
DISSECTED = ("VerbAgg", LARGEST_PLOTTED)
#: Cases where CHOLMOD itself is the whole cost.
FACTORISATION_BOUND = ("InstEval", "InstEval, y > 3")
