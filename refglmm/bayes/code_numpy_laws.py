r"""The log density of every built-in family, as a few lines of NumPy.

Place in the reading order: after ``code_outline``; ``code_numpy`` puts them into a program. A law is the body of

    def log_density(y, eta, a, <the family's parameters>)

with arrays ``y``, ``eta`` and ``a`` (weights), and the parameters as people know them: sigma, not its square. The lines
are the textbook formulas of the families' modules, in functions of scipy where there are any; what the kernels do
against cancellation and overflow is left out. So they are a second opinion, for arguments of moderate size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Law = Callable[[Any], list[str]]

#: The inverse link.
MEAN = {
    "identity": "mu = eta",
    "log": "mu = np.exp(eta)",
    "inverse": "mu = 1 / eta",
    "sqrt": "mu = eta**2",
    "1/mu^2": "mu = 1 / np.sqrt(eta)",
    "logit": "mu = special.expit(eta)",
    "probit": "mu = special.ndtr(eta)",
    "cloglog": "mu = -np.expm1(-np.exp(eta))",
    "cauchit": "mu = stats.cauchy.cdf(eta)",
}
#: Logarithms of a probability and of its complement.
LOG_P = {
    "logit": "special.log_expit(eta)",
    "probit": "special.log_ndtr(eta)",
    "cloglog": "np.log(-np.expm1(-np.exp(eta)))",
    "cauchit": "stats.cauchy.logcdf(eta)",
    "log": "eta",
}
LOG_Q = {
    "logit": "special.log_expit(-eta)",
    "probit": "special.log_ndtr(-eta)",
    "cloglog": "-np.exp(eta)",
    "cauchit": "stats.cauchy.logsf(eta)",
    "log": "np.log(-np.expm1(eta))",
}
#: Distribution function of the latent variable of ordinal models.
LATENT_CDF = {
    "logit": "special.expit",
    "probit": "special.ndtr",
    "cloglog": "stats.gumbel_l.cdf",
    "cauchit": "stats.cauchy.cdf",
}


def _mean(*lines: str) -> Law:
    """A law in terms of the mean."""
    return lambda family: [MEAN[family.link.name], *lines]


def _successes(*lines: str) -> Law:
    """A law of k successes among a trials, in terms of log p and log q."""
    return lambda family: [
        "k = a * y  # successes among a trials",
        f"log_p, log_q = {LOG_P[family.link.name]}, {LOG_Q[family.link.name]}",
        "choose = special.gammaln(a + 1) - special.gammaln(k + 1) - special.gammaln(a - k + 1)",
        *lines,
    ]


def _truncated(*lines: str) -> Law:
    """A law of counts without zeros; the lines define ``whole``, the log density with zeros."""
    return _mean(*lines, "return a * (whole(y) - np.log(-np.expm1(whole(0 * y))))  # given that y > 0")


_BINOMIAL = _successes("return choose + k * log_p + (a - k) * log_q")
_BETA_BINOMIAL = _successes(
    "p, q = phi * np.exp(log_p), phi * np.exp(log_q)",
    "return choose + special.betaln(k + p, a - k + q) - special.betaln(p, q)",
)
_INVERSE_GAUSSIAN = _mean(
    "k = a * shape",
    "return 0.5 * np.log(k / (2 * np.pi * y**3)) - k * (y - mu) ** 2 / (2 * mu**2 * y)",
)
_LOGNORMAL = _mean(
    "v = np.log(1 + (sigma / mu) ** 2)  # variance of log y",
    "return a * (stats.norm.logpdf(np.log(y), np.log(mu) - v / 2, np.sqrt(v)) - np.log(y))",
)

# -- counts: "whole" is the log density of weight one, so that truncation can ask it about zero -------------------

_NB2 = ["whole = lambda y: stats.nbinom.logpmf(y, phi, phi / (phi + mu))"]
_NB1 = ["whole = lambda y: stats.nbinom.logpmf(y, mu / phi, 1 / (1 + phi))"]
_POISSON = ["whole = lambda y: stats.poisson.logpmf(y, mu)"]
_GENPOIS = [
    "theta, spread = mu / np.sqrt(phi), 1 - 1 / np.sqrt(phi)",
    "def whole(y):",
    "    t = theta + spread * y",
    "    return np.log(theta) + (y - 1) * np.log(t) - t - special.gammaln(y + 1)",
]
_COMPOIS = [
    "j = np.arange(500 + 20 * np.ceil(mu.max()) * max(1, phi))",
    "low, high = np.full(mu.shape, -100.0), np.full(mu.shape, 100.0)  # of the log rate, found by bisection",
    "for _ in range(80):",
    "    rate = (low + high) / 2",
    "    terms = special.log_softmax(rate[:, None] * j - special.gammaln(j + 1) / phi, axis=1)",
    "    below = np.exp(terms) @ j < mu",
    "    low, high = np.where(below, rate, low), np.where(below, high, rate)",
    "rate = (low + high) / 2",
    "total = special.logsumexp(rate[:, None] * j - special.gammaln(j + 1) / phi, axis=1)",
    "whole = lambda y: rate * y - special.gammaln(y + 1) / phi - total",
]
_WHOLE = "return a * whole(y)"

_BELL = _mean(
    "theta = special.lambertw(mu).real",
    "j = np.arange(100 + y.max())[:, None]  # Dobinski's sum for the Bell numbers",
    "log_bell = special.logsumexp(special.xlogy(y, j) - special.gammaln(j + 1), axis=0) - 1",
    "return a * (y * np.log(theta) + 1 - np.exp(theta) + log_bell - special.gammaln(y + 1))",
)
_TWEEDIE = _mean(
    "rate = mu ** (2 - p) / ((2 - p) * phi)  # of a Poisson number of gamma variables",
    "shape, scale = (2 - p) / (p - 1), phi * (p - 1) * mu ** (p - 1)",
    "middle = np.max(y ** (2 - p) / ((2 - p) * phi))",
    "j = np.arange(1, 100 + 3 * middle)[:, None]",
    "size = np.where(y > 0, y, 1.0)",
    "sums = stats.poisson.logpmf(j, rate) + stats.gamma.logpdf(size, j * shape, scale=scale)",
    "return a * np.where(y > 0, special.logsumexp(sums, axis=0), -rate)",
)

# -- between zero and one ------------------------------------------------------------------------------------------


def _beta(family: Any) -> list[str]:
    link = family.link.name
    return [
        f"p, q = np.exp({LOG_P[link]}), np.exp({LOG_Q[link]})",
        "return a * stats.beta.logpdf(y, p * phi, q * phi)",
    ]


def _ordered_beta(family: Any) -> list[str]:
    return [
        "mu, inner = special.expit(eta), np.where((y > 0) & (y < 1), y, 0.5)  # zeros and ones are looked at apart",
        "above, one = special.expit(eta - lower), special.expit(eta - lower - width)",
        "between = np.log(above - one) + stats.beta.logpdf(inner, mu * phi, (1 - mu) * phi)",
        "return a * np.where(y <= 0, np.log(1 - above), np.where(y >= 1, np.log(one), between))",
    ]


def _unit_lindley(family: Any) -> list[str]:
    return [
        "theta = np.exp(-eta)  # (1 - mu) / mu",
        "return a * (2 * np.log(theta) - np.log(1 + theta) - 3 * np.log(1 - y) - theta * y / (1 - y))",
    ]


# -- ordered categories --------------------------------------------------------------------------------------------


def _cumulative(family: Any) -> list[str]:
    cdf = LATENT_CDF[family.link.name]
    return [
        "k, edges = y.astype(int), np.concatenate([[-np.inf], thresholds, [np.inf]])",
        f"return a * np.log({cdf}(edges[k + 1] - eta) - {cdf}(edges[k] - eta))",
    ]


def _sequential(family: Any) -> list[str]:
    cdf = LATENT_CDF[family.link.name]
    if family.direction == "forward":
        stop, steps = f"{cdf}(thresholds - eta[:, None])", "1 - stop"
        comment = "P(y = j | y >= j)"
        passed, ends = "j < y[:, None]", "j == y[:, None]"
    else:
        stop, steps = f"{cdf}(eta[:, None] - thresholds)", "1 - stop"
        comment = "P(y = j + 1 | y <= j + 1)"
        passed, ends = "j >= y[:, None]", "j == y[:, None] - 1"
    return [
        f"j, stop = np.arange(len(thresholds)), {stop}  # {comment}",
        f"return a * np.sum(np.where({passed}, np.log({steps}), np.where({ends}, np.log(stop), 0)), axis=1)",
    ]


def _adjacent(family: Any) -> list[str]:
    return [
        "steps = eta[:, None] - thresholds  # log odds of each category against the one before",
        "logits = np.column_stack([np.zeros(len(eta)), np.cumsum(steps, axis=1)])",
        "return a * special.log_softmax(logits, axis=1)[np.arange(len(eta)), y.astype(int)]",
    ]


LAWS: dict[str, Law] = {
    "binomial": _BINOMIAL,
    "bernoulli": _BINOMIAL,
    "betabinomial": _BETA_BINOMIAL,
    "gaussian": _mean("return stats.norm.logpdf(y, mu, sigma / np.sqrt(a))"),
    "gamma": _mean("return stats.gamma.logpdf(y, a * shape, scale=mu / (a * shape))"),
    "inverse_gaussian": _INVERSE_GAUSSIAN,
    "student_t": _mean("return a * stats.t.logpdf(y, nu, mu, sigma)"),
    "lognormal": _LOGNORMAL,
    "lognormal_log": lambda family: ["return a * (stats.norm.logpdf(np.log(y), eta, sigma) - np.log(y))"],
    "censored_normal": lambda family: [
        "seen = stats.norm.logpdf(y, eta, sigma)",
        "low, high = stats.norm.logcdf(lower, eta, sigma), stats.norm.logsf(upper, eta, sigma)",
        "return a * np.where(y <= lower, low, np.where(y >= upper, high, seen))",
    ],
    "beta": _beta,
    "ordbeta": _ordered_beta,
    "unit_lindley": _unit_lindley,
    "poisson": _mean(*_POISSON, _WHOLE),
    "negative_binomial": _mean(*_NB2, _WHOLE),
    "nbinom1": _mean(*_NB1, _WHOLE),
    "genpois": _mean(*_GENPOIS, _WHOLE),
    "compois": _mean(*_COMPOIS, _WHOLE),
    "bell": _BELL,
    "tweedie": _TWEEDIE,
    "truncated_poisson": _truncated(*_POISSON),
    "truncated_nbinom2": _truncated(*_NB2),
    "truncated_nbinom1": _truncated(*_NB1),
    "truncated_genpois": _truncated(*_GENPOIS),
    "truncated_compois": _truncated(*_COMPOIS),
    "ordered": _cumulative,
    "sequential": _sequential,
    "adjacent": _adjacent,
}
