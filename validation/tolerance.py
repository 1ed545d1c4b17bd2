"""How far apart two correct programs may be, quantity by quantity, and why.

Place in the reading order: first. A published figure and ours agree when

    |ours - published| <= half a unit in the last printed place + what the entry's :class:`Tolerance` allows.

Each Tolerance states its reason: how far the *other* program may be from the number it means to print. A
figure that misses it is a failure, or stands in ``explained`` with a cause that was checked.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal


@dataclass(frozen=True)
class Allowance:
    """Largest of an absolute, a relative and a standard-error part."""

    absolute: float = 0.0
    relative: float = 0.0
    standard_errors: float = 0.0

    def at(self, published: float, se: float) -> float:
        """Return what is allowed for this number, whose standard error is ``se`` (0 where it has none)."""
        return max(self.absolute, self.relative * abs(published), self.standard_errors * se)


EXACT = Allowance()


@dataclass(frozen=True)
class Tolerance:
    """Allowances by kind of quantity, and the reason for them; a kind not named must agree exactly."""

    reason: str
    allow: dict[str, Allowance] = field(default_factory=dict)

    def but(self, reason: str, **allow: Allowance) -> Tolerance:
        """Return this tolerance with some kinds replaced, for the reason given."""
        return replace(self, reason=reason, allow=self.allow | allow)

    def of(self, kind: str, published: float, se: float) -> float:
        """Return what is allowed for one number."""
        return self.allow.get(kind, EXACT).at(published, se)


def half_unit(published: Decimal) -> float:
    """Half a unit in the last printed place; 0 for numbers printed as whole ones (counts and zeros)."""
    exponent = published.as_tuple().exponent
    return 0.5 * 10.0**exponent if isinstance(exponent, int) and exponent < 0 else 0.0


def absolute(amount: float) -> Allowance:
    """Allow a fixed difference."""
    return Allowance(absolute=amount)


def relative(amount: float) -> Allowance:
    """Allow a difference in proportion to the published number."""
    return Allowance(relative=amount)


def standard_errors(amount: float) -> Allowance:
    """Allow a difference in units of the coefficient's standard error."""
    return Allowance(standard_errors=amount)


def everything(reason: str, allowance: Allowance) -> Tolerance:
    """Allow the same for every kind but counts."""
    return Tolerance(reason, dict.fromkeys(KINDS, allowance))


#: Kinds of quantity. Counts are not among them: they agree exactly or not at all.
KINDS = (
    "loglik", "criterion", "deviance", "fixef", "se", "z", "p", "sd", "variance", "corr", "theta",
    "shape", "ranef", "condvar", "residual", "other",
)  # fmt: skip

LME4_DEFAULT = Tolerance(
    "lme4's default optimizer stops when -2 log L changes by about 1e-5; a parameter is then within "
    "sqrt(1e-5) = 0.003 standard errors of where another optimizer on the same objective stops, standard "
    "errors (differences of a loosely converged objective) within 0.2 %",
    {
        "loglik": absolute(2e-5),
        "criterion": absolute(4e-5),
        "deviance": Allowance(absolute=1e-3, relative=2e-5),
        "fixef": standard_errors(3e-3),
        "se": relative(2e-3),
        "z": Allowance(absolute=3e-3, relative=2e-3),
        "p": Allowance(absolute=1e-3, relative=2e-2),
        "sd": Allowance(absolute=1e-5, relative=1e-3),
        "theta": Allowance(absolute=1e-5, relative=1e-3),
        "variance": Allowance(absolute=1e-8, relative=2e-3),
        "corr": absolute(2e-3),
        "ranef": absolute(2e-3),
        "condvar": relative(2e-3),
        "residual": Allowance(absolute=1e-3, relative=1e-3),
    },
)

# Checked by dense algebra on grouseticks: at lme4's own parameters -2 log L is 1780.54266018, where lme4
# reports 1780.54270698.
TIGHT = Tolerance(
    "lme4 with inner stop 1e-12 and outer 1e-9. The inner stop is relative to the penalised deviance, so "
    "its square root, 1e-6, remains in the modes, and lme4's log-determinant is one iterate older than its "
    "modes: 5e-8 relative in log L. Its standard errors difference that value with step 1e-4: 0.1 %. "
    "Coefficients to 2e-4 standard errors",
    {
        "loglik": Allowance(absolute=1e-6, relative=5e-8),
        "criterion": Allowance(absolute=2e-6, relative=5e-8),
        "deviance": relative(1e-5),
        "fixef": standard_errors(2e-4),
        "se": relative(1e-3),
        "z": relative(1e-3),
        "p": Allowance(absolute=1e-6, relative=1e-2),
        "sd": Allowance(absolute=1e-6, relative=1e-4),
        "theta": Allowance(absolute=1e-6, relative=1e-4),
        "variance": relative(2e-4),
        "corr": absolute(1e-4),
        "ranef": absolute(1e-4),
        "condvar": relative(2e-4),
        "residual": Allowance(absolute=1e-4, relative=1e-4),
    },
)

LINEAR = Tolerance(
    "linear mixed models have one exact criterion; the other program's optimizer leaves about 1e-5 in it, "
    "and 1e-3 or 1e-4 relative in a standard deviation (the entries' own notes)",
    {
        "loglik": absolute(1e-4),
        "criterion": absolute(2e-4),
        "deviance": absolute(2e-4),
        "fixef": standard_errors(1e-4),
        "se": relative(1e-3),
        "z": relative(1e-3),
        "sd": Allowance(absolute=1e-3, relative=1e-4),
        "variance": relative(1e-3),
        "theta": Allowance(absolute=1e-5, relative=1e-3),
        "corr": absolute(1e-3),
        "ranef": absolute(1e-3),
        "condvar": relative(1e-3),
        "residual": absolute(1e-3),
        "other": relative(1e-4),
    },
)

GLMMADAPTIVE = Tolerance(
    "GLMMadaptive stops early (EM, then quasi-Newton with the modes held between outer updates): 2e-3 on "
    "coefficients and standard deviations, 2e-4 on the log-likelihood; its standard errors follow at 1 %",
    {
        "loglik": absolute(2e-4),
        "criterion": absolute(4e-4),
        "fixef": absolute(2e-3),
        "se": relative(1e-2),
        "z": relative(1e-2),
        "p": Allowance(absolute=2e-3, relative=0.1),
        "sd": absolute(2e-3),
        "variance": absolute(1e-2),
        "shape": absolute(2e-3),
    },
)

#: Printed digits of a fully converged program: rounding alone, plus what remains after it.
PRINTED = TIGHT.but("a fully converged program, printed to the digits shown")
