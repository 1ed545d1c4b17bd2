r"""Penalties on the fixed effects: independent Student t (ridge for many degrees of freedom), and one wrapper for them.

Place in the reading order: after ``agq``; the wrapper stands around any objective of (par, beta, working phi).

Each penalised coefficient has a Student t kernel of its own with location mu, scale sigma and df degrees of freedom.
On the scale of the deviance, with :math:`r = (\beta - \mu)/\sigma`,

.. math:: P(\beta) = \sum_j (d_j + 1) \log(1 + r_j^2/d_j),\qquad
    P'_j = \frac{2 (d_j + 1) r_j}{\sigma_j (d_j + r_j^2)},\qquad
    P''_{jj} = \frac{2 (d_j + 1)(d_j - r_j^2)}{\sigma_j^2 (d_j + r_j^2)^2}

For large d this is the ridge sum r^2. The kernels are not normalised, so that :math:`P(\mu) = 0`. Intercepts, the zero
part and the dispersion part are free unless they are asked for.

``"mvt"`` is the penalty that GLMMadaptive computes: *one* multivariate t kernel over all p coefficients, intercept
included, :math:`P = (d + p)\log(1 + r'r/d)`. It exists to check numbers, not to be used.

The penalty never enters a log-likelihood: a fit's ``loglik`` is the likelihood at the penalised estimates, and
``penalized_loglik`` is :math:`\log L - P/2`, which they maximise.

Source: Gelman, Jakulin, Pittau and Su (2008) for t priors on coefficients; the derivatives are worked out here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refglmm.errors import ArgumentError

FloatArray = NDArray[np.float64]

#: What penalized=True means; the peer's names for the same settings.
DEFAULTS = {"mu": 0.0, "scale": 1.0, "df": 3.0}
ALIASES = {"pen_mu": "mu", "pen_sigma": "scale", "pen_df": "df"}
#: Beginnings of the names of coefficients that belong to another part than the mean.
PARTS = {"zi": "zi~", "dispersion": "dispersion~"}
INTERCEPT = "(Intercept)"


@dataclass(frozen=True, eq=False)
class Penalty:
    """The penalty of one model's coefficients.

    Attributes
    ----------
    mu, scale, df : float array, shape (p,)
        Location, scale and degrees of freedom; a free coefficient has scale inf.
    joint : bool
        One multivariate t kernel (``df[0]`` degrees of freedom) instead of independent ones.
    """

    mu: FloatArray
    scale: FloatArray
    df: FloatArray
    joint: bool = False

    @property
    def free(self) -> NDArray[np.bool_]:
        """Which coefficients are not penalised."""
        return np.isinf(self.scale)

    def value(self, beta: FloatArray) -> float:
        """P(beta) on the scale of the deviance."""
        r = (beta - self.mu) / self.scale
        if self.joint:
            return float((self.df[0] + beta.size) * np.log1p(r @ r / self.df[0]))
        return float(np.sum((self.df + 1.0) * np.log1p(r * r / self.df)))

    def gradient(self, beta: FloatArray) -> FloatArray:
        """dP/dbeta, shape (p,)."""
        r = (beta - self.mu) / self.scale
        if self.joint:
            return 2.0 * (self.df[0] + beta.size) * r / (self.scale * (self.df[0] + r @ r))
        return 2.0 * (self.df + 1.0) * r / (self.scale * (self.df + r * r))

    def hessian(self, beta: FloatArray) -> FloatArray:
        """d2P/dbeta dbeta', shape (p, p); negative in the tails of a t kernel."""
        r = (beta - self.mu) / self.scale
        if self.joint:
            room, slope = self.df[0] + r @ r, r / self.scale
            return (
                2.0
                * (self.df[0] + beta.size)
                * (np.diag(self.scale**-2.0) / room - 2.0 * np.outer(slope, slope) / room**2)
            )
        return np.diag(2.0 * (self.df + 1.0) * (self.df - r * r) / (self.scale * (self.df + r * r)) ** 2)

    def information(self) -> FloatArray:
        """Curvature at beta = mu, the largest there is: the metric of a search, shape (p, p)."""
        return self.hessian(self.mu)

    def describe(self, names: Sequence[str]) -> str:
        """One line for summaries."""
        held = [name for name, free in zip(names, self.free, strict=True) if not free]
        if self.joint:
            return f"one multivariate t kernel over all {len(names)} fixed effects (df = {self.df[0]:g})"
        kinds = {(m, s, d) for m, s, d in zip(self.mu, self.scale, self.df, strict=True) if np.isfinite(s)}
        if len(kinds) == 1:
            m, s, d = kinds.pop()
            return f"Student t penalty (mu = {m:g}, scale = {s:g}, df = {d:g}) on {', '.join(held)}"
        pieces = [
            f"{name} (mu = {m:g}, scale = {s:g}, df = {d:g})"
            for name, m, s, d in zip(names, self.mu, self.scale, self.df, strict=True)
            if np.isfinite(s)
        ]
        return f"Student t penalty on {', '.join(pieces)}"


