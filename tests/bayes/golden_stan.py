"""Writes golden_stan.json: what Stan says about the programs of ``stan_cases``.

Two steps, which need not run on the same Python: ``python -m bayes.golden_stan make`` (from tests/, with this library)
writes programs, data and positions; ``python golden_stan.py run`` (where httpstan is installed, which brings Stan's
compiler and headers, and g++) has them evaluated, each case that has no values yet.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

FILE = Path(__file__).with_name("golden_stan.json")

#: Reads data and positions; writes log densities with Jacobian and constants, or their gradients.
MAIN = """
#include <stan/io/json/json_data.hpp>
#include <stan/model/log_prob_grad.hpp>
#include <fstream>
#include <iomanip>
#include <iostream>
int main(int argc, char** argv) {
  std::ifstream data_file("data.json"), positions("positions");
  stan::json::json_data data(data_file);
  stan::model::model_base& model = new_model(data, 1, &std::cerr);
  size_t n, d;
  positions >> n >> d;
  std::cout << std::setprecision(17);
  for (size_t m = 0; m < n; ++m) {
    std::vector<double> x(d), gradient;
    std::vector<int> none;
    for (auto& v : x) positions >> v;
    double value = stan::model::log_prob_grad<false, true>(model, x, none, gradient, &std::cerr);
    if (argc == 1) gradient = {value};
    for (double v : gradient) std::cout << v << std::endl;
  }
}
"""


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
    old = json.loads(FILE.read_text())
    for name, case in cases.items():  # what has not changed keeps its values
        before = old["cases"].get(name, {})
        if "values" in before and all(before[key] == case[key] for key in case):
            case["values"] = before["values"]
    FILE.write_text(json.dumps({"versions": old["versions"], "cases": cases}) + "\n")


def evaluate(name, case, home):
    """Compile one program without optimisation, and run it."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        (here / "model.stan").write_text(case["program"])
        (here / "data.json").write_text(json.dumps(case["data"]))
        rows = [" ".join(map(repr, position)) for position in case["positions"]]
        (here / "positions").write_text("\n".join([f"{len(rows)} {len(case['positions'][0])}", *rows]))
        cpp = subprocess.check_output(
            [home / "stanc", "--name", "the_model", "--print-cpp", here / "model.stan"], text=True
        )
        (here / "model.cpp").write_text(cpp + MAIN)
        libraries = ["sundials_cvodes", "sundials_idas", "sundials_kinsol", "sundials_nvecserial", "tbb"]
        paths = [f"-I{home}/include", f"-I{home}/include/tbb", f"-L{home}/lib", f"-Wl,-rpath,{home}/lib"]
        options = ["-std=c++17", "-O0", "-w", "-D_REENTRANT", *paths, *(f"-l{library}" for library in libraries)]
        subprocess.check_call(["g++", here / "model.cpp", "-o", here / "model", *options])
        # the laws and priors are slopes in "select", see ``stan_cases``
        which = ["gradient"] if name == "priors" or name.startswith("laws") else []
        return [float(value) for value in subprocess.check_output([here / "model", *which], cwd=here).split()]


def run():
    """Fill in the values."""
    import httpstan

    home = Path(httpstan.__file__).parent
    golden = json.loads(FILE.read_text())
    stan = subprocess.check_output([home / "stanc", "--version"], text=True).split()[1]
    gcc = subprocess.check_output(["g++", "-dumpfullversion"], text=True).strip()
    golden["versions"] = {"stan": stan, "httpstan": httpstan.__version__, "g++": gcc}
    for name, case in golden["cases"].items():
        if "values" not in case:
            case["values"] = evaluate(name, case, home)
            print(name, case["values"][:5], flush=True)
            FILE.write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    {"make": make, "run": run}[sys.argv[1]]()
