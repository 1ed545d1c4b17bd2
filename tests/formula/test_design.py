"""Designs: grouping factors, order of terms, checks, new data."""

from __future__ import annotations

import pickle
import time
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from refglmm.errors import (
    ArgumentError,
    CheckWarning,
    DataError,
    FormulaError,
    FormulaWarning,
    GroupingError,
    PredictorScaleWarning,
    RankDeficiencyWarning,
    RankError,
    ResponseError,
)
from refglmm.formula import Checks, build_design, build_frame
from refglmm.formula.checks import independent_columns
from refglmm.formula.design import make_grouping, term_order
from refglmm.formula.grammar import RandomTerm
from refglmm.formula.values import Factor

LOOSE = Checks(levels_vs_rows="ignore", effects_vs_rows="ignore", scale="ignore")


def design_of(text, data, control=None, contrasts=None, mode="exact", binomial=False, **kwargs):
    frame = build_frame(text, data, binomial=binomial, **kwargs)
    return build_design(frame, control=control, contrasts=contrasts, mode=mode)


@pytest.fixture
def d():
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "y": rng.normal(size=24),
            "x": rng.normal(size=24),
            "z": rng.uniform(1, 2, size=24),
            "f": np.tile(["a", "b", "c"], 8),
            "g": np.repeat(["g1", "g2", "g3", "g4"], 6),
            "h": np.tile([10, 9, 2], 8)[rng.permutation(24)],
            "total.fruits": rng.integers(0, 5, 24),
        }
    )


# --- grouping factors ---------------------------------------------------------------------------------------


def test_interaction_has_observed_combinations_first_factor_slowest(d):
    seen = d[(d.f != "a") | (d.g == "g2")]
    term = design_of("y ~ x + (1 | g:f)", seen, LOOSE).terms[0]
    expected = sorted(set(seen.g + ":" + seen.f))
    assert list(term.levels) == expected
    assert [expected[c] for c in term.codes] == list(seen.g + ":" + seen.f)
    reverse = design_of("y ~ x + (1 | f:g)", seen, LOOSE).terms[0]
    assert list(reverse.levels) == sorted(set(seen.f + ":" + seen.g))


def test_combinations_with_missing_parts_are_missing():
    columns = {
        "a": Factor(np.array([1, -1, 0, 1, 1], dtype=np.int32), np.array(["u", "v"], dtype=object)),
        "b": Factor(np.array([0, 1, 1, -1, 0], dtype=np.int32), np.array(["x", "y"], dtype=object)),
    }
    grouping, codes = make_grouping(RandomTerm("1", "a:b"), columns)
    assert list(grouping.levels) == ["u:y", "v:x"]
    np.testing.assert_array_equal(codes, [1, -1, 0, -1, 1])
    np.testing.assert_array_equal(grouping.codes(columns), codes)


def test_numeric_levels_sort_as_numbers_and_categories_keep_their_order(d):
    assert list(design_of("y ~ (1|h)", d).terms[0].levels) == ["2", "9", "10"]
    ordered = d.assign(h=pd.Categorical(d.h.astype(str), categories=["9", "77", "2", "10"]))
    assert list(design_of("y ~ (1|h)", ordered).terms[0].levels) == ["9", "2", "10"]
    halves = design_of("y ~ (1|half)", d.assign(half=d.h / 4)).terms[0]
    assert list(halves.levels) == ["0.5", "2.25", "2.5"]


def test_zt_is_level_major_and_reproduces_z(d):
    design = design_of("y ~ (1 + x | g) + (0 + f | h)", d, LOOSE)
    assert [(t.group, t.columns, t.q) for t in design.terms] == [
        ("g", ("(Intercept)", "x"), 8),
        ("h", ("fa", "fb", "fc"), 9),
    ]
    Zt = design.Zt().toarray()
    assert Zt.shape == (design.q, 24)
    for i in range(24):
        g, h = list(design.terms[0].levels).index(d.g[i]), list(design.terms[1].levels).index(str(d.h[i]))
        expected = np.zeros(17)
        expected[2 * g : 2 * g + 2] = 1, d.x[i]
        expected[8 + 3 * h : 8 + 3 * h + 3] = d.f[i] == np.array(["a", "b", "c"])
        np.testing.assert_array_equal(Zt[:, i], expected)