def make_penalty(given: Any, names: Sequence[str]) -> Penalty | None:
    """The penalty that ``penalized=`` asks for; None for False, None, and where no coefficient is penalised.

    Parameters
    ----------
    given : bool, "mvt" or mapping
        True: mu 0, scale 1, df 3 for every coefficient of the mean but the intercept. A mapping may hold ``mu``,
        ``scale``, ``df`` (a number, or a mapping from names of coefficients to numbers, the others as by default),
        ``intercept`` (True: penalise it too), ``zi`` and ``dispersion`` (True, or a mapping of mu, scale, df, for the
        coefficients of that part), and ``kind="mvt"``. GLMMadaptive's pen_mu, pen_sigma, pen_df are understood.
    names : sequence of str
        Names of the coefficients; those of other parts begin with "zi~" or "dispersion~".

    Raises
    ------
    ArgumentError
        Naming the setting or the coefficient that means nothing.
    """
    if given is None or given is False:
        return None
    if not isinstance(given, Mapping) and given is not True and given != "mvt":
        raise ArgumentError(f"penalized must be True, False, 'mvt' or a mapping of mu, scale, df, not {given!r}")
    settings: dict[str, Any] = {}
    if isinstance(given, Mapping):
        settings = {ALIASES.get(str(name), str(name)): value for name, value in given.items()}
    kind = settings.pop("kind", "mvt" if given == "mvt" else "independent")
    if kind not in ("independent", "mvt"):
        raise ArgumentError(f"penalized kind must be 'independent' or 'mvt', not {kind!r}")
    known = (*DEFAULTS, "intercept", *PARTS)
    if unknown := [name for name in settings if name not in known]:
        raise ArgumentError(f"penalized has no setting {unknown[0]!r}; known are {', '.join(known)}, kind")
    penalty = _joint(settings, names) if kind == "mvt" else _independent(settings, names)
    return None if np.all(penalty.free) else penalty


def _joint(settings: Mapping[str, Any], names: Sequence[str]) -> Penalty:
    """One multivariate t kernel: one number for each setting."""
    if extra := [name for name in settings if name not in DEFAULTS or isinstance(settings[name], Mapping)]:
        raise ArgumentError(f"penalized kind 'mvt' takes one number for each of mu, scale, df; {extra[0]!r} is not one")
    mu, scale, df = (_values(key, settings.get(key, default), names, default) for key, default in DEFAULTS.items())
    return Penalty(mu, scale, df, joint=True)


def _independent(settings: Mapping[str, Any], names: Sequence[str]) -> Penalty:
    """Student t kernels of their own."""
    part_of = [next((part for part, mark in PARTS.items() if name.startswith(mark)), "main") for name in names]
    columns = {key: np.full(len(names), default) for key, default in DEFAULTS.items()}
    penalised = np.zeros(len(names), dtype=bool)
    for part, wanted in (("main", {k: v for k, v in settings.items() if k in DEFAULTS}), *_other_parts(settings)):
        here = np.array([p == part for p in part_of], dtype=bool)
        if part != "main" and not here.any():
            raise ArgumentError(f"penalized[{part!r}] is given, but the model has no {part} part")
        named = [name for name, is_here in zip(names, here, strict=True) if is_here]
        for key, default in DEFAULTS.items():
            columns[key][here] = _values(key, wanted.get(key, default), named, default)
        penalised |= here
    if not settings.get("intercept", False):
        penalised &= [not name.endswith(INTERCEPT) for name in names]
    columns["scale"] = np.where(penalised, columns["scale"], np.inf)
    return Penalty(columns["mu"], columns["scale"], columns["df"])


