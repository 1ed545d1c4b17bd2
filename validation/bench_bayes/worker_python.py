r"""One process that samples with nutpie or blackjax (``python -m validation.bench_bayes.worker_python nutpie``).

Place in the reading order: after ``cases``. Runs in an environment of its own, without refglmm. The model is what a
user of these programs would write:

.. math:: y \sim \mathrm{binomial}(n, 1/(1+e^{-\eta})),\quad \eta = a + (X - \bar X) b + \sum_t s_t z_t,\quad
    a \sim N(0, 10^2),\ b \sim N(0, 10^2),\ s_t \sim \mathrm{Exp}(1),\ z \sim N(0, 1)
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from validation.bench import wire


class Arrays:
    """What our worker left in the folder."""

    def __init__(self, request: dict[str, Any]) -> None:
        folder, n, p = Path(request["folder"]), request["n"], request["p"]
        X = np.fromfile(folder / "X.bin").reshape(n, p)[:, 1:]
        self.means = X.mean(axis=0)
        self.X = X - self.means
        self.codes = np.fromfile(folder / "codes.bin", dtype=np.int32).reshape(n, -1).T.copy()
        self.levels = [int(column.max()) + 1 for column in self.codes]
        self.successes, self.trials = np.fromfile(folder / "response.bin").reshape(n, 2).T.copy()
        self.priors = request["priors"]

    def reported(self, intercept: Any, slopes: Any, sds: Any) -> np.ndarray:
        """(chains, draws, parameters) with the intercept of X as it was."""
        slopes = np.asarray(slopes)
        uncentred = np.asarray(intercept) - slopes @ self.means
        return np.concatenate([uncentred[..., None], slopes, np.asarray(sds)], axis=-1)


class Nutpie:
    """A PyMC model, compiled by numba, sampled by nutpie."""

    def load(self, request: dict[str, Any]) -> dict[str, Any]:
        """Write the model and compile it."""
        import nutpie
        import pymc as pm

        self.arrays = arrays = Arrays(request)
        priors = arrays.priors
        with pm.Model() as model:
            intercept = pm.Normal("intercept", 0.0, priors["intercept"])
            slopes = pm.Normal("slopes", 0.0, priors["slope"], shape=arrays.X.shape[1])
            sds = pm.Exponential("sds", 1.0 / priors["sd"], shape=len(arrays.levels))
            eta = intercept + arrays.X @ slopes
            for t, levels in enumerate(arrays.levels):
                z = pm.Normal(f"z{t}", 0.0, 1.0, shape=levels)
                eta = eta + (sds[t] * z)[arrays.codes[t]]
            if np.all(arrays.trials == 1.0):
                pm.Bernoulli("y", logit_p=eta, observed=arrays.successes.astype(int))
            else:
                pm.Binomial(
                    "y", n=arrays.trials.astype(int), logit_p=eta, observed=arrays.successes.round().astype(int)
                )
        began = time.perf_counter()
        self.compiled = nutpie.compile_pymc_model(model)
        return {"compile": time.perf_counter() - began}

    def sample(self, request: dict[str, Any]) -> dict[str, Any]:
        """Sample the compiled model."""
        import nutpie

        began = time.perf_counter()
        trace = nutpie.sample(
            self.compiled,
            draws=request["draws"],
            tune=request["warmup"],
            chains=request["chains"],
            cores=request["cores"],
            seed=request["seed"],
            progress_bar=False,
        )
        wall = time.perf_counter() - began
        posterior = trace.posterior
        values = [posterior[name].to_numpy() for name in ("intercept", "slopes", "sds")]
        self.arrays.reported(*values).tofile(request["file"])
        stats = trace.sample_stats
        leapfrogs = float(np.mean(stats["n_steps"].to_numpy()))
        divergent = int(stats["diverging"].to_numpy().sum())
        return {"wall": wall, "sampling": wall, "divergent": divergent, "leapfrogs": leapfrogs}

    def version(self, _: dict[str, Any]) -> dict[str, Any]:
        """Versions."""
        return {"version": version("nutpie"), "stands on": {name: version(name) for name in ("pymc", "numba")}}


class Blackjax:
    """A log density in JAX, NUTS with window adaptation by blackjax, one thread a chain."""

    def load(self, request: dict[str, Any]) -> dict[str, Any]:
        """Write the log density."""
        import jax

        jax.config.update("jax_enable_x64", True)
        self.arrays = Arrays(request)
        self.programs: dict[tuple[int, int], Any] = {}
        return {}

    def log_density(self, position: dict[str, Any]) -> Any:
        """Up to a constant, with the Jacobian of log sd."""
        import jax
        import jax.numpy as jnp

        arrays, priors = self.arrays, self.arrays.priors
        sds = jnp.exp(position["log_sds"])
        eta = position["intercept"] + arrays.X @ position["slopes"]
        value = -0.5 * (position["intercept"] / priors["intercept"]) ** 2
        value += -0.5 * jnp.sum((position["slopes"] / priors["slope"]) ** 2)
        value += jnp.sum(-sds / priors["sd"] + position["log_sds"])
        for t in range(len(arrays.levels)):
            z = position[f"z{t}"]
            value += -0.5 * jnp.sum(z**2)
            eta = eta + sds[t] * z[arrays.codes[t]]
        return value + jnp.sum(arrays.successes * eta - arrays.trials * jax.nn.softplus(eta))

    def program(self, draws: int, warmup: int) -> tuple[Any, float]:
        """One chain, compiled ahead of time: (key) -> draws of the parameters, divergences, leapfrogs."""
        import blackjax
        import jax

        arrays = self.arrays

        def start(key: Any) -> dict[str, Any]:
            """Uniform on (-2, 2), as Stan starts."""
            shapes = {"intercept": (), "slopes": (arrays.X.shape[1],), "log_sds": (len(arrays.levels),)}
            shapes |= {f"z{t}": (levels,) for t, levels in enumerate(arrays.levels)}
            keys = jax.random.split(key, len(shapes))
            return {n: jax.random.uniform(k, s, minval=-2.0, maxval=2.0) for k, (n, s) in zip(keys, shapes.items())}

        def chain(key: Any) -> Any:
            at, adapt, draw = jax.random.split(key, 3)
            warm = blackjax.window_adaptation(blackjax.nuts, self.log_density)
            (state, parameters), _ = warm.run(adapt, start(at), warmup)
            step = blackjax.nuts(self.log_density, **parameters).step

            def one(state: Any, key: Any) -> Any:
                state, info = step(key, state)
                kept = [state.position[name] for name in ("intercept", "slopes", "log_sds")]
                return state, (kept, info.is_divergent, info.num_integration_steps)

            return jax.lax.scan(one, state, jax.random.split(draw, draws))[1]

        began = time.perf_counter()
        compiled = jax.jit(chain).lower(jax.random.key(0)).compile()
        return compiled, time.perf_counter() - began

    def sample(self, request: dict[str, Any]) -> dict[str, Any]:
        """All chains, as many at a time as there are cores."""
        import jax

        size = (request["draws"], request["warmup"])
        if size not in self.programs:
            self.programs[size] = self.program(*size)
        compiled, seconds = self.programs[size]
        keys = list(jax.random.split(jax.random.key(request["seed"]), request["chains"]))
        began = time.perf_counter()
        with ThreadPoolExecutor(request["cores"]) as pool:
            found = list(pool.map(lambda key: jax.block_until_ready(compiled(key)), keys))
        wall = time.perf_counter() - began
        intercept, slopes, log_sds = (np.stack([np.asarray(f[0][k]) for f in found]) for k in range(3))
        self.arrays.reported(intercept, slopes, np.exp(log_sds)).tofile(request["file"])
        divergent = int(sum(np.asarray(f[1]).sum() for f in found))
        leapfrogs = float(np.mean([np.asarray(f[2]).mean() for f in found]))
        return {"wall": wall, "sampling": wall, "compile": seconds, "divergent": divergent, "leapfrogs": leapfrogs}

    def version(self, _: dict[str, Any]) -> dict[str, Any]:
        """Versions."""
        return {"version": version("blackjax"), "stands on": {"jax": version("jax")}}


def main() -> None:
    """Serve the program named on the command line."""
    warnings.simplefilter("ignore")
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    worker = {"nutpie": Nutpie, "blackjax": Blackjax}[sys.argv[1]]()
    wire.serve({name: getattr(worker, name) for name in ("load", "sample", "version")})


if __name__ == "__main__":
    main()
