"""One process that fits with glmm or gpboost (``python -m validation.bench.worker_python glmm``).

Place in the reading order: after ``wire``. Runs in the benchmark's own environment, without refglmm.
"""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from validation.bench import wire


class Glmm:
    """glmm fits from a data frame; ``defaults``: with the tables and tests of its default call."""

    def __init__(self, defaults: bool) -> None:
        self.library = import_module("glmm")
        self.options = {} if defaults else {"satterthwaite": False, "anova_test": "Wald"}

    def load(self, request: dict[str, Any]) -> dict[str, Any]:
        """Read the data of a case."""
        self.case, self.folder = request, Path(request["folder"])
        self.data = wire.read_columns(self.folder)
        weights = request["weights"]
        self.weights = None if weights is None else self.data[weights].to_numpy()
        return {"peak": wire.peak_memory()}

    def _fit(self) -> Any:
        case = self.case
        return self.library.fit(
            self.data,
            case["formula"],
            case["family"],
            nagq=case["n_agq"],
            reml=case["reml"],
            weights=self.weights,
            **self.options,
        )

    def fit(self, request: dict[str, Any]) -> dict[str, Any]:
        """Fit a few times."""
        self.result, times = wire.burst(self._fit, request["times"])
        return times

    def new_response(self, _: dict[str, Any]) -> dict[str, Any]:
        """Put the response drawn by refglmm's worker into the data frame."""
        self.data[self.case["response"]] = np.fromfile(self.folder / "response.bin")
        return {}

    def describe(self, _: dict[str, Any]) -> dict[str, Any]:
        """Estimates of the last fit, and the peak of memory."""
        result = self.result
        terms = []
        for (group, columns), packed in zip(result.re_groups, result.varcorr, strict=True):
            covariance = np.zeros((len(columns), len(columns)))
            covariance[np.tril_indices(len(columns))] = packed
            covariance += np.tril(covariance, -1).T
            terms.append({"group": group, "columns": list(columns), "covariance": covariance.tolist()})
        return {
            "peak": wire.peak_memory(),
            "names": list(result.names),
            "beta": result.beta.tolist(),
            "terms": terms,
            "sigma": float(np.sqrt(result.dispersion)) if self.case["family"] == "gaussian" else 1.0,
            "loglik": float(result.loglik),
            "messages": [str(message)[:200] for message in result.warnings],
        }


class GpBoost:
    """gpboost takes arrays; the model matrix and the group codes come ready-made and cost it nothing."""

    LIKELIHOODS: ClassVar = {"binomial": "bernoulli_logit", "poisson": "poisson", "gaussian": "gaussian"}

    def __init__(self) -> None:
        self.library = import_module("gpboost")

    def load(self, request: dict[str, Any]) -> dict[str, Any]:
        """Read the arrays of a case."""
        folder = Path(request["folder"])
        data = wire.read_columns(folder)
        n = len(data)
        self.case = request
        self.X = np.fromfile(folder / "X.bin").reshape(n, -1)
        self.codes = np.fromfile(folder / "codes.bin", dtype=np.int32).reshape(n, -1)
        self.y = data[request["response"]].to_numpy()
        weights = request["weights"]
        self.weights = None if weights is None else data[weights].to_numpy()
        return {"peak": wire.peak_memory()}

    def _fit(self) -> Any:
        model = self.library.GPModel(
            group_data=self.codes,
            likelihood="binomial_logit" if self.weights is not None else self.LIKELIHOODS[self.case["family"]],
            weights=self.weights,
            num_parallel_threads=1,
        )
        model.fit(y=self.y, X=self.X)
        return model

    def fit(self, request: dict[str, Any]) -> dict[str, Any]:
        """Fit a few times."""
        self.result, times = wire.burst(self._fit, request["times"])
        return times

    def describe(self, request: dict[str, Any]) -> dict[str, Any]:
        """Estimates of the last fit (maximum likelihood always), and the peak of memory."""
        variances = self.result.get_cov_pars().to_numpy()[0]
        gaussian = self.case["family"] == "gaussian"
        return {
            "peak": wire.peak_memory(),
            "names": None,
            "beta": self.result.get_coef().to_numpy()[0].tolist(),
            "terms": [
                {"group": group, "columns": ["(Intercept)"], "covariance": [[float(variance)]]}
                for group, variance in zip(request["groups"], variances[gaussian:], strict=True)
            ],
            "sigma": float(np.sqrt(variances[0])) if gaussian else 1.0,
            "loglik": -float(self.result.get_current_neg_log_likelihood()),
            "maximum_likelihood": gaussian,
            "messages": [],
        }


def main(program: str) -> None:
    """Serve one program."""
    warnings.simplefilter("ignore")
    worker: Any = GpBoost() if program == "gpboost" else Glmm(defaults=program != "glmm")
    handlers = {"load": worker.load, "fit": worker.fit, "describe": worker.describe}
    handlers["version"] = lambda _: {"version": version(program.split()[0])}
    if isinstance(worker, Glmm):
        handlers["new_response"] = worker.new_response
    wire.serve(handlers)


if __name__ == "__main__":
    main(sys.argv[1])
