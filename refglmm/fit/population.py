r"""Means of rows, and of the population with the random effects integrated out, with their derivatives.

Place in the reading order: in ``fit``, after ``rows``, before ``predict``; ``effects`` builds on it. What is predicted
of a row is a function :math:`f(\eta)` of its linear predictor, or of its K linear predictors in a model with a zero
part or a dispersion (:func:`row_mean`): the expected response, which is the inverse link except for truncated laws and
their like, :math:`(1 - \pi)\,m(\eta_{main}, \eta_{disp})` with a zero part, or one of its factors.

For a row :math:`\eta_k = x_k'\beta + o_k` with random parts :math:`w_k'u`, :math:`u \sim N(0, I)`,
:math:`w_k = T'z_k`, only the covariance matrix of these K linear forms matters, however many random effects, terms and
crossed factors stand in it (independent terms add up):

.. math:: m = E f(\eta + Rz) = \int f(\eta + Rz)\,\phi(z)\,dz,\qquad RR' = S,\quad S_{kl} = w_k'w_l

The integral has one dimension for one predictor, two where the random effects of two predictors play a part. It is a
sum over equidistant z, which converges exponentially for analytic integrands. The delta method needs

.. math:: \frac{\partial m}{\partial\eta_k} = E f_k,\qquad
          \frac{\partial m}{\partial\,\mathrm{par}_j} = \sum_{kl} \dot w_{k,j}'w_l\; E\{f_k\,(S^- Rz)_l\}

(:math:`E\{\dot w'u \mid Rz\} = \dot w'W S^- Rz`; for one predictor it is
:math:`\dot{s^2}/(2s) \int z f'(\eta + sz)\phi(z)\,dz`), so that standard errors of integrated means count the
uncertainty of the covariance parameters, wherever the fit has a Hessian for them; and of the shape parameters, where
the mean depends on them, by differences of order four on their working scale.

Source: Zeger, Liang and Albert (1988), "Models for longitudinal data: a generalized estimating equation approach"
(population averages); Trefethen and Weideman (2014), "The exponentially convergent trapezoidal rule".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.linalg import LinAlgError
from numpy.typing import NDArray

from refglmm.errors import NotAvailableError
from refglmm.families.coupled import DISPERSION, MAIN, STENCIL, STEP, ZI, CoupledFamily
from refglmm.fit.rows import Rows, coupled_rows, own_rows, refuse_infinite
from refglmm.fit.varcorr import split_par
from refglmm.fit.vcov import free_parameters, invert_scaled, whole_covariance
from refglmm.formula.frame import evaluate_new
from refglmm.formula.parts import CoupledDesign, part_designs

if TYPE_CHECKING:
    from refglmm.families.links import Link
    from refglmm.fitted import FittedModel

FloatArray = NDArray[np.float64]

#: The integral over the random effects steps by h = min(STEP_Z, SPREAD_STEP / s) and reaches to REACH_Z + s. A logit
#: mean (whose poles are pi / s away) is off by exp(-2 pi^2 / (s h)), 4e-22, a cauchit mean by exp(-2 pi / (s h)), 2e-7.
STEP_Z, SPREAD_STEP, REACH_Z = 0.25, 0.4, 8.5
#: Numbers in one block of an integral (32 MB).
BLOCK = 4_000_000
#: Part of the largest variance of a row's linear forms below which a direction has none.
NO_SPREAD = 1e-13
#: What is predicted of a row, and which predictors it takes.
TYPES = {
    "link": (MAIN,),
    "response": (MAIN, ZI, DISPERSION),
    "conditional": (MAIN, DISPERSION),
    "zprob": (ZI,),
    "zlink": (ZI,),
    "disp": (DISPERSION,),
}


# --- what is predicted of a row -------------------------------------------------------------------------------


class RowMean(NamedTuple):
    """A function of the linear predictor, shape (m,), or (K, m) of all predictors, and its derivatives in it.

    ``parts`` says which predictors it depends on, ``on_shape`` whether it depends on the shape parameters too.
    """

    value: Callable[[FloatArray], FloatArray]
    slope: Callable[[FloatArray], FloatArray]
    parts: tuple[int, ...] = (0,)
    on_shape: bool = False


def row_mean(fit: FittedModel, type: str = "response", phi: FloatArray | None = None) -> RowMean:
    """What ``type`` means of a row of this fit, by default its expected response, at the estimated phi or another."""
    family = fit.family.at(fit.kernel_phi if phi is None else phi)
    if isinstance(family, CoupledFamily):
        return _coupled_mean(family, type)
    return RowMean(family.fitted_mean, family.fitted_slope, (0,), not family.mean_is_inverse_link)


def _coupled_mean(family: CoupledFamily, type: str) -> RowMean:
    """The same for several predictors."""
    names = list(family.part_names)

    def unit(k: int) -> Callable[[FloatArray], FloatArray]:
        return lambda eta: np.broadcast_to((np.arange(len(names)) == k)[:, None], eta.shape).astype(np.float64)

    if type in ("link", "zlink"):
        k = names.index(MAIN if type == "link" else ZI)
        return RowMean(lambda eta: eta[k], unit(k), (k,))
    if type == "zprob":
        k = names.index(ZI)
        return RowMean(family.share, lambda eta: unit(k)(eta) * family.share(eta) * (1.0 - family.share(eta)), (k,))
    if type == "disp":
        modelled = float(family.dispersion)
        return RowMean(
            family.first_shape,
            lambda eta: modelled * unit(len(names) - 1)(eta) * family.first_shape(eta),
            (len(names) - 1,) if modelled else (),
            not modelled,
        )
    mean = tuple(k for k, name in enumerate(names) if name == MAIN or (name != ZI and not family.mean_is_inverse_link))
    if type == "conditional" or not family.zi:
        return RowMean(family.law_mean, family.law_slopes, mean, not family.mean_is_inverse_link)
    parts = tuple(sorted((*mean, names.index(ZI))))
    return RowMean(family.fitted_mean, family.response_slopes, parts, not family.mean_is_inverse_link)


def conditional_mean(fit: FittedModel, phi: FloatArray | None = None) -> RowMean:
    """The expected response as a function of the first predictor; with a zero part that of the law beside it."""
    phi = fit.kernel_phi if phi is None else phi
    if not isinstance(fit.family, CoupledFamily):
        return row_mean(fit, phi=phi)
    law, moves = fit.family.base, not fit.family.mean_is_inverse_link
    if moves and fit.family.dispersion:
        raise NotAvailableError(
            f"the mean of the {law.name} law depends on its dispersion, which has a predictor of its own here; use "
            "fit.predict(newdata, type='conditional')"
        )
    law = law.at(phi) if moves else law
    return RowMean(law.fitted_mean, law.fitted_slope, (0,), moves)


def linear_mean(fit: FittedModel) -> bool:
    """Whether the expected response of a row is its (first) linear predictor."""
    return fit.family.link.name == "identity" and fit.family.mean_is_inverse_link


def shape_slopes(fit: FittedModel, of: Callable[[FloatArray], FloatArray], m: int, wanted: bool) -> FloatArray:
    """Derivatives of ``of(phi)``, shape (m,), in the shape parameters on their working scales, shape (m, n_phi)."""
    phi = np.array(fit.optimum.phi, dtype=float)
    slopes = np.zeros((m, phi.size))
    for j, scale in enumerate(fit.family.shape_scales[: phi.size] if wanted else ()):
        for k, c in STENCIL:
            ends = []
            for sign in (1.0, -1.0):
                moved = phi.copy()
                moved[j] = scale.natural(scale.working(phi[j]) + sign * k * STEP)
                ends.append(of(moved))
            slopes[:, j] += c * (ends[0] - ends[1]) / STEP
    return slopes


# --- integrals over N(0, I) -----------------------------------------------------------------------------------


def integrated(f: Callable[[FloatArray], FloatArray], eta: FloatArray, root: FloatArray) -> FloatArray:
    """Integrals of f(eta + R z) phi(z), and of that times each element of z, by the trapezoidal rule.

    Parameters
    ----------
    f : callable
        r functions of K predictors at once: (K, cells) -> (r, cells).
    eta : float array, shape (K, m)
    root : float array, shape (m, K, d)
        R of each row; d at most 2.

    Returns
    -------
    float array, shape (r, 1 + d, m)
        Rows that agree in eta and R are computed once.
    """
    (K, m), d = eta.shape, root.shape[2]
    distinct, inverse = np.unique(np.vstack([eta, root.reshape(m, K * d).T]), axis=1, return_inverse=True)
    eta, root = distinct[:K], distinct[K:].T.reshape(distinct.shape[1], K, d)
    z, weights = _equidistant(np.sqrt(np.sum(root**2, axis=(1, 2)).max(initial=0.0)), d)
    moments = weights * np.vstack([np.ones((1, z.shape[1])), z])
    step, pieces = max(1, BLOCK // (K * weights.size)), []
    for first in range(0, eta.shape[1], step):
        part = slice(first, first + step)
        at = eta[:, part, None] + np.einsum("mkd,dn->kmn", root[part], z)
        values = np.asarray(f(at.reshape(K, -1)))
        pieces.append(values.reshape(len(values), -1, weights.size) @ moments.T)
    return np.concatenate(pieces, axis=1).transpose(0, 2, 1)[:, :, inverse.ravel()]


def _equidistant(widest: float, d: int) -> tuple[FloatArray, FloatArray]:
    """Nodes (d, nodes) inside a ball, and weights h^d phi(z), for linear forms of this largest spread."""
    h, reach = min(STEP_Z, SPREAD_STEP / max(widest, 1e-300)), REACH_Z + widest
    line = h * np.arange(-np.ceil(reach / h), np.ceil(reach / h) + 1.0)
    z = np.stack(np.meshgrid(*[line] * d, indexing="ij")).reshape(d, -1) if d else np.zeros((0, 1))
    square = np.sum(z**2, axis=0)
    inside = square <= (reach + h) ** 2
    return z[:, inside], ((h / np.sqrt(2.0 * np.pi)) ** d * np.exp(-0.5 * square))[inside]


def whole_line(link: Link) -> bool:
    """Whether every linear predictor gives a mean (a straight line does, even where the family wants it positive)."""
    return link.name == "identity" or bool(np.all(link.valid_eta(np.linspace(-50.0, 50.0, 5))))


def check_integrable(link: Link) -> None:
    """Refuse a link that does not give a mean for every linear predictor."""
    if not whole_line(link):
        raise NotAvailableError(
            f"random effects cannot be integrated out under the {link.name} link: eta + z'b leaves its domain with "
            "positive probability; take them at zero (re='zero', in predict re_form=False)",
            link=link.name,
        )


# --- the random part ------------------------------------------------------------------------------------------


def random_variance(fit: FittedModel, Z: Sequence[FloatArray]) -> FloatArray:
    """Variance z'Sigma z of the random part of each row, on the scale of the linear predictor."""
    return random_covariance(fit, Z)[:, 0, 0] if Z else np.zeros(1)


