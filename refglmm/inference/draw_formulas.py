r"""Formulas for draws that diagnostics and pictures share: autocovariance, energy fraction, bandwidth.

Place in the reading order: in ``inference``, on arrays alone; ``plots`` and the diagnostics of ``bayes`` stand on it
and decide what to make of draws that do not move.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def autocovariance(x: FloatArray) -> FloatArray:
    r"""Autocovariances :math:`\gamma_t = \frac1n \sum_s (x_s - \bar x)(x_{s+t} - \bar x)` along the last axis.

    Padding to twice the length keeps the ends of a chain apart.
    """
    from scipy.fft import irfft, next_fast_len, rfft

    n = x.shape[-1]
    size = next_fast_len(2 * n, real=True)
    spectrum = rfft(x - x.mean(axis=-1, keepdims=True), n=size, axis=-1)
    power = spectrum.real**2 + spectrum.imag**2
    return np.asarray(irfft(power, n=size, axis=-1)[..., :n] / n)


def energy_fraction(energy: FloatArray) -> FloatArray:
    r"""E-BFMI of chains along the last axis: :math:`\sum_s (E_s - E_{s-1})^2 / \sum_s (E_s - \bar E)^2`."""
    spread = energy - energy.mean(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore"):  # nan where the energy does not change
        return np.asarray(np.sum(np.diff(energy, axis=-1) ** 2, axis=-1) / np.sum(spread**2, axis=-1))


def silverman_bandwidth(x: FloatArray) -> FloatArray:
    """Silverman's rule, 0.9 min(sd, IQR / 1.34) S^(-1/5), of S draws along the last axis.

    Draws of a chain that hardly moves can have equal quartiles: then sd alone counts.
    """
    sd = x.std(axis=-1, ddof=1)
    low, high = np.quantile(x, (0.25, 0.75), axis=-1)
    spread = np.where(high > low, np.minimum(sd, (high - low) / 1.34), sd)
    return np.asarray(0.9 * spread * x.shape[-1] ** -0.2)
