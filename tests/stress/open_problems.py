"""Stress tests that do not hold yet, each with what is wrong. An entry leaves this list when its test passes for good.

A test listed here is expected to fail (not strictly: those about rounding depend on the machine). Everything else in
the stress set must pass.
"""

from __future__ import annotations

EDGE = "rows with a count of zero have no barrier at eta = 0 under identity and sqrt links: the mode lies on the wall"
COUNTS = "counts of 1e12 and more: Hessian differences drown in rounding; ends with a warning instead of an optimum"
NOISE = "the differenced Hessian is noisy where means are huge: its -2g part should be taken exactly"
BASIN = "a better optimum exists in another basin than the one the default start leads to"

OPEN = {
    "test_no_better_point_is_found_by_brute_force": {
        "gamma_observation_level": BASIN,
        "ig_dispersed": BASIN,
    },
    "test_problem_ends_as_it_may": {
        "counts_1e12": COUNTS,
        "counts_1e18": COUNTS,
        "int64_counts": COUNTS,
        "negative_binomial_identity": EDGE,
        "poisson_sqrt_at_zero": EDGE,
    },
    "test_standard_errors_do_not_feel_the_inner_tolerance": {
        **dict.fromkeys(
            [
                "covariate_far_from_zero",
                "exposures_over_twenty_decades",
                "gaussian_log_precise",
                "poisson_group_with_huge_outlier",
                "poisson_modes_at_20",
                "trials_2e9",
            ],
            NOISE,
        ),
    },
    "test_where_a_peer_fits_we_fit_and_no_worse": {
        "counts_1e12-glmmTMB--2095.16976513": COUNTS,
    },
}