def random_covariance(fit: FittedModel, Z: Sequence[FloatArray], owners: Sequence[Any] = ()) -> FloatArray:
    """Covariance S of the random parts of each row in the K predictors, shape (m, K, K)."""
    total = np.zeros((len(Z[0]) if Z else 1, fit.problem.n_parts, fit.problem.n_parts))
    for label, values in zip(fit.varcorr, by_predictor(fit, Z, owners), strict=True):
        total += np.einsum("aij,jk,bik->iab", values, fit.varcorr[label].cov, values, optimize=True)
    return total


def by_predictor(fit: FittedModel, Z: Sequence[FloatArray], owners: Sequence[Any] = ()) -> list[FloatArray]:
    """Columns of each term as each predictor sees them, shape (K, m, k)."""
    if not owners:
        return [values[None] for values in Z]
    return [np.where(own[:, None, :], values, 0.0) for values, own in zip(Z, owners, strict=True)]


def _form_slopes(fit: FittedModel, Z: Sequence[FloatArray], owners: Sequence[Any]) -> FloatArray:
    """dw_k'w_l of each row and covariance parameter, shape (m, n_par, K, K)."""
    pieces = []
    for structure, par, values in zip(fit.structures, split_par(fit), by_predictor(fit, Z, owners), strict=True):
        T, dT = structure.factor(par), structure.d_factor(par)
        pieces.append(np.einsum("aij,pjk,bik->ipab", values, dT, values @ T, optimize=True))
    K = fit.problem.n_parts
    return np.concatenate(pieces, axis=1) if pieces else np.empty((1, 0, K, K))


