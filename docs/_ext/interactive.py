"""The interactive page: data, estimates and optimizer paths of the library, put into one HTML file with its scripts.

``docs/interactive`` holds the page: ``page.html`` (text and style), ``model.js`` (the mathematics), ``draw.js`` (the
pictures), ``app.js`` (the wiring). What the browser computes it computes itself; what comes from here are the rows of
the data, the Gauss-Hermite rules, the optima and the paths that led to them, all from the library when the book is
built. The file needs neither server nor network.

``python docs/_ext/interactive.py page.html`` writes it without the book.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import refglmm as rg
from refglmm.fitted import FittedModel
from refglmm.likelihood.pirls import Pirls
from refglmm.likelihood.quadrature import gh_rule

if TYPE_CHECKING:
    import pandas as pd
    from sphinx.application import Sphinx

SOURCE = Path(__file__).parents[1] / "interactive"
SCRIPTS = ("model.js", "draw.js", "app.js")
#: Where the page stands in the HTML of the book: beside the page that shows it in a frame.
TARGET = Path("reference", "interactive_page.html")
#: Most nodes that the page offers.
MAX_NODES = 30
#: Sliders reach so many standard errors from the estimates with few and many nodes, and to every point of the paths.
REACH = 4.0


@dataclass(frozen=True)
class Choice:
    """One data set with its model: one scalar random effect, binomial response, logit link."""

    label: str
    formula: str
    description: str
    unit: str


CHOICES = {
    "cbpp": Choice(
        "cbpp",
        "cbind(incidence, size - incidence) ~ period + (1 | herd)",
        "cbpp: new cases of contagious bovine pleuropneumonia in 15 herds over four periods, a binomial count in each. "
        "The random effects are small and every herd has many animals: Laplace does well.",
        "animals fell ill",
    ),
    "toenail": Choice(
        "toenail",
        "outcome ~ time * treatment + (1 | patientID)",
        "toenail: is the infection moderate or severe (yes or no), at up to seven visits of each of 294 patients. The "
        "random effects are large and every patient says little: Laplace errs.",
        "visits with a moderate or severe infection",
    ),
}


def page_data(max_nodes: int = MAX_NODES) -> dict[str, Any]:
    """Everything the page is given: quadrature rules, and the data sets with what the library found.

    Parameters
    ----------
    max_nodes : int
        Rules and optima for 1 to this many nodes.

    Returns
    -------
    dict
        As it stands in the page's JSON.
    """
    rules = [[list(gh_rule(k).z), list(gh_rule(k).w)] for k in range(1, max_nodes + 1)]
    return {"rules": rules, "sets": {name: describe(name, choice, max_nodes) for name, choice in CHOICES.items()}}


def describe(name: str, choice: Choice, max_nodes: int) -> dict[str, Any]:
    """Rows, estimates, paths and slider ranges of one data set; psi is (theta, beta)."""
    data = rg.datasets.load(name)
    fits = [rg.glmer(choice.formula, data, "binomial", n_agq=k) for k in range(1, max_nodes + 1)]
    lme4 = rg.glmer(choice.formula, data, "binomial", mode="lme4")
    term = fits[0].design.terms[0]
    paths = [
        describe_path("newton", "refglmm: Newton on exact gradients", fits[0]),
        describe_path("lme4", "lme4: BOBYQA, then Nelder–Mead", lme4),
    ]
    return {
        "label": choice.label,
        "description": choice.description,
        "formula": choice.formula,
        "unit": choice.unit,
        "factor": term.group,
        "levels": [str(level) for level in term.levels],
        "names": ["theta", *fits[0].fixef.index],
        **rows_by_group(fits[0]),
        "optima": [{"psi": estimates(fit), "value": fit.minus_two_loglik} for fit in fits],
        "points": {
            "start": paths[0]["stages"][0][0]["psi"],
            "stage1": paths[0]["stages"][1][0]["psi"],
            "lme4": estimates(lme4),
        },
        "paths": paths,
        "ranges": slider_ranges(fits, paths),
    }


def estimates(fit: FittedModel) -> list[float]:
    """(theta, beta) of a fit."""
    return [float(x) for x in (*fit.optimum.par, *fit.optimum.beta)]


def rows_by_group(fit: FittedModel) -> dict[str, list[Any]]:
    """Response, trials, log binomial coefficients and model matrix, sorted by group; where each group begins."""
    problem = fit.problem
    codes = problem.layout.index[:, 0]
    order = np.argsort(codes, kind="stable")
    return {
        "y": problem.y[order].tolist(),
        "size": problem.weights[order].tolist(),
        "base": problem.base[order].tolist(),
        "X": problem.X[order].T.tolist(),
        "starts": np.searchsorted(codes[order], np.arange(problem.q + 1)).tolist(),
    }


def describe_path(key: str, label: str, fit: FittedModel) -> dict[str, Any]:
    """Evaluations of both stages in their order.

    Stage 1 moves theta alone; its points are drawn at the beta that maximises g together with u.
    """
    evaluations = fit.trace.evaluations
    first, second = (evaluations[evaluations["stage"] == report.name] for report in fit.trace.stages)
    note = (
        f"This path: {len(first)} evaluations in stage 1 (θ alone, drawn at the β that goes with it), "
        f"{len(second)} in stage 2."
    )
    thetas = first[fit.optimum.names[0]]
    stages = [
        points([[theta, *joint_beta(fit, theta)] for theta in thetas], first["value"]),
        points(second[list(fit.optimum.names)].to_numpy().tolist(), second["value"]),
    ]
    return {"key": key, "label": label, "note": note, "stages": stages}


def points(psis: list[list[float]], values: pd.Series) -> list[dict[str, Any]]:
    """Each psi with its -2 log L."""
    return [{"psi": psi, "value": value} for psi, value in zip(psis, values, strict=True)]


def joint_beta(fit: FittedModel, theta: float) -> list[float]:
    """The beta of stage 1 at a theta: the mode of (u, beta) together."""
    pirls = Pirls(fit.problem)
    pirls.find_joint_mode(np.array([theta]), fit.kernel_phi, np.zeros(fit.problem.q), np.zeros(fit.problem.p))
    return [float(x) for x in pirls.beta]


def slider_ranges(fits: list[FittedModel], paths: list[dict[str, Any]]) -> list[dict[str, float]]:
    """Low, high and step of each slider: round numbers around estimates and paths; theta begins at 0."""
    ends = fits[0], fits[-1]
    covariances = [2.0 * np.linalg.inv(fit.optimum.hessian) for fit in ends]
    visited = np.array([point["psi"] for path in paths for stage in path["stages"] for point in stage])
    ranges = []
    for m in range(visited.shape[1]):
        spread = [REACH * float(np.sqrt(covariance[m, m])) for covariance in covariances]
        values = [estimates(fit)[m] for fit in ends]
        low = min(*(x - s for x, s in zip(values, spread, strict=True)), *visited[:, m])
        high = max(*(x + s for x, s in zip(values, spread, strict=True)), *visited[:, m])
        ranges.append(round_range(0.0 if m == 0 else low, max(high, 2.0) if m == 0 else high))
    return ranges


def round_range(low: float, high: float) -> dict[str, float]:
    """The ends moved outward to multiples of a power of ten, and a step of about a 400th."""
    unit = 10.0 ** np.floor(np.log10(high - low) - 0.3)
    digits = max(0, -int(np.log10(unit)))
    ends = float(np.floor(low / unit)) * unit, float(np.ceil(high / unit)) * unit
    return {"low": round(ends[0], digits), "high": round(ends[1], digits), "step": round(unit / 100.0, digits + 2)}


def build_page(data: dict[str, Any]) -> str:
    """The page as one HTML text.

    Raises
    ------
    ValueError
        If ``page.html`` has no place for the data or for the scripts.
    """
    page = (SOURCE / "page.html").read_text(encoding="utf-8")
    scripts = "\n".join((SOURCE / name).read_text(encoding="utf-8").replace('"use strict";\n', "") for name in SCRIPTS)
    numbers = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("</", "<\\/")
    for mark, content in (("/*DATA*/", numbers), ("/*SCRIPTS*/", f'"use strict";\n{scripts}')):
        if page.count(mark) != 1:
            raise ValueError(f"docs/interactive/page.html must contain {mark} once")
        page = page.replace(mark, content)
    return page


def write_page(path: Path, data: dict[str, Any] | None = None) -> None:
    """Write the page to a file, whose folder is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(build_page(page_data() if data is None else data), encoding="utf-8")


def write_into_book(app: Sphinx, exception: Exception | None) -> None:
    """Put the page into a finished HTML book."""
    if exception is None and app.builder.format == "html":
        write_page(Path(app.outdir) / TARGET)


def setup(app: Sphinx) -> dict[str, Any]:
    """Have the page written when the book is done."""
    app.connect("build-finished", write_into_book)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    write_page(Path(sys.argv[1]))
