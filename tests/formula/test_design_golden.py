"""Column names, order, values and term algebra against base R; golden_model_matrix.R made the numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from refglmm.formula import Checks, build_design, build_frame
from refglmm.formula.grammar import expand_terms

QUIET = Checks(rank="ignore", scale="ignore", no_random_effects="ignore", constant_response="ignore")


def read_golden():
    matrices, algebra = [], []
    for line in (Path(__file__).parent / "golden_model_matrix.txt").read_text(encoding="utf-8").splitlines():
        kind, *fields = line.split("\t")
        match kind:
            case "formula":
                contrasts = dict(pair.split("=") for pair in fields[1].split(",") if pair)
                matrices.append({"text": fields[0], "contrasts": contrasts, "rows": []})
            case "names" | "assign":
                matrices[-1][kind] = tuple(fields)
            case "row":
                matrices[-1]["rows"].append([float(v) for v in fields])
            case "algebra":
                algebra.append((fields[0], fields[1] == "1", tuple(f for f in fields[2:] if f)))
    return matrices, algebra


MATRICES, ALGEBRA = read_golden()


def data():
    o = ["low", "mid", "high", "top", "max"]
    d = pd.DataFrame(
        {
            "age": [1, 3, 2, 5, 4, 6, 8, 7, 9, 12, 11, 10.5],
            "w": [0.3, -1.2, 2.5, 0.1, 1.7, -0.4, 0.9, -2.2, 1.1, 0.6, -0.7, 1.9],
            "f": ["a", "b", "c"] * 4,
            "g": ["u"] * 6 + ["v"] * 6,
            "h": list("pqqpqpqppqpq"),
            "o": pd.Categorical((o * 3)[:12], categories=o, ordered=True),
            "ch": [bool(int(c)) for c in "100110101100"],
            "livch": [0, 1, 2, 0, 3, 1, 0, 0, 2, 1, 3, 0],
            "silly period": pd.Categorical([1, 2, 3, 4] * 3),
        }
    )
    return d.assign(**{"total.fruits": d.age * 2, "b2": d.w})


@pytest.mark.parametrize("case", MATRICES, ids=lambda c: c["text"] + str(c["contrasts"] or ""))
def test_model_matrix_equals_r(case):
    frame = build_frame(case["text"], data(), binomial=False)
    design = build_design(frame, contrasts=case["contrasts"], control=QUIET)
    assert design.names == case["names"]
    assert design.assign == tuple(map(int, case["assign"]))
    np.testing.assert_allclose(design.X, case["rows"], rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(design.fixed_matrix(data().iloc[[7, 2, 2]]), design.X[[7, 2, 2]], atol=1e-12)


@pytest.mark.parametrize(("text", "intercept", "labels"), ALGEBRA, ids=[a[0] for a in ALGEBRA])
def test_term_algebra_equals_r(text, intercept, labels):
    terms = expand_terms(text)
    assert (terms.labels, terms.intercept) == (labels, intercept)


def test_the_golden_file_is_whole():
    assert len(MATRICES) >= 60
    assert len(ALGEBRA) >= 25
    assert all(len(case["rows"]) == 12 for case in MATRICES)


def read_random():
    cases = []
    for line in (Path(__file__).parent / "golden_random_terms.txt").read_text(encoding="utf-8").splitlines():
        kind, *fields = line.split("\t")
        match kind:
            case "formula":
                cases.append({"text": fields[0], "terms": []})
            case "term":
                # lme4 writes f:(h:g) where we write f:h:g
                group = fields[0].replace("(", "").replace(")", "")
                cases[-1]["terms"].append((group, tuple(fields[1].split("|")), fields[2].split("|")))
            case "Zt":
                cases[-1]["Zt"] = (int(fields[0]), float(fields[1]), float(fields[2]))
    return cases


def random_data():
    d = data()
    return pd.DataFrame(
        {
            "y": [5, 3, 8, 1, 9, 2, 7, 4, 6, 0, 2.5, 3.5],
            "x": d.age,
            "f": d.f,
            "g": d.g,
            "h": d.h,
            "id": [10, 9, 2, 33] * 3,
            "ch": d.ch,
        }
    )


@pytest.mark.filterwarnings("ignore:'.*' splits by formula term:refglmm.errors.FormulaWarning")
@pytest.mark.parametrize("case", read_random(), ids=lambda c: c["text"])
def test_random_terms_equal_lme4(case):
    control = Checks(levels_vs_rows="ignore", effects_vs_rows="ignore")
    frame = build_frame(f"y ~ 1 + {case['text']}", random_data(), binomial=False)
    design = build_design(frame, control=control, mode="lme4")
    assert [(t.group, t.columns, list(t.levels)) for t in design.terms] == case["terms"]
    Z = design.Zt().toarray()
    w = np.sin(np.arange(1, Z.size + 1)).reshape(Z.shape, order="F")  # R counts down the columns
    rows, plain, squares = case["Zt"]
    assert Z.shape == (rows, 12)
    np.testing.assert_allclose([np.sum(Z * w), np.sum(Z**2 * w)], [plain, squares], rtol=1e-10)
