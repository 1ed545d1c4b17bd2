r"""The arrays of one model, and the parameter vector psi = (par, beta, shape parameters on their working scale).

Place in the reading order: after ``layout`` and ``coupled``, before ``pirls``. Nothing here depends on how the
likelihood is approximated.

.. math:: \eta = o + X\beta + Z \Lambda(\theta) u,\qquad u \sim N(0, I_q)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refglmm.families.shape_scales import ShapeScale
from refglmm.likelihood.coupled import CoupledLayout
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
    def n_parts(self) -> int:
        """Linear predictors."""
        return int(self.family.n_parts)

    @property
    def eta_shape(self) -> tuple[int, ...]:
        """Shape of what there is one of for each row: (n,), or (number of predictors, n) where there are several."""
        return (self.n,)

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
        """The fixed part of a linear predictor that has none."""
        return np.zeros(self.eta_shape)

    # -- products with X: rows of several predictors stand one predictor after the other ----------------------

    def fixed_predictor(self, beta: FloatArray, out: FloatArray) -> None:
        """Offset + X beta, filled in place."""
        np.dot(self.X, beta, out=out)
        out += self.offset

    def times(self, B: FloatArray) -> FloatArray:
        """X B: a row for each row of each predictor."""
        return self.X @ B

    def transpose_times(self, r: FloatArray) -> FloatArray:
        """X'r."""
        return self.X.T @ r

    def rows_times_fixed(self, R: FloatArray) -> FloatArray:
        """R X for a matrix R with a column for each row of each predictor."""
        return R @ self.X

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

    @cached_property
    def par_logarithms(self) -> NDArray[np.bool_]:
        """Where par is the logarithm of a range, rate or smoothness."""
        return np.concatenate([*(s.logarithms for s in self.structures), np.empty(0, dtype=bool)])

    @cached_property
    def par_in_sd_units(self) -> NDArray[np.bool_]:
        """Where par is in units of the standard deviations; elsewhere it is a correlation or a logarithm."""
        return np.concatenate([*(s.in_sd_units for s in self.structures), np.empty(0, dtype=bool)])

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
            slopes[part, begin : begin + structure.k**2] = structure.d_factor(par[part]).reshape(
                structure.n_par, structure.k**2
            )
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
        a = self.weights if weights is None else weights
        return replace(self, y=y, weights=a, base=self.family.base_measure(y, a))

    def on_rows(
        self,
        y: FloatArray,
        weights: FloatArray,
        X: FloatArray,
        offset: FloatArray,
        codes: Sequence[NDArray[Any]],
        Z: Sequence[FloatArray],
        levels: Sequence[int],
    ) -> Problem:
        """The same model of other rows; ``codes``, ``Z`` and ``levels`` of their random terms as for the layout."""
        return replace(
            self,
            y=y,
            weights=weights,
            offset=np.ascontiguousarray(offset),
            base=np.ascontiguousarray(self.family.base_measure(y, weights)),
            X=np.ascontiguousarray(X),
            layout=self._layout_like(build_layout(codes, Z, levels, len(y))),
        )

    def _layout_like(self, layout: RandomLayout) -> RandomLayout:
        """A layout of this model's kind."""
        return layout


@dataclass(frozen=True)
class CoupledProblem(Problem):
    """A model whose density depends on several linear predictors: ``offset`` is (K, n), X has the columns of all.

    Attributes
    ----------
    beta_parts : tuple of slice
        The columns of X, and the elements of beta, that belong to each predictor.
    """

    beta_parts: tuple[slice, ...] = ()

    @property
    def eta_shape(self) -> tuple[int, ...]:
        """(Number of predictors, n)."""
        return self.n_parts, self.n

    def _layout_like(self, layout: RandomLayout) -> CoupledLayout:
        return CoupledLayout(**vars(layout), part=self.layout.part, x_part=self.layout.x_part)  # type: ignore[attr-defined]

    def fixed_predictor(self, beta: FloatArray, out: FloatArray) -> None:
        """Offset + X beta, filled in place."""
        for k, part in enumerate(self.beta_parts):
            np.dot(self.X[:, part], beta[part], out=out[k])
        out += self.offset

    def times(self, B: FloatArray) -> FloatArray:
        """X B: a row for each row of each predictor."""
        return np.concatenate([self.X[:, part] @ B[part] for part in self.beta_parts])

    def transpose_times(self, r: FloatArray) -> FloatArray:
        """X'r."""
        return self.rows_times_fixed(r.reshape(1, -1))[0]

    def rows_times_fixed(self, R: FloatArray) -> FloatArray:
        """R X for a matrix R with a column for each row of each predictor."""
        pieces = R.reshape(len(R), self.n_parts, self.n)
        return np.hstack([pieces[:, k] @ self.X[:, part] for k, part in enumerate(self.beta_parts)])


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
    common = {
        "y": y,
        "weights": weights,
        "base": np.ascontiguousarray(family.base_measure(y, weights), dtype=np.float64),
        "structures": tuple(structures),
        "family": family,
        "par_names": tuple(par_names),
        "phi_names": tuple(family.shape_names),
        "factor_names": tuple(term.group for term in design.terms),
        "group_weights": group_weights,
    }
    if family.n_parts > 1:
        return _coupled_problem(design, layout, common)
    return Problem(
        offset=np.ascontiguousarray(frame.offset, dtype=np.float64),
        X=np.ascontiguousarray(design.X, dtype=np.float64),
        layout=layout,
        beta_names=tuple(design.names),
        **common,
    )


def _coupled_problem(design: Any, layout: RandomLayout, common: dict[str, Any]) -> CoupledProblem:
    """The arrays of a model with several predictors from its :class:`.CoupledDesign`."""
    parts = tuple(design.slices.values())
    columns = np.concatenate([np.full(part.stop - part.start, k) for k, part in enumerate(parts)])
    predictors = [k for term in design.terms for k in term.predictors]
    return CoupledProblem(
        offset=np.array([own.frame.offset for own in design.parts.values()]),
        X=np.ascontiguousarray(np.hstack([own.X for own in design.parts.values()])),
        layout=CoupledLayout(
            **vars(layout), part=np.array(predictors, dtype=np.int64), x_part=columns.astype(np.int64)
        ),
        beta_names=design.all_columns,
        beta_parts=parts,
        **common,
    )