def _roots(S: FloatArray) -> tuple[FloatArray, FloatArray]:
    """R with RR' = S, shape (m, K, d), and its left inverse (m, d, K); d directions have any spread."""
    values, vectors = np.linalg.eigh(S)
    spread = values > NO_SPREAD * values[:, -1:]
    d = int(spread.sum(axis=1).max(initial=0))
    kept = slice(S.shape[1] - d, S.shape[1])
    values, vectors, spread = values[:, kept], vectors[:, :, kept], spread[:, kept]
    if d > 2:
        raise NotAvailableError(
            "the mean over the random effects of three predictors is an integral of three dimensions, which is not "
            "computed; take the random effects at zero (re_form=False), or average fit.simulate(cond_sim=False)"
        )
    sd = np.sqrt(np.where(spread, values, 0.0))
    inverse = np.where(spread, 1.0 / np.where(spread, sd, 1.0), 0.0)
    return vectors * sd[:, None, :], (vectors * inverse[:, None, :]).transpose(0, 2, 1)


# --- uncertainty ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Parameters:
    """Covariance of (par, beta, working phi) for the delta method.

    Attributes
    ----------
    covariance : float array, shape (d, d)
        Zero for parameters held fixed.
    note : str
        What is held fixed, if anything.
    """

    covariance: FloatArray
    note: str


