r"""The log density of the built-in families in Stan.

Place in the reading order: after ``code_outline``; ``code_stan`` puts them into a program. A law is the body of

    real log_density(y, real eta, real a, <the family's parameters>)

for one row, as in ``code_numpy_laws``; a law of successes has the integers ``k`` and ``n`` in place of y and a. The
Conway-Maxwell-Poisson by its mean, which has no closed form, is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

#: What the response is to Stan.
REAL, COUNT, SUCCESSES, CATEGORY = "real", "count", "successes", "category"

MEAN = {
    "identity": "eta",
    "log": "exp(eta)",
    "inverse": "inv(eta)",
    "sqrt": "square(eta)",
    "1/mu^2": "inv_sqrt(eta)",
    "logit": "inv_logit(eta)",
    "probit": "Phi(eta)",
    "cloglog": "inv_cloglog(eta)",
    "cauchit": "cauchy_cdf(eta | 0, 1)",
}
#: log F(x) and log(1 - F(x)) of the latent variable of each link, which are log p and log q at eta.
LOG_F = {
    "logit": "log_inv_logit({x})",
    "probit": "normal_lcdf({x} | 0, 1)",
    "cloglog": "log1m_exp(-exp({x}))",
    "cauchit": "cauchy_lcdf({x} | 0, 1)",
    "log": "{x}",
}
LOG_S = {
    "logit": "log1m_inv_logit({x})",
    "probit": "normal_lccdf({x} | 0, 1)",
    "cloglog": "-exp({x})",
    "cauchit": "cauchy_lccdf({x} | 0, 1)",
    "log": "log1m_exp({x})",
}
#: Statements for all rows at once, where Stan has them and no weights are in the way.
VECTORS = {
    ("gaussian", "identity"): "normal_lpdf(y | eta, sigma)",
    ("student_t", "identity"): "student_t_lpdf(y | nu, eta, sigma)",
    ("lognormal_log", "log"): "lognormal_lpdf(y | eta, sigma)",
    ("poisson", "log"): "poisson_log_lpmf(y | eta)",
    ("negative_binomial", "log"): "neg_binomial_2_log_lpmf(y | eta, phi)",
    ("binomial", "logit"): "binomial_logit_lpmf(successes | trials, eta)",
    ("bernoulli", "logit"): "binomial_logit_lpmf(successes | trials, eta)",
    ("ordered", "logit"): "ordered_logistic_lpmf(y | eta, thresholds)",
}


@dataclass(frozen=True)
class Law:
    """A family in Stan.

    Attributes
    ----------
    response : one of REAL, COUNT, SUCCESSES, CATEGORY
    body : function of the family, which gives the lines
    """

    response: str
    body: Callable[[Any], list[str]]


def _mean(response: str, *lines: str) -> Law:
    """A law in terms of the mean."""
    return Law(response, lambda family: [f"real mu = {MEAN[family.link.name]};", *lines])


def _logs(family: Any) -> list[str]:
    """Logarithms of a probability and of its complement."""
    link = family.link.name
    return [f"real log_p = {LOG_F[link].format(x='eta')};", f"real log_q = {LOG_S[link].format(x='eta')};"]


def _count(whole: str, *lines: str) -> Law:
    return _mean(COUNT, *lines, f"return a * {whole.format(y='y')};")


def _truncated(whole: str, *lines: str) -> Law:
    """Counts without zeros."""
    inside = f"{whole.format(y='y')} - log1m_exp({whole.format(y='0')})"
    return _mean(COUNT, *lines, f"return a * ({inside});")


_NB2, _NB1 = "neg_binomial_2_lpmf({y} | mu, phi)", "neg_binomial_2_lpmf({y} | mu, mu / phi)"
_POISSON = "poisson_lpmf({y} | mu)"
_GENPOIS = "(log(theta) + ({y} - 1) * log(theta + spread * {y}) - theta - spread * {y} - lgamma({y} + 1))"
_GENPOIS_LINES = ("real theta = mu / sqrt(phi);", "real spread = 1 - 1 / sqrt(phi);")
_BELL = (
    "real theta = lambert_w0(mu);",
    "vector[100 + y] terms;  // Dobinski's sum for the Bell numbers",
    "for (j in 1:(100 + y)) terms[j] = y * log(j) - lgamma(j + 1);",
    "real log_bell = y == 0 ? 0 : log_sum_exp(terms) - 1;",
    "return a * (y * log(theta) + 1 - exp(theta) + log_bell - lgamma(y + 1));",
)
_TWEEDIE = (
    "real rate = mu ^ (2 - p) / ((2 - p) * phi);  // of a Poisson number of gamma variables",
    "if (y <= 0) return -a * rate;",
    "real alpha = (2 - p) / (p - 1);",
    "real scale = phi * (p - 1) * mu ^ (p - 1);",
    "int J = 100;",
    "while (J < 100 + 3 * y ^ (2 - p) / ((2 - p) * phi)) J += 100;",
    "vector[J] terms;",
    "for (j in 1:J) terms[j] = poisson_lpmf(j | rate) + gamma_lpdf(y | j * alpha, 1 / scale);",
    "return a * log_sum_exp(terms);",
)
_ORDERED_BETA = (
    "real above = eta - lower_limit;",
    "real one = above - width;",
    "if (y <= 0) return a * log1m_inv_logit(above);",
    "if (y >= 1) return a * log_inv_logit(one);",
    "real between = log_diff_exp(log_inv_logit(above), log_inv_logit(one));",
    "return a * (between + beta_lpdf(y | mu * phi, (1 - mu) * phi));",
)
_CENSORED = (
    "if (y <= lower_limit) return a * normal_lcdf(lower_limit | mu, sigma);",
    "if (y >= upper_limit) return a * normal_lccdf(upper_limit | mu, sigma);",
    "return a * normal_lpdf(y | mu, sigma);",
)


def _cumulative(family: Any) -> list[str]:
    below, above = LOG_F[family.link.name], LOG_S[family.link.name]
    first, last = below.format(x="thresholds[1] - eta"), above.format(x="thresholds[y - 1] - eta")
    upper, lower = below.format(x="thresholds[y] - eta"), below.format(x="thresholds[y - 1] - eta")
    return [
        f"if (y == 1) return a * {first};",
        f"if (y > size(thresholds)) return a * {last};",
        f"return a * log_diff_exp({upper}, {lower});",
    ]


def _sequential(family: Any) -> list[str]:
    stop, go = LOG_F[family.link.name], LOG_S[family.link.name]
    if family.direction == "forward":
        x, passed, ends, end = "thresholds[{j}] - eta", "1:(y - 1)", "y <= size(thresholds)", "y"
    else:
        x, passed, ends, end = "eta - thresholds[{j}]", "y:size(thresholds)", "y > 1", "y - 1"
    return [
        "real l = 0;",
        f"for (j in {passed}) l += {go.format(x=x.format(j='j'))};",
        f"if ({ends}) l += {stop.format(x=x.format(j=end))};",
        "return a * l;",
    ]


def _adjacent(family: Any) -> list[str]:
    return [
        "vector[size(thresholds) + 1] logits = append_row(0, cumulative_sum(eta - thresholds));",
        "return a * categorical_logit_lpmf(y | logits);",
    ]


LAWS: dict[str, Law] = {
    "binomial": Law(SUCCESSES, lambda f: [*_logs(f), "return lchoose(n, k) + k * log_p + (n - k) * log_q;"]),
    "betabinomial": Law(
        SUCCESSES, lambda f: [*_logs(f), "return beta_binomial_lpmf(k | n, phi * exp(log_p), phi * exp(log_q));"]
    ),
    "gaussian": _mean(REAL, "return normal_lpdf(y | mu, sigma / sqrt(a));"),
    "gamma": _mean(REAL, "return gamma_lpdf(y | a * shape, a * shape / mu);"),
    "inverse_gaussian": _mean(
        REAL,
        "real k = a * shape;",
        "return 0.5 * log(k / (2 * pi() * y ^ 3)) - k * (y - mu) ^ 2 / (2 * mu ^ 2 * y);",
    ),
    "student_t": _mean(REAL, "return a * student_t_lpdf(y | nu, mu, sigma);"),
    "lognormal": _mean(
        REAL,
        "real v = log1p((sigma / mu) ^ 2);  // variance of log y",
        "return a * lognormal_lpdf(y | log(mu) - v / 2, sqrt(v));",
    ),
    "lognormal_log": Law(REAL, lambda f: ["return a * lognormal_lpdf(y | eta, sigma);"]),
    "censored_normal": _mean(REAL, *_CENSORED),
    "beta": Law(REAL, lambda f: [*_logs(f), "return a * beta_lpdf(y | phi * exp(log_p), phi * exp(log_q));"]),
    "ordbeta": _mean(REAL, *_ORDERED_BETA),
    "unit_lindley": Law(
        REAL, lambda f: ["return a * (-2 * eta - log1p_exp(-eta) - 3 * log1m(y) - exp(-eta) * y / (1 - y));"]
    ),
    "tweedie": _mean(REAL, *_TWEEDIE),
    "poisson": _count(_POISSON),
    "negative_binomial": _count(_NB2),
    "nbinom1": _count(_NB1),
    "genpois": _count(_GENPOIS, *_GENPOIS_LINES),
    "bell": _mean(COUNT, *_BELL),
    "truncated_poisson": _truncated(_POISSON),
    "truncated_nbinom2": _truncated(_NB2),
    "truncated_nbinom1": _truncated(_NB1),
    "truncated_genpois": _truncated(_GENPOIS, *_GENPOIS_LINES),
    "ordered": Law(CATEGORY, _cumulative),
    "sequential": Law(CATEGORY, _sequential),
    "adjacent": Law(CATEGORY, _adjacent),
}
LAWS["bernoulli"] = LAWS["binomial"]
