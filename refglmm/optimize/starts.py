r"""Safe starting values: inside the link's domain, and on the scale of the data.

Place in the reading order: before ``two_stage``.

lme4 starts every standard deviation at 1 (spec 3.2). That is a fair guess on the logit or log scale and for
covariates of order one; for an identity or inverse link, or a covariate in the millions, it is outside anything
reachable. Exact mode therefore starts the standard deviation of a column at ``spread / rms(column)``, where spread
is 1 for scale-free links and half the standard deviation of g(y) about the starting linear predictor otherwise.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from refglmm.errors import DataError
from refglmm.families.coupled import DISPERSION, ZI
from refglmm.families.kernel import VALUE
from refglmm.families.links import EPS
from refglmm.likelihood.pirls import SCALE_FREE
from refglmm.likelihood.problem import CoupledProblem, Problem
from refglmm.likelihood.profiled import ProfiledLinear

FloatArray = NDArray[np.float64]

#: Diagonal elements of T below this count as this where T has to be inverted.
TINY = 1e-8
#: Natural size of a change of the logarithm of a range, rate or smoothness.
LOG_CHANGE = 0.5
#: Smallest and largest share of additional zeros to start from.
SHARES = (0.05, 0.95)
#: Size of the logit of a zero part beyond which a start is pulled in.
CERTAIN_OF = 3.0
#: Smallest eigenvalue, relative to its blocks, of a model Hessian that is used with what stands between them.
WELL_POSED = 0.05


def start_fixed(problem: Problem) -> tuple[FloatArray, FloatArray]:
    """Beta and eta to start from: the best of least squares on g(mu0), a constant, and zero.

    Raises
    ------
    DataError
        If none of them gives every row a mean inside the family's domain.
    """
    family, X = problem.family, problem.X
    mu = family.initial_mu(problem.y, problem.weights)
    with np.errstate(all="ignore"):
        target = family.link.link(mu) - problem.offset
        level = family.link.link(np.full(problem.n, np.average(mu, weights=problem.weights))) - problem.offset
    wanted = [values for values in (target, level) if np.all(np.isfinite(values))]
    candidates = [np.zeros(problem.p)]
    if problem.p and wanted:
        candidates += list(np.linalg.lstsq(X, np.column_stack(wanted), rcond=None)[0].T)
    out = np.empty((6, problem.n))
    best: tuple[float, FloatArray, FloatArray] | None = None
    for beta in candidates:
        eta = problem.offset + X @ beta
        with np.errstate(all="ignore"):
            phi = family.complete(start_shape(problem, eta))
            value = family.observe(problem.y, eta, problem.weights, problem.base, phi, VALUE, out)
        if np.isfinite(value) and (best is None or value > best[0]):
            best = (value, beta, eta)
    if best is None:
        raise DataError(
            f"cannot find valid starting values: the {family.link.name} link of the {family.name} family admits none "
            "of the simple starts for every row; give `start={'beta': ...}` or choose another link"
        )
    return best[1], best[2]


def start_beta(problem: Problem, start: dict[str, FloatArray]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Beta, eta (of the first of several predictors) and shapes: beta as given, closest to a given eta, or safe."""
    if isinstance(problem, CoupledProblem):
        beta, eta, shape = start_coupled(problem)
        return start.get("beta", beta), eta, shape
    if "beta" in start:
        beta, eta = start["beta"], problem.offset + problem.X @ start["beta"]
    elif "eta" in start:
        fitted = np.linalg.lstsq(problem.X, start["eta"] - problem.offset, rcond=None)[0]
        beta = np.asarray(fitted, dtype=np.float64)
        eta = problem.offset + problem.X @ beta
    else:
        beta, eta = start_fixed(problem)
    return beta, eta, start_shape(problem, eta)