def parameter_covariance(fit: FittedModel) -> Parameters:
    """2 H^-1 over (par, beta, phi) where the fit has a usable Hessian; else that of beta alone, the rest held fixed."""
    n_par, p = len(fit.optimum.par), len(fit.optimum.beta)
    d = n_par + p + fit.optimum.phi.size
    joint = np.zeros((d, d))
    if fit.covariance.kind == "hessian":
        keep = np.flatnonzero(free_parameters(fit))
        try:
            inverse = 2.0 * invert_scaled(np.asarray(fit.optimum.hessian)[np.ix_(keep, keep)])
        except LinAlgError:  # fit.covariance has used it: it cannot fail here
            raise AssertionError("the Hessian was positive definite before") from None
        inside = keep < d
        joint[np.ix_(keep[inside], keep[inside])] = inverse[np.ix_(inside, inside)]
        return Parameters(joint, fit.covariance.note)
    joint[n_par : n_par + p, n_par : n_par + p] = whole_covariance(fit).matrix
    # The mean of a linear mixed model does not depend on the covariance parameters.
    held = "" if fit.is_lmm else "standard errors hold the covariance parameters at their estimates"
    return Parameters(joint, held)


def delta_se(jacobian: FloatArray, covariance: FloatArray) -> FloatArray:
    """Standard errors sqrt(diag(J C J'))."""
    return np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", jacobian, covariance, jacobian), 0.0))


def in_parameters(
    fit: FittedModel,
    factor: FloatArray,
    L: FloatArray,
    in_par: FloatArray | None = None,
    in_shape: FloatArray | None = None,
) -> FloatArray:
    """Derivatives in (par, beta, phi) of rows that depend on the first coefficients through ``factor`` times L beta."""
    L = np.pad(L, ((0, 0), (0, len(fit.optimum.beta) - L.shape[1])))
    in_par = np.zeros((len(L), len(fit.optimum.par))) if in_par is None else in_par
    in_shape = np.zeros((len(L), fit.optimum.phi.size)) if in_shape is None else in_shape
    return np.concatenate([in_par, factor[:, None] * L, in_shape], axis=1)


# --- means ----------------------------------------------------------------------------------------------------


