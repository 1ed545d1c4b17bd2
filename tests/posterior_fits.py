"""Posterior fits made of given positions, as if a sampler had drawn them."""

from __future__ import annotations

import numpy as np

from refglmm.bayes.draws import Draws
from refglmm.bayes.fits import MCMCFit


def fit_of_positions(model, positions, **stats):
    """A fit whose draws are these positions, shape (chains, draws, d), as if a sampler had given them."""
    posterior = model.posterior.with_exponent(None)
    shape = positions.shape[:2]
    flat = positions.reshape(-1, posterior.dimension)
    about = {"accept": 0.9, "treedepth": 3, "n_leapfrog": 7, "divergent": False, "step_size": 0.5}
    kept = {name: np.full(shape, value) for name, value in (about | stats).items() if np.ndim(value) == 0}
    kept |= {name: value for name, value in stats.items() if np.ndim(value)}
    kept["lp"] = posterior.log_densities(flat).reshape(shape)
    kept.setdefault("energy", np.random.default_rng(0).standard_normal(shape))
    values = posterior.reported(flat).reshape(*shape, -1)
    return MCMCFit(model, posterior, Draws(positions, values, posterior.names, kept, {"max_treedepth": 10}))


def normal_fit(mode, chains=4, draws=100, **stats):
    """A fit with draws from the normal approximation around a mode."""
    positions = mode.mode_positions[: chains * draws].reshape(chains, draws, -1)
    return fit_of_positions(mode.model, positions, **stats)
