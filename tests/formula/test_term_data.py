"""From the formula to what a structure must know: positions, a rank, a known matrix; and every way to get it wrong."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import refglmm as rg
from refglmm.errors import DataError, FormulaError
from refglmm.formula import build_design, build_frame, parse
from refglmm.formula.convert import to_table
from refglmm.formula.grammar import RandomTerm

SPECIES = ["cat", "dog", "eel", "fox"]
V = pd.DataFrame(0.5 * np.eye(4) + 0.5, index=SPECIES, columns=SPECIES)


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(1)
    n = 96
    return pd.DataFrame(
        {
            "y": rng.normal(size=n),
            "g": np.tile([f"g{i}" for i in range(12)], 8),
            "all": "one",
            "time": np.repeat([0.0, 0.5, 10.0, 2.25], 24),
            "x": np.repeat([1.0, 3.0], 48),
            "sp": np.tile(np.repeat(SPECIES, 12), 2),
        }
    )


def only_term(text, table, env=None):
    (term,) = build_design(frame_of(text, table, env)).terms
    return term


def frame_of(text, table, env=None):
    return build_frame(parse(text), to_table(table), binomial=False, env=env)


# --- grammar ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("toep(0 + f | g)", RandomTerm("0 + f", "g", "toep", False)),
        ("toep(0 + f | g, hom = TRUE)", RandomTerm("0 + f", "g", "toep", True)),
        ("homtoep(0 + f | g)", RandomTerm("0 + f", "g", "toep", True)),
        ("homdiag(0 + f | g)", RandomTerm("0 + f", "g", "diag", True)),
        ("homcs(0 + f | g)", RandomTerm("0 + f", "g", "cs", True)),
        ("hetar1(0 + f | g)", RandomTerm("0 + f", "g", "ar1", False)),
        ("exp(0 + numFactor(x, y) | g)", RandomTerm("0 + numFactor(x, y)", "g", "exp", True)),
        ("rr(0 + f | g)", RandomTerm("0 + f", "g", "rr", False, rank=2)),
        ("rr(0 + f | g, d = 3)", RandomTerm("0 + f", "g", "rr", False, rank=3)),
        ("rr(0 + f | g, 1)", RandomTerm("0 + f", "g", "rr", False, rank=1)),
        ("propto(0 + f | g, V)", RandomTerm("0 + f", "g", "propto", True, matrix="V")),
        ("equalto(0 + f | g, V = A)", RandomTerm("0 + f", "g", "equalto", True, matrix="A")),
    ],
)
def test_terms_are_read_and_written(text, expected):
    formula = parse(f"y ~ {text}")
    assert formula.random == (expected,)
    assert parse(formula.expanded).random == (expected,)


def test_exp_is_a_function_unless_there_is_a_bar():
    formula = parse("log(y) ~ exp(x) + exp(0 + f | g)")
    assert formula.fixed == "exp(x)"
    assert [term.structure for term in formula.random] == ["exp"]


def test_the_name_of_the_matrix_is_no_variable():
    assert parse("y ~ propto(0 + f | g, V)").variables == ("y", "f", "g")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ou(0 + t | g, hom = TRUE)", r"ou\(expr \| group\) takes no further argument"),
        ("homcs(0 + t | g, hom = TRUE)", r"homcs\(expr \| group\) takes no further argument"),
        ("toep(0 + t | g, d = 2)", r"toep\(expr \| group\) takes one further argument, hom="),
        ("toep(0 + t | g, hom = x)", "hom= must be TRUE or FALSE, written out"),
        ("rr(0 + t | g, hom = TRUE)", r"rr\(expr \| group\) takes one further argument, d="),
        ("rr(0 + t | g, d = 1.5)", "d= must be a whole number >= 1"),
        ("rr(0 + t | g, d = k)", "d= must be a whole number >= 1"),
        ("propto(0 + t | g)", "takes the name of a matrix as second argument"),
        ("propto(0 + t | g, V, W)", "takes the name of a matrix as second argument"),
        ("propto(0 + t | g, solve(V))", "V= must be a name"),
        ("mat(0 + t || g)", r"'\|\|' inside mat\(\) has no meaning"),
    ],
)
def test_misused_structures_are_named(text, message):
    with pytest.raises(FormulaError, match=message):
        parse(f"y ~ {text}")


# --- positions ----------------------------------------------------------------------------------------------


def test_times_are_read_from_the_levels_of_a_factor(table):
    term = only_term("y ~ ou(0 + numFactor(time) | g)", table)
    assert term.columns == tuple(f"numFactor(time)({t})" for t in ("0", "0.5", "2.25", "10"))
    assert term.data.positions == ((0.0,), (0.5,), (2.25,), (10.0,))
    assert only_term("y ~ ou(0 + factor(time) | g)", table).data == term.data


def test_coordinates_are_read_from_the_levels(table):
    term = only_term("y ~ exp(0 + numFactor(x, time) | g)", table)
    assert term.data.positions == ((1.0, 0.0), (1.0, 0.5), (3.0, 2.25), (3.0, 10.0))
    made = table.assign(pos="(" + table.x.astype(str) + ", " + table.time.astype(str) + ")")
    assert sorted(only_term("y ~ gau(0 + pos | g)", made).data.positions) == sorted(term.data.positions)


def test_numfactor_numbers_missing_values_and_refuses_constants(table):
    gaps = table.assign(x=table.x.where(table.index > 3))
    frame = frame_of("y ~ exp(0 + numFactor(x, time) | g)", gaps)
    assert frame.n == len(table) - 4
    with pytest.raises(DataError, match=r"numFactor\(\) takes columns, not constants"):
        frame_of("y ~ exp(0 + numFactor(1) | g)", table)
    with pytest.raises(FormulaError, match=r"numFactor\(\) needs one column or more"):
        frame_of("y ~ exp(0 + numFactor() | g)", table)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("ou(0 + time | g)", FormulaError, r"must stand 0 \+ one factor.*numFactor\(x\)"),
        ("ou(numFactor(time) | g)", FormulaError, r"must stand 0 \+ one factor"),
        ("mat(0 + sp:factor(x) | g)", FormulaError, r"must stand 0 \+ one factor"),
        ("ou(0 + sp | g)", DataError, "level 'cat' of 'sp' does not hold a time such as"),
        ("exp(0 + sp | g)", DataError, "level 'cat' of 'sp' does not hold coordinates such as"),
        ("ou(0 + numFactor(x, time) | g)", DataError, "must hold one time each, not 2"),
        ("exp(0 + mixed | g)", DataError, "must hold equally many coordinates, not 1, 2"),
        ("exp(0 + twice | g)", DataError, r"'\(1,2\)' and '\(1,2.0\)' of 'twice' are the same position"),
        ("exp(0 + endless | g)", DataError, "level 'inf' of 'endless' does not hold coordinates"),
    ],
)
def test_unreadable_positions_are_named(table, text, error, message):
    wrong = table.assign(
        mixed=np.where(table.x == 1, "(1)", "(1,2)"),
        twice=np.where(table.x == 1, "(1,2)", "(1,2.0)"),
        endless=np.where(table.x == 1, "inf", "2"),
    )
    with pytest.raises(error, match=message):
        only_term(f"y ~ {text}", wrong)


def test_one_group_is_enough_for_columns_that_share_a_standard_deviation(table):
    assert only_term("y ~ exp(0 + numFactor(time) | all)", table).n_levels == 1
    with pytest.raises(rg.errors.GroupingError, match="grouping factors must have > 1 sampled level: all"):
        only_term("y ~ toep(0 + factor(time) | all)", table)


# --- rank and known matrices --------------------------------------------------------------------------------


def test_rank_is_at_most_the_number_of_columns(table):
    assert only_term("y ~ rr(0 + sp | g, d = 4)", table).data.rank == 4
    with pytest.raises(FormulaError, match="d = 5, but the term has 4 columns"):
        only_term("y ~ rr(0 + sp | g, d = 5)", table)


def test_a_known_matrix_is_matched_by_name(table):
    larger = pd.DataFrame(np.diag([5.0, 4.0, 3.0, 2.0, 1.0]), index=["yak", *SPECIES], columns=["yak", *SPECIES])
    shuffled = larger.iloc[[3, 0, 4, 2, 1], [2, 4, 1, 0, 3]]
    found = only_term("y ~ propto(0 + sp | g, V)", table, {"V": shuffled}).data.matrix
    np.testing.assert_array_equal(found, np.diag([4.0, 3.0, 2.0, 1.0]))
    columns = shuffled.rename(index=lambda s: f"sp{s}", columns=lambda s: f"sp{s}")
    assert only_term("y ~ propto(0 + sp | g, V)", table, {"V": columns}).data.matrix == found
    plain = only_term("y ~ propto(0 + sp | g, V)", table, {"V": np.diag([4.0, 3.0, 2.0, 1.0])})
    assert plain.data.matrix == found


@pytest.mark.parametrize(
    ("matrix", "error", "message"),
    [
        (None, FormulaError, r"the matrix 'V' is not known; pass it in env=\{'V': ...\}"),
        (np.eye(3), DataError, r"one row and column for each of the 4 levels of 'sp', not shape \(3, 3\)"),
        (V.drop(index="dog", columns="dog"), DataError, "V has no row for 'dog' of 'sp'"),
        (V.drop(columns=["dog", "eel"]), DataError, "V has no column for 'dog', 'eel' of 'sp'"),
        (V.rename(index={"dog": "cat"}), DataError, "V has more than one row 'cat'"),
        (np.ones((4, 4)), DataError, "V must be positive definite, but its smallest eigenvalue is"),
        (np.triu(np.ones((4, 4))), DataError, "V must be symmetric and finite"),
        (np.full((4, 4), np.nan), DataError, "V must be symmetric and finite"),
        (V.astype(str) + "a", DataError, "V must hold numbers"),
    ],
)
def test_matrices_that_are_no_covariance_are_refused(table, matrix, error, message):
    with pytest.raises(error, match=message):
        only_term("y ~ propto(0 + sp | g, V)", table, None if matrix is None else {"V": matrix})


def test_the_callers_matrix_may_change_after_the_model_was_made(table):
    mine = V.copy()
    model = rg.GLMM("y ~ propto(0 + sp | g, V)", table, env={"V": mine})
    mine.iloc[:, :] = -1.0
    assert model.updated(". ~ . + sp").structures == model.structures


def test_equalto_has_no_place_in_a_linear_mixed_model(table):
    with pytest.raises(FormulaError, match=r"so equalto\(...\) cannot hold there; use propto\(...\)"):
        rg.GLMM("y ~ equalto(0 + sp | g, V)", table, env={"V": V})