def mean_at(fit: FittedModel, L: FloatArray, offset: FloatArray) -> tuple[FloatArray, FloatArray]:
    """:func:`conditional_mean` of rows with random effects zero, and its derivatives in (par, beta, phi)."""
    mean, eta = conditional_mean(fit), L @ fit.beta + offset
    in_shape = shape_slopes(fit, lambda phi: conditional_mean(fit, phi).value(eta), len(eta), mean.on_shape)
    return mean.value(eta), in_parameters(fit, mean.slope(eta), L, in_shape=in_shape)


def population_mean(
    fit: FittedModel,
    L: FloatArray,
    offset: FloatArray,
    Z: Sequence[FloatArray],
    owners: Sequence[Any] = (),
    type: str = "response",
) -> tuple[FloatArray, FloatArray]:
    """Mean of each row over the random effects, and its derivatives in (par, beta, phi).

    Parameters
    ----------
    L : float array, shape (m, p), or (K, m, p) in a model with K predictors
        Coefficients of beta.
    offset : float array, shape (m,) or (K, m)
    Z : sequence of float arrays, shape (m, k_t)
        Coefficients of the random effects of each term.
    owners : sequence of bool arrays, shape (K, k_t)
        Which of them belong to each predictor, where there are several (:class:`.Rows`).
    type : str
        What is averaged, see :data:`TYPES`: by default the expected response.

    Returns
    -------
    float arrays, shapes (m,) and (m, n_par + p + n_phi)

    Raises
    ------
    NotAvailableError
        A link whose domain the random effects leave; random effects that matter in three predictors.
    """
    if fit.problem.n_parts == 1 and linear_mean(fit):
        return mean_at(fit, L, offset)
    check_integrable(fit.family.link)
    X, offset = (L, offset) if L.ndim == 3 else (L[None], offset[None])
    eta, mean = X @ np.asarray(fit.optimum.beta) + offset, row_mean(fit, type)
    part = np.isin(np.arange(len(X)), mean.parts)
    S = np.where(part[:, None] & part, random_covariance(fit, Z, owners), 0.0)
    root, inverse = _roots(np.broadcast_to(S, (eta.shape[1], *S.shape[1:])))

    def rows(at: FloatArray) -> FloatArray:
        one = at if len(at) > 1 else at[0]
        return np.vstack([mean.value(one), mean.slope(one)])

    def again(phi: FloatArray) -> FloatArray:
        moved = row_mean(fit, type, phi).value
        return integrated(lambda at: moved(at if len(at) > 1 else at[0])[None], eta, root)[0, 0]

    found = integrated(rows, eta, root)
    in_form = np.einsum("kji,ijl->ikl", found[1:, 1:], inverse)
    in_par = np.einsum("ipkl,ikl->ip", _form_slopes(fit, Z, owners), in_form)
    in_beta = np.einsum("ki,kip->ip", found[1:, 0], X)
    in_shape = shape_slopes(fit, again, eta.shape[1], mean.on_shape)
    return found[0, 0], np.concatenate([in_par, in_beta, in_shape], axis=1)


def population_rows(fit: FittedModel, newdata: Any = None, offset: Any = None) -> Rows:
    """Rows of the fit, or of new data whose groups do not matter (and need not be there)."""
    if newdata is None:
        return own_rows(fit.design)
    design, (table, scope) = fit.design, evaluate_new(fit.frame, newdata)
    made = {
        part: (own.fixed_matrix(newdata), own.offset_values(newdata, offset if part == MAIN else None))
        for part, own in part_designs(design).items()
    }
    Z = tuple(term.matrix.build(scope.column, len(table)) for term in design.terms)
    named = [(own.names, made[part][0]) for part, own in part_designs(design).items()]
    named += [(("the offset",), total[:, None]) for _, total in made.values()]
    for columns, values in [*named, *((term.columns, z) for term, z in zip(design.terms, Z, strict=True))]:
        refuse_infinite(columns, values, table.index)
    nobody = tuple(np.full(len(table), -1) for _ in Z)
    if isinstance(design, CoupledDesign):
        return coupled_rows(design, table.index, made, Z, nobody)
    return Rows(table.index, *made[MAIN], Z, nobody)