def test_labels_are_unique_and_flist_holds_each_factor_once(d):
    design = design_of("y ~ (1|g) + (0 + x|g) + (1|f) + (0 + z|g)", d, LOOSE)
    assert [t.label for t in design.terms] == ["g", "g.1", "g.2", "f"]
    assert [t.group for t in design.terms] == ["g", "g", "g", "f"]
    assert list(design.flist) == ["g", "f"]
    assert list(design.flist["f"]) == list(d.f)
    assert design.term("g.1").columns == ("x",)
    with pytest.raises(ArgumentError, match=r"no random term 'zz'; terms are g, g\.1, g\.2, f"):
        design.term("zz")


@pytest.mark.parametrize(
    ("sizes", "exact", "lme4"),
    [
        ([3, 5, 3], [1, 0, 2], [1, 2, 0]),  # spec 1.7: a:3, b:5, c:3 gives b, c, a
        ([5, 3, 3], [0, 1, 2], [0, 1, 2]),
        ([3, 3, 3], [0, 1, 2], [0, 1, 2]),
        ([2, 3, 4], [2, 1, 0], [2, 1, 0]),
        ([3, 4, 3, 4], [1, 3, 0, 2], [3, 1, 2, 0]),
        ([], [], []),
    ],
)
def test_order_of_terms(sizes, exact, lme4):
    assert term_order(sizes, "exact") == exact
    assert term_order(sizes, "lme4") == lme4


def test_mode_changes_the_order_of_ties_only(d):
    text = "y ~ (1|f) + (1|g) + (1|h)"
    assert [t.label for t in design_of(text, d).terms] == ["g", "f", "h"]
    assert [t.label for t in design_of(text, d, mode="lme4").terms] == ["g", "h", "f"]
    with pytest.raises(ArgumentError, match="mode"):
        design_of(text, d, mode="R")


def test_large_nested_factors_are_quick():
    """A10: 1e4 levels each; the product would have 1e8."""
    n = 10_000
    labels = np.arange(n).astype(str)
    data = {"y": np.sin(np.arange(n)), "f1": labels, "f2": labels[::-1]}
    start = time.perf_counter()
    design = design_of("y ~ 1 + (1 | f1/f2)", data, LOOSE)
    assert design.Zt().shape == (20_000, n)
    assert time.perf_counter() - start < 1.0
    assert [t.label for t in design.terms] == ["f2:f1", "f1"]


# --- fixed part ---------------------------------------------------------------------------------------------


def test_no_fixed_effects_at_all(d):
    design = design_of("y ~ 0 + (1|g)", d)
    assert design.X.shape == (24, 0)
    assert (design.names, design.assign, design.term_labels) == ((), (), ())
    assert design.fixed_matrix(d.head(3)).shape == (3, 0)


def test_names_with_dots_spaces_and_accents(d):
    named = d.rename(columns={"f": "silly period", "g": "größe", "h": "my herd"})
    design = design_of("y ~ `silly period` + total.fruits + größe:x + (1|`my herd`)", named)
    assert design.names == (
        "(Intercept)", "`silly period`b", "`silly period`c", "total.fruits",
        "größeg1:x", "größeg2:x", "größeg3:x", "größeg4:x",
    )  # fmt: skip
    assert design.terms[0].label == "my herd"
    np.testing.assert_array_equal(design.fixed_matrix(named), design.X)
    design = design_of("y ~ `silly period` + (1|`my herd`)", named, contrasts={"silly period": "sum"})
    assert design.names == ("(Intercept)", "`silly period`1", "`silly period`2")


def test_contrast_matrix_of_the_users_own(d):
    own = pd.DataFrame({".low": [1.0, -1, 0], ".high": [0.0, -1, 1]})
    design = design_of("y ~ f + (1|g)", d, contrasts={"f": own})
    assert design.names == ("(Intercept)", "f.low", "f.high")
    np.testing.assert_array_equal(design.X[:3, 1:], own)
    np.testing.assert_array_equal(design_of("y ~ f + (f|g)", d, contrasts={"f": "sum"}).terms[0].Z[2], [1, 0, 1])


@pytest.mark.parametrize(
    ("contrasts", "message"),
    [
        ({"f": "wrong"}, "unknown contrast 'wrong' for factor 'f'"),
        ({"f": np.eye(2)}, "3 rows"),
        ({"f": [["a"]]}, "3 rows"),
        ({"x": "sum"}, "contrasts given for 'x', but the factors of the fixed part are 'f'"),
        ({"nope": "sum"}, "'nope'"),
    ],
)
def test_contrast_errors(d, contrasts, message):
    with pytest.raises(ArgumentError, match=message):
        design_of("y ~ f + x + (1|g)", d, contrasts=contrasts)


