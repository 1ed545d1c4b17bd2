r"""The arrays of one model, and the parameter vector psi = (par, beta, shape parameters on their working scale).

Place in the reading order: after ``layout``, before ``pirls``. Nothing here depends on how the likelihood is
approximated.

.. math:: \eta = o + X\beta + Z \Lambda(\theta) u,\qquad u \sim N(0, I_q)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refglmm.families.shape_scales import ShapeScale
from refglmm.likelihood.layout import RandomLayout, build_layout

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Problem:
    """Response, matrices, family and covariance structures of one model.

    Attributes
    ----------
    y, weights, offset, base : float array, shape (n,)
        Response as the family sees it, prior weights, offset, and the part of the log density that is free of
        eta and phi.
    X : float array, shape (n, p)
        Fixed-effects model matrix of full column rank.
    layout : RandomLayout
        Rows of Z and the pattern of H.
    structures : sequence of covariance structures, one for each term
    family : the family; its kernels do all per-observation work
    beta_names, par_names, phi_names : tuple of str
        Labels for messages and tables.
    factor_names : tuple of str
        Grouping factor of each term, for messages.
    group_weights : float array, shape (groups,), or None
        Factor of each group's log-likelihood, in models with one grouping factor.
    """

    y: FloatArray
    weights: FloatArray
    offset: FloatArray
    base: FloatArray
    X: FloatArray
    layout: RandomLayout
    structures: tuple[Any, ...]
    family: Any
    beta_names: tuple[str, ...]
    par_names: tuple[str, ...]
    phi_names: tuple[str, ...]
    factor_names: tuple[str, ...] = ()
    group_weights: FloatArray | None = None

    @property
    def n(self) -> int:
        """Rows."""
        return int(self.y.size)

    @property
    def p(self) -> int:
        """Fixed-effects columns."""
        return int(self.X.shape[1])

    @property
    def q(self) -> int:
        """Random effects."""
        return self.layout.q

    @property
    def n_par(self) -> int:
        """Covariance parameters."""
        return len(self.par_names)

    @property
    def n_phi(self) -> int:
        """Estimated shape parameters."""
        return len(self.phi_names)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of psi = (par, beta, working phi)."""
        return self.par_names + self.beta_names + self.shape_labels

    @property
    def shape_labels(self) -> tuple[str, ...]:
        """Names of the shape parameters on the scale on which they are estimated."""
        return tuple(
            scale.label.format(name) for scale, name in zip(self.family.shape_scales, self.phi_names, strict=False)
        )

    @cached_property
    def column_extent(self) -> FloatArray:
        """Range of each column of X; the size of a constant one."""
        spread = self.X.max(axis=0) - self.X.min(axis=0)
        return np.where(spread > 0, spread, np.abs(self.X[0]))

    @cached_property
    def zeros(self) -> FloatArray:
        """Shape (n,): the fixed part of a linear predictor that has none."""
        return np.zeros(self.n)

    @cached_property
    def par_slices(self) -> tuple[slice, ...]:
        """Where each term's parameters stand in par."""
        ends = np.cumsum([0] + [structure.n_par for structure in self.structures])
        return tuple(slice(int(a), int(b)) for a, b in pairwise(ends))

    @cached_property
    def par_start(self) -> FloatArray:
        """Default start of par (spec of lme4, section 3.2)."""
        return np.concatenate([s.start for s in self.structures] + [np.empty(0)])

    @cached_property
    def par_lower(self) -> FloatArray:
        """Lower bounds of par."""
        return np.concatenate([s.lower for s in self.structures] + [np.empty(0)])

    @cached_property
    def par_upper(self) -> FloatArray:
        """Upper bounds of par."""
        return np.concatenate([s.upper for s in self.structures] + [np.empty(0)])

    @cached_property
    def natural_unit(self) -> FloatArray:
        """What counts as one for each covariance parameter: 1 / rms(column) for a standard deviation, 1 for others."""
        unit = np.ones(self.n_par)
        rms = np.sqrt(np.mean(self.layout.z**2, axis=0))
        size, first = 1.0 / np.where(rms > 0, rms, 1.0), 0
        for structure, part in zip(self.structures, self.par_slices, strict=True):
            own = size[first : first + structure.k]
            deviations = np.flatnonzero(self.par_lower[part] == 0.0)
            unit[part][deviations] = own if deviations.size == structure.k else own.mean()
            first += structure.k
        return unit

    def split(self, psi: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """psi -> (par, beta, phi), phi on its natural scale."""
        n_par, p = len(self.par_names), self.X.shape[1]
        return psi[:n_par], psi[n_par : n_par + p], self.shape_from(psi[n_par + p :])

    def shape_from(self, working: FloatArray) -> FloatArray:
        """Shape parameters on their natural scale; those that are known where none is estimated."""
        if not self.n_phi:
            return self.family.fixed_shape
        scales = self.family.shape_scales
        return self.family.complete(np.array([scale.natural(x) for scale, x in zip(scales, working, strict=True)]))

    def working_shape(self, phi: FloatArray) -> FloatArray:
        """Estimated shape parameters on their working scale."""
        return np.array([scale.working(x) for scale, x in zip(self._scales, phi, strict=False)])

    def shape_slope(self, phi: FloatArray) -> FloatArray:
        """Derivative of each estimated shape parameter in its working parameter."""
        return np.array([scale.slope(x) for scale, x in zip(self._scales, phi, strict=False)])

    @property
    def _scales(self) -> tuple[ShapeScale, ...]:
        return self.family.shape_scales[: self.n_phi]

    def join(self, par: FloatArray, beta: FloatArray, phi: FloatArray) -> FloatArray:
        """(par, beta, phi) -> psi."""
        return np.concatenate([par, beta, self.working_shape(phi)])

    def term_factors(self, par: FloatArray) -> FloatArray:
        """T_t(par) of all terms, row by row, in one flat array."""
        if self.constant_slopes is not None:
            return par @ self.constant_slopes
        pieces = [
            s.factor(s.interior(par[part])).ravel() for s, part in zip(self.structures, self.par_slices, strict=True)
        ]
        return np.concatenate([*pieces, np.empty(0)])

    def factor_derivatives(self, par: FloatArray) -> FloatArray:
        """dT/dpar_k in row k, flat like :meth:`term_factors` (zero outside its own term)."""
        if self.constant_slopes is not None:
            return self.constant_slopes
        return self._slopes(par)

    @cached_property
    def constant_slopes(self) -> FloatArray | None:
        """The derivatives of all T_t, where every T_t is linear in par: then they are the same everywhere."""
        return self._slopes(self.par_start) if all(s.linear for s in self.structures) else None

    def _slopes(self, par: FloatArray) -> FloatArray:
        slopes = np.zeros((self.n_par, self.layout.T_size))
        for begin, structure, part in zip(self.layout.T_start, self.structures, self.par_slices, strict=True):
            slopes[part, begin : begin + structure.k**2] = structure.d_factor(par[part]).reshape(structure.n_par, -1)
        return slopes

    def chain_to_par(self, par: FloatArray, d_factors: FloatArray) -> FloatArray:
        """Turn the gradient in the elements of T (flat, as :meth:`term_factors`) into the gradient in par."""
        return self.factor_derivatives(par) @ d_factors

    def fold(self, par: FloatArray) -> FloatArray:
        """The same T T' with the canonical sign of each term's parameters."""
        pieces = [s.fold(par[part]) for s, part in zip(self.structures, self.par_slices, strict=True)]
        return np.concatenate([*pieces, np.empty(0)])

    def with_response(self, y: FloatArray, weights: FloatArray | None = None) -> Problem:
        """The same model with another response; all index structures are shared."""
        from dataclasses import replace

        a = self.weights if weights is None else weights
        return replace(self, y=y, weights=a, base=self.family.base_measure(y, a))


def build_problem(
    design: Any, frame: Any, family: Any, structures: Sequence[Any], group_weights: FloatArray | None = None
) -> Problem:
    """Collect the arrays of one model from its design, frame and family."""
    par_names: list[str] = []
    for structure, term in zip(structures, design.terms, strict=True):
        par_names += structure.par_names(term.label, term.columns)
    layout = build_layout(
        [term.codes for term in design.terms],
        [term.Z for term in design.terms],
        [term.n_levels for term in design.terms],
        frame.n,
    )
    y = np.ascontiguousarray(frame.y, dtype=np.float64)
    weights = np.ascontiguousarray(frame.weights, dtype=np.float64)
    return Problem(
        y=y,
        weights=weights,
        offset=np.ascontiguousarray(frame.offset, dtype=np.float64),
        base=np.ascontiguousarray(family.base_measure(y, weights), dtype=np.float64),
        X=np.ascontiguousarray(design.X, dtype=np.float64),
        layout=layout,
        structures=tuple(structures),
        family=family,
        beta_names=tuple(design.names),
        par_names=tuple(par_names),
        phi_names=tuple(family.shape_names),
        factor_names=tuple(term.group for term in design.terms),
        group_weights=group_weights,
    )
