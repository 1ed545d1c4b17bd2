"""Writes golden_stan.json: what Stan says about the programs of ``stan_cases``.

Two steps, which need not run on the same Python: ``python -m bayes.golden_stan make`` (from tests/, with this library)
writes programs, data and positions; ``python golden_stan.py run`` (with PyStan 3, nest_asyncio) has them evaluated.
"""

import json
import platform
import sys
from pathlib import Path

FILE = Path(__file__).with_name("golden_stan.json")


def make():
    """Programs, data and positions."""
    import numpy as np
    from bayes.stan_cases import MODELS, PRIORS, law_program, model_of, prior_program

    from refglmm.bayes.code import model_code, stan_data

    cases = {}
    for number, name in enumerate(MODELS):
        model, posterior = model_of(name)
        positions = np.round(np.random.default_rng(number).normal(0.0, 0.7, (3, posterior.dimension)), 3)
        program = str(model_code(model, "stan", posterior))
        cases[name] = {"program": program, "data": stan_data(model), "positions": positions.tolist()}
    for part in ("real", "whole"):
        program, data = law_program(part)
        cases[f"laws_{part}"] = {"program": program, "data": data, "positions": [[0.0] * data["M"]]}
    cases["priors"] = {"program": prior_program(), "data": {}, "positions": [[0.0] * len(PRIORS)]}
    FILE.write_text(json.dumps({"versions": {}, "cases": cases}, indent=0) + "\n")


def run():
    """Log densities with Jacobian; for laws and priors the gradient, see ``stan_cases.law_program``."""
    import httpstan
    import stan

    golden = json.loads(FILE.read_text())
    golden["versions"] = {"python": platform.python_version(), "httpstan": httpstan.__version__}
    for name, case in golden["cases"].items():
        built = stan.build(case["program"], data=case["data"], random_seed=1)
        if name == "priors" or name.startswith("laws"):
            case["values"] = built.grad_log_prob(case["positions"][0])
        else:
            case["values"] = [built.log_prob(position, adjust_transform=True) for position in case["positions"]]
        print(name, case["values"][:5], flush=True)
        FILE.write_text(json.dumps(golden, indent=0) + "\n")


if __name__ == "__main__":
    {"make": make, "run": run}[sys.argv[1]]()