def test_a_fixed_factor_with_thousands_of_levels_is_refused():
    n = 60_000
    data = {"y": np.sin(np.arange(n)), "id": np.arange(n).astype(str), "g": np.arange(n) % 7}
    with pytest.raises(DataError, match=r"term 'id' .* write it as a random effect, \(1 \| id\)"):
        design_of("y ~ id + (1|g)", data)


# --- checks -------------------------------------------------------------------------------------------------


def sleep_like(subjects=18):
    s = np.repeat(np.arange(subjects), 2)
    return {
        "y": np.sin(np.arange(2.0 * subjects)),
        "Days": np.tile([1.0, 9.0], subjects),
        "Subject": s,
        "obs": np.arange(2 * subjects),
    }


def test_as_many_effects_as_rows():
    """A9: 36 rows, 36 random effects."""
    text = "y ~ 1 + Days + (1 + Days|Subject)"
    message = r"\(=36\) <= number of random effects \(=36\) for term \(1 \+ Days \| Subject\)"
    with pytest.raises(GroupingError, match=message):
        design_of(text, sleep_like(), Checks(is_lmm=True))
    design_of(text, sleep_like(), Checks(is_lmm=False))
    design_of(text, sleep_like(), Checks(is_lmm=True, effects_vs_rows="ignore"))
    with pytest.warns(CheckWarning, match="unidentifiable"):
        design_of(text, sleep_like(), Checks(is_lmm=True, effects_vs_rows="warning"))
    with pytest.raises(GroupingError, match=r"\(=36\) < number of random effects \(=54\)"):
        design_of("y ~ (poly(Days, 1) + obs|Subject)", sleep_like(), Checks(scale="ignore"))
    design_of("y ~ diag(Days + obs|Subject)", sleep_like())


def test_number_of_levels():
    """A9: one level per row, one level only, few levels."""
    with pytest.raises(GroupingError, match=r"must be < number of observations \(=36\): obs \(36 levels\)"):
        design_of("y ~ (1|obs)", sleep_like(), Checks(is_lmm=True))
    assert design_of("y ~ (1|obs)", sleep_like()).q == 36
    data = sleep_like() | {"Subject": ["one"] * 36}
    with pytest.raises(GroupingError, match="must have > 1 sampled level: Subject"):
        design_of("y ~ (1|Subject)", data)
    assert design_of("y ~ (1|Subject)", data, Checks(one_level="ignore")).q == 1
    with pytest.warns(CheckWarning, match="fewer than 5 sampled levels: Subject"):
        design_of("y ~ (1|Subject)", sleep_like(4), Checks(few_levels="warning"))
    design_of("y ~ (1|Subject)", sleep_like(5), Checks(few_levels="stop"))


def test_checks_take_three_values():
    for name in ("one_level", "rank", "scale"):
        with pytest.raises(ArgumentError, match=f"{name}='never'"):
            Checks(**{name: "never"})
    with pytest.raises(ArgumentError, match="drop"):
        Checks(scale="drop")


def test_constant_response_and_no_random_effects(d):
    with pytest.raises(ResponseError, match="Response is constant: every row is 3"):
        design_of("c ~ x + (1|g)", d.assign(c=3))
    design_of("cbind(a, a) ~ x + (1|g)", d.assign(a=np.arange(24)), binomial=True)
    with pytest.raises(FormulaError, match=r"no random effects in 'y ~ x'; add \(1 \| group\)"):
        design_of("y ~ x", d)
    assert design_of("y ~ x", d, Checks(no_random_effects="ignore")).q == 0


