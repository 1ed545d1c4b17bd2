"""Differences that are understood: which figure, and why it is not ours.

Place in the reading order: before ``runner``. An explanation names a cause that was checked; it does not
turn a failure into a pass, the report lists it apart.
"""

from __future__ import annotations

#: (entry, start of the quantity) -> cause.
EXPLAINED: dict[tuple[str, str], str] = {
    ("gad-poisson-gm1", ""): (
        "GLMMadaptive stopped 26 log-likelihood units below the maximum: an independent maximisation of the "
        "same quadrature gives log L -2756.298360, coefficients 2.1110086, -0.3065532, 0.2402124, -0.0509850"
    ),
    ("gad-binary-fm1-nagq15", "fixef/(Intercept)"): (
        "GLMMadaptive stopped early; ours is the independent fully adaptive maximum of gad-binary-fm1, k=15"
    ),
    ("gad-binary-fm1-nagq21", "fixef/(Intercept)"): (
        "GLMMadaptive stopped early; ours is the independent fully adaptive maximum of gad-binary-fm1, k=21"
    ),
    ("gad-negbin-custom", ""): (
        "GLMMadaptive stopped 0.087 log-likelihood units early on a flat ridge: an independent maximisation "
        "of the same quadrature gives log L -9993.974978, sd 0.0528715, and -0.4400921, -0.5857260 for these"
    ),
    ("lme4: gamma_id_sleep", "se/"): (
        "The objective is the same: differenced with step 0.01, ours and lme4's both give 11.616, 0.74597. "
        "With lme4's step of 1e-4 the second difference is 1.6e-10 of 1757, near rounding: lme4 gives "
        "11.46 to 11.63 as its inner tolerance changes, ours 10.62"
    ),
    ("lme4: ig_id_sleep", "se/(Intercept)"): (
        "As in gamma_id_sleep lme4's step of 1e-4 is near rounding: differenced with steps from 0.003 to 0.1 ours "
        "gives 11.241 or 11.242, and at 1e-4 both lie below, by 1.6 % and 1.3 %"
    ),
}


def explanation(entry: str, quantity: str) -> str:
    """Return the known cause of a difference, or nothing."""
    for (known_entry, start), cause in EXPLAINED.items():
        if entry == known_entry and quantity.startswith(start):
            return cause
    return ""
