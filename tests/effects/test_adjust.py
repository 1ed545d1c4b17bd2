"""Adjusted p-values and critical values against closed forms, tables and each other."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from refglmm.effects.adjust import METHODS, adjusted_p, check_method, critical
from refglmm.errors import ArgumentError

INF = np.full(4, np.inf)
Z = np.array([2.6, -0.4, 2.1, 1.2])
P = 2 * stats.norm.sf(np.abs(Z))


def p_of(method, z=Z, df=INF, k=4, R=None):
    return adjusted_p(np.asarray(z), np.asarray(df), method, k, np.eye(len(z)) if R is None else R)


def test_closed_forms_by_hand():
    np.testing.assert_allclose(p_of("none"), P)
    np.testing.assert_allclose(p_of("bonferroni"), np.minimum(1, 4 * P))
    np.testing.assert_allclose(p_of("sidak"), 1 - (1 - P) ** 4)
    # ascending: 0.0093, 0.0357, 0.230, 0.689
    np.testing.assert_allclose(p_of("holm"), [4 * P[0], P[1], 3 * P[2], 2 * P[3]])
    np.testing.assert_allclose(p_of("fdr"), [4 * P[0], P[1], 2 * P[2], 4 / 3 * P[3]])


def test_step_procedures_never_reverse_the_order():
    z = np.array([2.00, 2.01, 2.02, 0.1])
    holm, fdr = p_of("holm", z), p_of("fdr", z)
    assert holm[2] == holm[1] == holm[0]
    assert fdr[2] == fdr[1] == fdr[0] < fdr[3]


def test_tukey_of_two_means_is_the_t_test_and_of_more_the_studentized_range():
    df = np.array([7.3])
    np.testing.assert_allclose(p_of("tukey", [2.0], df, k=2), 2 * stats.t.sf(2.0, df))
    # Table: upper 5 % point of the studentized range for 3 means, 10 df, is 3.877.
    np.testing.assert_allclose(
        critical(0.95, np.array([10.0] * 3), "tukey", 3, np.eye(3)) * np.sqrt(2), 3.877, atol=5e-4
    )
    np.testing.assert_allclose(p_of("tukey", [3.877 / np.sqrt(2)] * 3, [10.0] * 3, k=3), 0.05, atol=2e-5)


def test_mvt_is_dunnett_for_comparisons_with_a_control():
    # Dunnett (1964), two-sided 5 % points for 3 treatments of equal size: 20 df 2.54, infinite df 2.35.
    R = 0.5 * np.eye(3) + 0.5
    np.testing.assert_allclose(critical(0.95, np.full(3, 20.0), "mvt", 4, R), 2.54, atol=5e-3)
    np.testing.assert_allclose(critical(0.95, np.full(3, np.inf), "mvt", 4, R), 2.35, atol=5e-3)


def test_mvt_of_all_pairs_is_tukey_and_of_independent_normals_sidak():
    C = np.array([[1.0, -1, 0, 0], [1, 0, -1, 0], [1, 0, 0, -1], [0, 1, -1, 0], [0, 1, 0, -1], [0, 0, 1, -1]])
    t, df = np.array([0.5, 1.5, 2.5, 3.5, 5.0, 8.0]), np.full(6, 12.0)
    mvt, tukey = (p_of(m, t, df, 4, C @ C.T / 2) for m in ("mvt", "tukey"))
    np.testing.assert_allclose(mvt, tukey, rtol=1e-3)  # also where p is 2e-5: the tail is exact along each direction
    np.testing.assert_allclose(p_of("mvt"), p_of("sidak"), atol=1e-4)
    exact = critical(0.95, INF, "sidak", 4, np.eye(4))
    np.testing.assert_allclose(critical(0.95, INF, "mvt", 4, np.eye(4)), exact, rtol=1e-4)
    many = np.linspace(0.5, 4.0, 8)
    mvt, exact = (p_of(m, many, np.full(8, np.inf), 8) for m in ("mvt", "sidak"))
    np.testing.assert_allclose(mvt, exact, atol=1e-3)


def test_mvt_of_one_direction_is_the_t_test():
    R = np.array([[1.0, -1.0], [-1.0, 1.0]])
    np.testing.assert_allclose(p_of("mvt", [2.0, -2.0], [5.0, 5.0], 2, R), 2 * stats.t.sf(2.0, 5), rtol=1e-12)


def test_critical_values_turn_p_values_into_intervals():
    df = np.full(3, 9.0)
    R = 0.3 + 0.7 * np.eye(3)
    for method in ("none", "bonferroni", "sidak", "tukey", "mvt"):
        c = critical(0.9, df, method, 3, R)
        np.testing.assert_allclose(p_of(method, c, df, 3, R), 0.1, rtol=1e-6, err_msg=method)
    for method in ("holm", "fdr"):
        np.testing.assert_array_equal(critical(0.9, df, method, 3, R), critical(0.9, df, "bonferroni", 3, R))


@pytest.mark.parametrize("method", METHODS)
def test_rows_without_estimate_stay_out_of_the_family(method):
    z, df = np.array([2.6, np.nan, 2.1]), np.array([np.inf, np.nan, np.inf])
    R = np.eye(3)
    R[1] = R[:, 1] = 0.0
    p, c = adjusted_p(z, df, method, 3, R), critical(0.95, df, method, 3, R)
    assert np.isnan(p[1])
    assert np.isnan(c[1])
    np.testing.assert_array_equal(p[[0, 2]], adjusted_p(z[[0, 2]], df[[0, 2]], method, 3, np.eye(2)))
    np.testing.assert_array_equal(c[[0, 2]], critical(0.95, df[[0, 2]], method, 3, np.eye(2)))
    nothing = np.full(2, np.nan)
    assert np.isnan(adjusted_p(nothing, nothing, method, 2, np.eye(2))).all()
    assert np.isnan(critical(0.95, nothing, method, 2, np.eye(2))).all()


def test_unknown_adjustment():
    assert check_method(None) == "none"
    with pytest.raises(ArgumentError, match="unknown adjustment 'scheffe'; use one of tukey, holm"):
        check_method("scheffe")