def start_coupled(problem: CoupledProblem) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Beta of all predictors, eta of the first, and the shape parameters, to start a model with several from.

    The first predictor starts where it would alone, without the zeros that its law cannot have; the zero part at the
    logit of the share of zeros beyond the law's own; the dispersion at the logarithm of its moment estimate.
    """
    family, beta = problem.family, np.zeros(problem.p)
    main = _main_problem(problem)
    beta[problem.beta_parts[0]], _ = start_fixed(main)
    eta = problem.offset[0] + problem.X[:, problem.beta_parts[0]] @ beta[problem.beta_parts[0]]
    phi = start_shape(main, main.offset + main.X @ beta[problem.beta_parts[0]])
    levels = {ZI: _start_share(problem, eta, phi), DISPERSION: float(np.log(phi[0])) if phi.size else 0.0}
    for name, part, offset in list(zip(family.part_names, problem.beta_parts, problem.offset, strict=True))[1:]:
        beta[part] = np.linalg.lstsq(problem.X[:, part], levels[name] - offset, rcond=None)[0]
    return beta, eta, phi[1:] if family.dispersion else phi


def pulled_in(problem: Problem, beta: FloatArray) -> FloatArray:
    """The same beta unless a zero part says that it is certain of rows: then one that leaves room for doubt.

    The likelihood is flat where a probability is 0 or 1, so an optimiser that starts there stays.
    """
    if not isinstance(problem, CoupledProblem) or not problem.family.zi:
        return beta
    X, part, offset = problem.X[:, problem.beta_parts[1]], problem.beta_parts[1], problem.offset[1]
    zeta = offset + X @ beta[part]
    if np.max(np.abs(zeta), initial=0.0) <= CERTAIN_OF:
        return beta
    pulled = beta.copy()
    pulled[part] = np.linalg.lstsq(X, np.clip(zeta, -CERTAIN_OF, CERTAIN_OF) - offset, rcond=None)[0]
    return pulled


def _main_problem(problem: CoupledProblem) -> Problem:
    """The first predictor with the base family as a model of its own; of a hurdle the rows that are not zero."""
    family, part = problem.family, problem.beta_parts[0]
    rows = np.ones(problem.n, dtype=bool) if family.inflated or not family.zi else problem.y != 0.0
    y, a = problem.y[rows], problem.weights[rows]
    return Problem(
        y=y,
        weights=a,
        offset=problem.offset[0, rows],
        base=family.base.base_measure(y, a),
        X=np.ascontiguousarray(problem.X[rows, part]),
        layout=problem.layout,
        structures=problem.structures,
        family=family.base,
        beta_names=problem.beta_names[part],
        par_names=problem.par_names,
        phi_names=family.base.shape_names,
    )


def _start_share(problem: CoupledProblem, eta: FloatArray, phi: FloatArray) -> float:
    """Logit of the share of zeros beyond those that the law has at eta, kept within (0.05, 0.95)."""
    family, a = problem.family, problem.weights
    zeros, own = float(np.average(problem.y == 0.0, weights=a)), 0.0
    if family.inflated:
        out, nothing = np.zeros((6, problem.n)), np.zeros(problem.n)
        trials = np.ones(problem.n) if family.weights_repeat else a
        base = family.base.base_measure(nothing, trials)
        with np.errstate(all="ignore"):
            family.base.observe(nothing, eta, trials, base, phi, VALUE, out)
            own = float(np.average(np.nan_to_num(np.exp(out[0])), weights=a))
    share = np.clip((zeros - own) / max(1.0 - own, EPS), *SHARES)
    return float(np.log(share / (1.0 - share)))


def start_shape(problem: Problem, eta: FloatArray) -> FloatArray:
    """Shape parameters by moments at eta; the known ones where none is estimated."""
    family = problem.family
    if not problem.n_phi:
        return family.fixed_shape
    return np.asarray(family.initial_shape(problem.y, family.link.inverse(eta), problem.weights), dtype=float)


def start_par(problem: Problem, eta: FloatArray) -> FloatArray:
    """Covariance parameters: standard deviations on the scale of the data, correlations at zero."""
    spread = 1.0
    if problem.family.link.name not in SCALE_FREE:
        with np.errstate(all="ignore"):
            target = problem.family.link.link(problem.y)
        usable = np.isfinite(target)
        residual = target[usable] - eta[usable]
        spread = 0.5 * float(np.std(residual)) if residual.size else 1.0
        spread = spread if spread > 1e-6 * float(np.max(np.abs(eta))) else 1.0
    return scaled_start(problem, spread)


def scaled_start(problem: Problem, spread: float) -> FloatArray:
    """Default start with each standard deviation at spread / rms(column)."""
    return np.where(problem.par_lower == 0.0, spread * problem.natural_unit, problem.par_start)


def par_scale(problem: Problem, par: FloatArray, fallback: FloatArray) -> FloatArray:
    """Natural size of a change of each covariance parameter, for first steps and differences.

    A change of this size moves no row i of T by more than its own length, the standard deviation of column i;
    ``fallback`` (the start) stands in for rows of length zero. Of a logarithm it is ``LOG_CHANGE``: far from where it
    matters T does not feel it.
    """
    scale = np.empty(par.size)
    for structure, part in zip(problem.structures, problem.par_slices, strict=True):
        sd, least = row_lengths(structure.factor(par[part])), row_lengths(structure.factor(fallback[part]))
        sd = np.where(sd > 1e-3 * least, sd, least)
        change = row_lengths(structure.d_factor(fallback[part]))
        with np.errstate(divide="ignore"):
            scale[part] = np.where(change > 0, sd / change, np.inf).min(axis=1)
    return np.where(problem.par_logarithms, LOG_CHANGE, scale)


def row_lengths(T: FloatArray) -> FloatArray:
    """Lengths of the rows of one matrix or several: standard deviations of the columns of a term, if T is a factor."""
    return np.sqrt((T * T).sum(axis=-1))


def model_hessian(problem: Problem, factor: Any, par: FloatArray, scale: FloatArray) -> FloatArray:
    r"""Model Hessian of D in (par, log phi) from the factor of H at par.

    In the Gaussian approximation with :math:`V = W^{-1} + MM'`, :math:`E[D''_{kl}] = tr(V^{-1} dV_k V^{-1} dV_l)`.
    With :math:`K = I - H^{-1}` (how little the random effects are shrunk), its block for levels j and j', and
    :math:`F_k = T^{-1} dT_k + (T^{-1} dT_k)'`, this is :math:`\sum_{jj'} tr(F_k K_{jj'} F_l K_{j'j})`. Of the pairs of
    levels those are taken that occur in the data: all there are for one term, most of the sum for several.
    """
    inverse, blocks = factor.selected_inverse(), problem.layout.level_blocks
    F = [_relative_change(s, par[part]) for s, part in zip(problem.structures, problem.par_slices, strict=True)]
    own, crossed = np.diag(float(problem.n) / scale**2), np.zeros((scale.size, scale.size))
    for t, part in enumerate(problem.par_slices):
        for s, other in enumerate(problem.par_slices[: t + 1]):
            K = inverse[blocks[t][s]]
            K = np.eye(K.shape[1]) - K if s == t else -K
            pairs, k_t, k_s = K.shape
            flat = K.reshape(pairs, k_t * k_s)
            moments = (flat.T @ flat).reshape(k_t, k_s, k_t, k_s)  # sum over pairs of levels of K_bc K_ad
            middle = moments.transpose(2, 0, 1, 3).reshape(k_t * k_t, k_s * k_s)
            information = F[t] @ middle @ F[s].T
            target = own if s == t else crossed
            target[part, other], target[other, part] = information, information.T
    own += np.diag(np.maximum(1.0 / scale**2 - np.diag(own), 0.0))
    return with_cross_blocks(own, crossed)


def with_cross_blocks(blocks: FloatArray, crossed: FloatArray) -> FloatArray:
    """A model Hessian with what it says about pairs of blocks, where that leaves it well within positive definite."""
    if not np.all(np.isfinite(crossed)) or not crossed.any():
        return blocks
    try:
        root = np.linalg.inv(np.linalg.cholesky(blocks))
    except np.linalg.LinAlgError:  # singular up to rounding
        return blocks
    correlation = root @ crossed @ root.T
    return blocks + crossed if np.linalg.eigvalsh(correlation)[0] > WELL_POSED - 1.0 else blocks


def _relative_change(structure: Any, par: FloatArray) -> FloatArray:
    """F_k = T^-1 dT_k + (T^-1 dT_k)' of one term, shape (n_par, k * k)."""
    inside = structure.interior(par)
    T, dT = structure.factor(inside), structure.d_factor(inside)
    diagonal = T.diagonal()
    regular = T + np.diag(np.where(np.abs(diagonal) < TINY, TINY, 0.0))
    change = dT / regular if structure.k == 1 else np.linalg.solve(regular, dT)
    return (change + change.transpose(0, 2, 1)).reshape(len(dT), structure.k**2)