def _other_parts(settings: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Parts beside the mean that are to be penalised, with their settings."""
    found: list[tuple[str, Mapping[str, Any]]] = []
    for part in PARTS:
        wanted = settings.get(part, False)
        if wanted is False or wanted is None:
            continue
        if wanted is not True and not (isinstance(wanted, Mapping) and wanted.keys() <= DEFAULTS.keys()):
            raise ArgumentError(f"penalized[{part!r}] must be True or a mapping of mu, scale, df, not {wanted!r}")
        found.append((part, {} if wanted is True else wanted))
    return found


def _values(key: str, given: Any, names: Sequence[str], default: float) -> FloatArray:
    """One number for each coefficient from one number, or from a mapping of names."""
    chosen = dict.fromkeys(names, given) if not isinstance(given, Mapping) else dict(given)
    if unknown := [name for name in chosen if name not in names]:
        raise ArgumentError(
            f"penalized[{key!r}] names {unknown[0]!r}, which is no coefficient; known are {', '.join(names)}"
        )
    try:
        values = np.array([float(chosen.get(name, default)) for name in names])
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"penalized[{key!r}] must hold numbers, not {given!r}") from error
    bad = ~np.isfinite(values) if key == "mu" else ~(values > 0)
    if key == "df":
        bad |= np.isinf(values)
    if bad.any():
        j = int(np.argmax(bad))
        rule = "finite" if key == "mu" else "positive" if key == "scale" else "positive and finite (200 is a ridge)"
        raise ArgumentError(f"penalized[{key!r}] must be {rule}; for {names[j]} it is {values[j]:g}")
    return values


class PenalizedObjective:
    """D(psi) + P(beta) for any objective D of psi = (par, beta, working phi); everything else is the objective's."""

    def __init__(self, objective: Any, penalty: Penalty) -> None:
        self.objective, self.penalty = objective, penalty
        n_par = objective.problem.n_par
        self._beta = slice(n_par, n_par + objective.problem.p)

    def __getattr__(self, name: str) -> Any:
        """What the penalty does not change: the problem, names, modes, cross curvature, last error."""
        return getattr(self.objective, name)

    def value(self, psi: FloatArray) -> float:
        """D + P."""
        return self.objective.value(psi) + self.penalty.value(psi[self._beta])

    def value_and_gradient(self, psi: FloatArray) -> tuple[float, FloatArray]:
        """D + P and its gradient."""
        value, gradient = self.objective.value_and_gradient(psi)
        gradient = gradient.copy()
        gradient[self._beta] += self.penalty.gradient(psi[self._beta])
        return value + self.penalty.value(psi[self._beta]), gradient

    def exact_curvature(self, psi: FloatArray, basis: FloatArray) -> FloatArray:
        """B'CB: what the objective knows exactly of its Hessian, and all of the penalty's."""
        rows = basis[self._beta]
        return self.objective.exact_curvature(psi, basis) + rows.T @ self.penalty.hessian(psi[self._beta]) @ rows

    def fixed_root(self, psi: FloatArray) -> FloatArray:
        """RX with the penalty's information: upper triangular, R'R = RX'RX + P''(mu)/2."""
        rx = self.objective.fixed_root(psi)
        R = np.linalg.qr(np.vstack([rx, np.diag(np.sqrt(0.5 * np.diag(self.penalty.information())))]), mode="r")
        return np.where(np.diag(R) < 0.0, -1.0, 1.0)[:, None] * R


def penalized(objective: Any, penalty: Penalty | None) -> Any:
    """The objective with its penalty, if there is one."""
    return objective if penalty is None else PenalizedObjective(objective, penalty)