def test_dependent_columns_are_dropped_by_name(d):
    data = d.assign(twice=2 * d.x, both=d.x + d.z)
    with pytest.warns(RankDeficiencyWarning, match="2 of 6 columns are redundant; dropping twice, both") as caught:
        design = design_of("y ~ x + twice + z + both + total.fruits + (1|g)", data)
    assert caught[0].message.facts["columns"] == ("twice", "both")
    assert design.names == ("(Intercept)", "x", "z", "total.fruits")
    assert design.dropped == ("twice", "both")
    assert design.assign == (0, 1, 3, 5)
    assert design.X.flags.c_contiguous
    np.testing.assert_array_equal(design.fixed_matrix(data), design.X)
    with pytest.raises(RankError, match="twice, both; remove"):
        design_of("y ~ x + twice + z + both + total.fruits + (1|g)", data, Checks(rank="stop"))
    assert design_of("y ~ x + twice + (1|g)", data, Checks(rank="ignore")).X.shape == (24, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert design_of("y ~ x + twice + (1|g)", data, Checks(rank="drop")).dropped == ("twice",)


def test_empty_cells_of_an_interaction_are_dropped(d):
    seen = d[(d.f != "c") | (d.g != "g4")]
    design = design_of("y ~ f * g + (1|h)", seen, Checks(rank="drop"))
    assert design.dropped == ("fc:gg4",)


def pivoted_by_gram_schmidt(X, tolerance=1e-7):
    """The rule in its plainest form: keep a column if enough of it is left after projection on those kept."""
    basis, kept = np.empty((len(X), 0)), []
    for j in range(X.shape[1]):
        rest = X[:, j].copy()
        for _ in range(3):
            rest -= basis @ (basis.T @ rest)
        norm = np.linalg.norm(X[:, j])
        if len(kept) < len(X) and norm > 0 and np.linalg.norm(rest) >= tolerance * norm:
            kept.append(j)
            basis = np.column_stack([basis, rest / np.linalg.norm(rest)])
    return kept


@pytest.mark.parametrize("seed", range(30))
def test_rank_decisions_equal_gram_schmidt(seed):
    rng = np.random.default_rng(seed)
    n, p, r = rng.integers(3, 12), rng.integers(1, 9), rng.integers(1, 5)
    X = rng.normal(size=(n, r)) @ rng.integers(-1, 2, size=(r, p)) * 10.0 ** rng.integers(-6, 6, size=p)
    assert independent_columns(X) == pivoted_by_gram_schmidt(X)
    kept = independent_columns(X)
    assert len(kept) == np.linalg.matrix_rank(X / np.maximum(np.linalg.norm(X, axis=0), 1e-300), tol=1e-9)


@pytest.mark.parametrize(("gap", "kept"), [(1e-3, [0, 1]), (1e-6, [0, 1]), (1.1e-7, [0, 1]), (0.9e-7, [0])])
def test_rank_tolerance_is_one_in_ten_million(gap, kept):
    X = np.zeros((5, 2))
    X[0] = 1.0
    X[1, 1] = gap
    assert independent_columns(X) == kept


@pytest.mark.parametrize("fixed", ["f * x", "0 + f + h", "ordered(h) + f:g", "factor(row) + z", "0 + x:f + (h > 2)"])
def test_indicator_columns_are_those_of_factors_alone(d, fixed):
    """Few columns or many (one for each row): 1 in the rows of a level, 0 elsewhere; numbers are never indicators."""
    design = design_of(f"y ~ {fixed} + (1 | g)", d.assign(row=np.arange(24)), replace(LOOSE, rank="drop"))
    X = design.matrix.build(design.frame.columns.__getitem__, len(d))
    indicators = {j for j, column in enumerate(X.T) if set(column) <= {0.0, 1.0}}
    assert design.matrix.zero_one == indicators


def test_predictors_on_very_different_scales(d):
    wide = d.assign(big=d.x * 1e3, small=d.z * 1e-1)
    with pytest.warns(PredictorScaleWarning, match=r"\(small\) to .* \(big\); rescale"):
        design_of("y ~ big + small + (1|g)", wide)
    with pytest.raises(FormulaError, match="very different scales"):
        design_of("y ~ big + small + (1|g)", wide, Checks(scale="stop"))
    design_of("y ~ big + small + (1|g)", wide, Checks(scale="ignore"))
    design_of("y ~ I(x * 900 / sd(x)) + f + (1|g)", d)
    with pytest.warns(PredictorScaleWarning):
        design_of("y ~ I(x * 1100 / sd(x)) + f + (1|g)", d)


def test_double_bar_with_a_factor_says_what_it_does(d):
    """A10: split by term; a factor's indicators stay correlated, and the user hears about it once."""
    with pytest.warns(FormulaWarning, match="factor f keep a full covariance matrix") as caught:
        design = design_of("y ~ x + (x + f || g)", d, LOOSE)
    assert len(caught) == 1
    assert [t.columns for t in design.terms] == [("(Intercept)",), ("x",), ("fa", "fb", "fc")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        design_of("y ~ (x || g)", d)
        design_of("y ~ (0 + f | g)", d)


# --- new data -----------------------------------------------------------------------------------------------

STATEFUL = (
    "y ~ scale(x) + poly(z, 2) + bs(x, df = 4) + ns(z, df = 2) + I(x - mean(x)) + f + offset(log(z)) + (scale(x) | g:f)"
)


def test_stateful_transforms_remember_the_fit(d):
    design = design_of(STATEFUL, d, Checks(rank="ignore", effects_vs_rows="ignore"))
    rows = [3, 17, 5]
    np.testing.assert_allclose(design.fixed_matrix(d.iloc[rows]), design.X[rows], atol=1e-13)
    codes, Z = design.random_matrix("g:f", d.iloc[rows])
    np.testing.assert_array_equal(codes, design.terms[0].codes[rows])
    np.testing.assert_allclose(Z, design.terms[0].Z[rows])
    np.testing.assert_allclose(design.offset_values(d.iloc[rows]), np.log(d.z[rows]))


def test_fixed_matrix_in_newdata(d):
    design = design_of("y ~ f * x + (1|g)", d)
    one = design.fixed_matrix({"f": ["b"], "x": [2.0]})
    np.testing.assert_array_equal(one, [[1, 1, 0, 2, 2, 0]])
    missing = design.fixed_matrix({"f": ["b", None, "a"], "x": [np.nan, 1.0, 1.0]})
    assert np.isnan(missing).any(axis=1).tolist() == [True, True, False]
    with pytest.raises(DataError, match="factor 'f' has new levels 'q', 'r'; the fit had 'a', 'b', 'c'") as caught:
        design.fixed_matrix({"f": ["q", "a", "r"], "x": [1.0, 1, 1]})
    assert caught.value.facts["levels"] == ("q", "r")
    with pytest.raises(DataError, match="newdata lacks the columns 'f', 'x'"):
        design.fixed_matrix({"g": ["g1"]})
    with pytest.raises(DataError, match="'x' \\(numeric in the fit\\) needs numbers"):
        design.fixed_matrix({"f": ["a"], "x": ["one"]})
    unused = pd.DataFrame({"f": pd.Categorical(["c"], categories=["c", "zz"]), "x": [0.0]})
    np.testing.assert_array_equal(design.fixed_matrix(unused), [[1, 0, 1, 0, 0, 0]])


def test_new_levels_of_a_grouping_factor(d):
    design = design_of("y ~ x + (1 + x|g) + (1|g:h)", d, LOOSE)
    new = pd.DataFrame({"x": [1.0, 2, 3, 4], "g": ["g4", "new", "g1", None], "h": [d.h[23], 2, 77, 2]})
    codes, Z = design.random_matrix("g", new)
    assert codes.dtype == np.int32
    assert codes.tolist() == [3, -1, 0, -1]
    np.testing.assert_array_equal(Z, [[1, 1], [1, 2], [1, 3], [1, 4]])
    codes, _ = design.random_matrix(design.terms[0], new)
    assert codes.tolist() == [list(design.terms[0].levels).index(f"g4:{d.h[23]}"), -1, -1, -1]
    assert design.new_levels("g", new) == ("new",)
    assert design.new_levels("g:h", new) == ("new:2", "g1:77")
    with pytest.raises(DataError, match="newdata lacks the columns 'h'"):
        design.random_matrix("g:h", new.drop(columns="h"))


def test_offset_argument_in_newdata(d):
    by_name = design_of("y ~ offset(z) + (1|g)", d, offset="log(z)")
    np.testing.assert_allclose(by_name.offset_values({"z": [1.0, np.e]}), [1.0, np.e + 1])
    np.testing.assert_allclose(by_name.offset_values({"z": [1.0, np.e]}, offset=[5.0, 6.0]), [6.0, np.e + 6])
    by_array = design_of("y ~ (1|g)", d, offset=np.ones(24))
    with pytest.raises(DataError, match="pass offset="):
        by_array.offset_values(d)
    np.testing.assert_array_equal(by_array.offset_values(d.head(2), offset=2.0), [2.0, 2.0])
    with pytest.raises(DataError, match="shape"):
        by_array.offset_values(d, offset=[1.0, 2.0])


def test_designs_can_be_sent_to_other_processes(d):
    design = design_of(STATEFUL, d, Checks(rank="ignore", effects_vs_rows="ignore"))
    again = pickle.loads(pickle.dumps(design))
    np.testing.assert_array_equal(again.fixed_matrix(d), design.fixed_matrix(d))
    assert again.names == design.names
