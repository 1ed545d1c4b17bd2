r"""A normal density fitted to draws, in any number of dimensions.

Place in the reading order: before ``bridge``; knows no models.

A sample covariance of n draws in d dimensions costs a Kullback-Leibler divergence of about d(d + 3) / (4n) nats
between the true normal density and the fitted one: 0.6 for d = 100 and n = 4000, but 11 for d = 300 and n = 2000,
where the two hardly overlap any more, and it has no inverse for n <= d. Therefore the sample *correlations* are
shrunk,

.. math:: R_\lambda = (1 - \lambda) R + \lambda I,

towards none, which keeps means and variances and costs d / n nats in the limit. How much is decided by the draws:
lambda maximises the normal log likelihood of one half of them under the fit to the other half (both ways, contiguous
halves of each chain, so that autocorrelation counts as what it is, a lack of information). With few dimensions and
many draws lambda is 0 or nearly so.

Where many correlations are large *and* draws are scarce no lambda is good; then the fit is made in coordinates xi in
which the posterior is nearly isotropic, position = map(xi), such as the whitened ones in which the sampler runs
(:class:`Coordinates`). The proposal is still a normal density of the position, when the map is affine.

Sources: Schaefer and Strimmer (2005) for shrinking correlations; lambda by held-out likelihood is a cross-validation
of two parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from refglmm.errors import DataError

FloatArray = NDArray[np.float64]

LOG_2PI = float(np.log(2.0 * np.pi))
#: Weights on the identity that are tried: none, and one to a thousandth in steps of a third.
SHRINKAGE = np.concatenate([[0.0], np.geomspace(1e-3, 1.0, 22)])
#: Eigenvalues of a correlation matrix below this are rounding.
SMALLEST = 1e-12


class Coordinates(Protocol):
    """An affine change of coordinates, position = map(xi), for arrays of shape (m, d).

    ``log_det`` is the logarithm of the absolute determinant of d position / d xi.
    """

    log_det: float

    def to_xi(self, positions: FloatArray) -> FloatArray:
        """Coordinates of the positions."""
        ...

    def to_position(self, xi: FloatArray) -> FloatArray:
        """Positions at the coordinates."""
        ...


class Identity:
    """Positions are their own coordinates."""

    log_det = 0.0

    def to_xi(self, positions: FloatArray) -> FloatArray:
        """The positions."""
        return positions

    def to_position(self, xi: FloatArray) -> FloatArray:
        """The coordinates."""
        return xi


@dataclass(frozen=True)
class NormalProposal:
    """Normal density of positions, N(mean, L L') in the coordinates xi.

    Attributes
    ----------
    mean : float array, shape (d,)
        In xi.
    L : float array, shape (d, d)
        Lower Cholesky factor of the covariance in xi.
    shrinkage : float
        Weight lambda of the identity in the correlations.
    coordinates : Coordinates
    """

    mean: FloatArray
    L: FloatArray
    shrinkage: float
    coordinates: Coordinates

    @property
    def center(self) -> FloatArray:
        """Mean as a position, shape (d,)."""
        return self.coordinates.to_position(self.mean[None, :])[0]

    def draw(self, rng: np.random.Generator, size: int) -> FloatArray:
        """Independent positions, shape (size, d)."""
        standard = rng.standard_normal((size, len(self.mean)))
        return self.coordinates.to_position(self.mean + standard @ self.L.T)

    def log_densities(self, positions: FloatArray) -> FloatArray:
        """Normalised log density of positions (m, d), shape (m,)."""
        centred = self.coordinates.to_xi(positions) - self.mean
        standard = solve_triangular(self.L, centred.T, lower=True, check_finite=False)
        log_det = np.log(np.diag(self.L)).sum() + self.coordinates.log_det
        return -0.5 * (len(self.mean) * LOG_2PI + np.sum(standard**2, axis=0)) - log_det


def fit_proposal(positions: FloatArray, coordinates: Coordinates | None = None) -> NormalProposal:
    """Fit a normal density to draws.

    Parameters
    ----------
    positions : float array, shape (chains, draws, d)
    coordinates : Coordinates, optional
        In which correlations are shrunk.

    Returns
    -------
    NormalProposal

    Raises
    ------
    DataError
        A coordinate that does not vary.
    """
    coordinates = coordinates or Identity()
    chains, draws, d = positions.shape
    xi = coordinates.to_xi(positions.reshape(-1, d))
    sd = xi.std(axis=0, ddof=1)
    if not np.all(sd > 0.0):
        stuck = int(np.argmin(sd > 0.0))
        raise DataError(
            f"coordinate {stuck} of the draws never changes; leave out what is fixed, or sample again", coordinate=stuck
        )
    shrinkage = best_shrinkage(xi.reshape(chains, draws, d))
    R = np.corrcoef(xi, rowvar=False).reshape(d, d)
    L = np.linalg.cholesky((1.0 - shrinkage) * R + shrinkage * np.eye(d))
    return NormalProposal(xi.mean(axis=0), sd[:, None] * L, shrinkage, coordinates)


def best_shrinkage(xi: FloatArray) -> float:
    """The weight of :data:`SHRINKAGE` that predicts one half of the draws (chains, draws, d) best from the other."""
    d, middle = xi.shape[2], xi.shape[1] // 2
    if d == 1:
        return 0.0
    first, second = xi[:, :middle].reshape(-1, d), xi[:, middle:].reshape(-1, d)
    return float(SHRINKAGE[np.argmax(_held_out(first, second) + _held_out(second, first))])


def _held_out(fitted: FloatArray, held_out: FloatArray) -> FloatArray:
    """Normal log likelihood of the held-out draws at each shrinkage of the fitted correlations, up to a constant.

    With R = V diag(e) V', R_lambda has eigenvalues (1 - lambda) e + lambda in the same axes for every lambda.
    """
    mean, sd = fitted.mean(axis=0), fitted.std(axis=0, ddof=1)
    sd = np.where(sd > 0.0, sd, held_out.std(axis=0, ddof=1))
    eigenvalues, V = np.linalg.eigh(np.corrcoef((fitted - mean) / sd, rowvar=False))
    variances = np.mean((((held_out - mean) / sd) @ V) ** 2, axis=0)
    shrunk = (1.0 - SHRINKAGE[:, None]) * eigenvalues + SHRINKAGE[:, None]
    shrunk = np.maximum(shrunk, SMALLEST)
    return -0.5 * len(held_out) * np.sum(np.log(shrunk) + variances / shrunk, axis=1)
