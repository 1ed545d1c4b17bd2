"""One process that fits with refglmm, one fit per request, and judges the estimates of the others.

Place in the reading order: after ``floor``.
"""

from __future__ import annotations

import os
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import refglmm as rg
from validation.bench import wire
from validation.bench.floor import floor_of
from validation.bench.instrument import dissect
from validation.bench.referee import exact_objective, psi_of


class Worker:
    """What it was told about the case, and the last fit."""

    def load(self, request: dict[str, Any]) -> dict[str, Any]:
        """Read the data of a case."""
        self.case, self.folder = request, Path(request["folder"])
        self.data = wire.read_columns(self.folder)
        return {"peak": wire.peak_memory()}

    def _fit(self) -> Any:
        case = self.case
        if case["reml"] is not None:
            return rg.lmer(case["formula"], self.data, reml=case["reml"])
        return rg.glmer(case["formula"], self.data, case["family"], n_agq=case["n_agq"])

    def fit(self, request: dict[str, Any]) -> dict[str, Any]:
        """Fit a few times, from the data frame."""
        self.result, times = wire.burst(self._fit, request["times"])
        return times

    def describe(self, _: dict[str, Any]) -> dict[str, Any]:
        """Read what the report shows off the last fit."""
        fit, peak = self.result, wire.peak_memory()
        certificate = fit.optimum.certificate
        return {
            "peak": peak,
            "n": fit.frame.n,
            "p": fit.problem.p,
            "q": fit.problem.q,
            "value": fit.optimum.value,
            "par": fit.optimum.par.tolist(),
            "beta": fit.optimum.beta.tolist(),
            "loglik": fit.loglik,
            "evaluations": fit.optimum.n_evaluations,
            "decrement": certificate.newton_decrement,
            "converged": certificate.converged,
            "singular": certificate.singular,
            "messages": list(certificate.messages),
        }

    def prepare(self, _: dict[str, Any]) -> dict[str, Any]:
        """Prepare the model, and leave its arrays in the folder for programs that take arrays."""
        case = self.case
        family = "gaussian" if case["reml"] is not None else case["family"]
        self.model = rg.GLMM(case["formula"], self.data, family)
        design = self.model.design
        np.ascontiguousarray(design.X).tofile(self.folder / "X.bin")
        codes = np.column_stack([term.codes for term in design.terms])
        np.ascontiguousarray(codes, dtype=np.int32).tofile(self.folder / "codes.bin")
        return {"groups": [term.group for term in design.terms]}

    def judge(self, request: dict[str, Any]) -> dict[str, Any]:
        """Exact objective at the estimates of one program."""
        par, beta = psi_of(self.model, request["estimates"])
        case = self.case
        return {"value": exact_objective(self.model, par, beta, case["n_agq"], case["reml"])}

    def new_response(self, request: dict[str, Any]) -> dict[str, Any]:
        """Draw a response from the fitted model and leave it in the folder."""
        fit, frame = self.result, self.model.frame
        rng = np.random.default_rng(request["seed"])
        mu = fit.conditional.mu
        if self.case["reml"] is not None:
            self.y = mu + fit.sigma * rng.standard_normal(mu.size)
        else:
            self.y = self.model.family.simulate(mu, frame.weights, fit.optimum.phi, rng)
        self.y.tofile(self.folder / "response.bin")
        return {}

    def refit(self, request: dict[str, Any]) -> dict[str, Any]:
        """Fit to the new response, from the estimates of the last fit: no parsing, no matrices."""
        return wire.burst(lambda: self.result.refit(self.y), request["times"])[1]

    def dissect(self, _: dict[str, Any]) -> dict[str, Any]:
        """One instrumented fit."""
        return dissect(self._fit)

    def floor(self, _: dict[str, Any]) -> dict[str, Any]:
        """The least this fit could take, and what the prepared model takes, in CPU seconds."""
        prepared = wire.burst(self.model.fit, 4)[1]["cpu"]
        return {**floor_of(self.model, self.result), "prepared": prepared}

    def version(self, _: dict[str, Any]) -> dict[str, Any]:
        """Versions of refglmm and of what it stands on."""
        names = ("numpy", "scipy", "numba", "scikit-sparse")
        return {"version": rg.__version__, "stands on": {name: version(name) for name in names}}


def main() -> None:
    """Serve refglmm."""
    warnings.simplefilter("ignore")
    os.environ.setdefault("TQDM_DISABLE", "1")
    worker = Worker()
    names = (
        "load",
        "fit",
        "describe",
        "prepare",
        "judge",
        "new_response",
        "refit",
        "dissect",
        "floor",
        "version",
    )
    wire.serve({name: getattr(worker, name) for name in names})


if __name__ == "__main__":
    main()