def fixed_point_step(objective: ProfiledLinear) -> FloatArray | None:
    r"""One step towards a linear mixed model's optimum from where its gradient was evaluated last.

    With :math:`\hat\sigma^2 = pwrss/\nu`, S the sum of :math:`uu'/\hat\sigma^2` over a term's levels, and A its
    expectation :math:`\sum[\Lambda'Z'PZ\Lambda]`, S = A at an interior optimum. The step

    .. math:: T \leftarrow T\,L_S L_A^{-1}/\sqrt{\rho},\qquad L_S L_S' = S,\; L_A L_A' = A,

    keeps Sigma positive definite; :math:`\rho` is the same ratio for the residuals. Where a structure has fewer
    parameters than T has entries, S and A are their diagonals. None where S or A is singular, or a structure cannot
    say which of its factors is close to a given matrix.

    Source: Harville (1977), section 6, for scalar terms.
    """
    problem, layout, ratio = objective.problem, objective.problem.layout, objective.degrees / objective.pwrss
    if not all(structure.projects for structure in problem.structures):
        return None
    factors, penalty, expected = [], 0.0, 0.0
    for structure, begin, k in zip(problem.structures, layout.T_start, layout.k, strict=True):
        T, trace, fit = (a[begin : begin + k * k].reshape(k, k) for a in (objective.T, objective.trace, objective.fit))
        A, S = T.T @ trace, ratio * (T.T @ fit)
        penalty, expected = penalty + np.trace(S), expected + np.trace(A)
        if structure.n_theta < k * (k + 1) // 2:
            A, S = np.diag(np.diag(A)), np.diag(np.diag(S))
        try:
            factors.append(T @ np.linalg.cholesky(S) @ np.linalg.inv(np.linalg.cholesky(A)))
        except np.linalg.LinAlgError:
            return None
    rho = (objective.degrees - penalty) / (objective.degrees - expected)
    if not rho > 0.0:
        return None
    new = [
        s.par_from_theta(T[s.theta_entries] / np.sqrt(rho)) for s, T in zip(problem.structures, factors, strict=True)
    ]
    return np.concatenate(new)


def information_model(objective: ProfiledLinear, par: FloatArray, scale: FloatArray) -> FloatArray:
    """Model Hessian of a linear mixed model: the average information, with a curvature of 1 per ``scale`` or more."""
    information = objective.average_information(par) * np.outer(scale, scale)
    if not np.all(np.isfinite(information)):
        return np.diag(1.0 / scale**2)
    values, vectors = np.linalg.eigh(information)
    return (vectors * np.maximum(values, 1.0)) @ vectors.T / np.outer(scale, scale)
