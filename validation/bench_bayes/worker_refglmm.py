"""One process that samples with refglmm, and leaves the arrays of the model for programs that take arrays.

Place in the reading order: after ``cases``.
"""

from __future__ import annotations

import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import refglmm as rg
from validation.bench import wire
from validation.bench_bayes.single import single_numbers


class Worker:
    """The model of a case."""

    def load(self, request: dict[str, Any]) -> dict[str, Any]:
        """Make the model; write its arrays and their names."""
        folder, priors = Path(request["folder"]), request["priors"]
        prior = rg.prior_normal(Intercept_sd=priors["intercept"], b_sd=priors["slope"], tau_rate=1 / priors["sd"])
        data = wire.read_columns(folder)
        self.model = rg.GLMM(request["formula"], data, "binomial", prior=prior)
        self.model.posterior.laplace()  # compiles
        problem, design = self.model.problem, self.model.design
        np.ascontiguousarray(problem.X).tofile(folder / "X.bin")
        np.ascontiguousarray(np.column_stack([t.codes for t in design.terms]), dtype=np.int32).tofile(
            folder / "codes.bin"
        )
        np.column_stack([problem.y * problem.weights, problem.weights]).tofile(folder / "response.bin")
        groups = [term.group for term in design.terms]
        fixed = ["Intercept", *(f"b[{name}]" for name in problem.beta_names[1:])]
        self.names = [*fixed, *(f"sd[{group}:Int]" for group in groups)]
        return {"names": self.names, "groups": groups, "n": problem.n, "p": problem.p, "q": problem.q}

    def sample(self, request: dict[str, Any]) -> dict[str, Any]:
        """The whole call: Laplace fit, warmup, draws, diagnostics."""
        self.model.__dict__.pop("posterior", None)  # nothing is kept from one call to the next
        began = time.perf_counter()
        fit = self.model.sample(
            sampling=request["draws"],
            warmup=request["warmup"],
            chains=request["chains"],
            seed=request["seed"],
            parallel=request["cores"],
            progress=False,
        )
        wall = time.perf_counter() - began
        draws = np.stack([fit.draws[name] for name in self.names], axis=-1)
        np.ascontiguousarray(draws, dtype=np.float64).tofile(request["file"])
        leapfrogs = float(np.mean(fit.draws.stats["n_leapfrog"]))
        return {"wall": wall, "sampling": wall, "divergent": fit.draws.n_divergent, "leapfrogs": leapfrogs}

    def single(self, request: dict[str, Any]) -> dict[str, Any]:
        """Numbers of refglmm alone."""
        return single_numbers(request["repeats"])

    def version(self, _: dict[str, Any]) -> dict[str, Any]:
        """Versions of refglmm and of what it stands on."""
        return {"version": rg.__version__, "stands on": {name: version(name) for name in ("numpy", "numba")}}


def main() -> None:
    """Serve refglmm."""
    warnings.simplefilter("ignore")
    worker = Worker()
    wire.serve({name: getattr(worker, name) for name in ("load", "sample", "single", "version")})


if __name__ == "__main__":
    main()
