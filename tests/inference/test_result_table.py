"""How tables of tests look."""

from __future__ import annotations

import numpy as np
import pandas as pd

from refglmm.inference.result_table import ResultTable


def make(p):
    frame = pd.DataFrame(
        {"npar": [3, 4], "AIC": [1916.541058, 1802.078643], "Chisq": [np.nan, 116.462415], "Pr(>Chisq)": [np.nan, p]},
        index=["m0", "m1"],
    )
    return ResultTable(("Models:", "m0: y ~ 1"), frame, ("a note",), {"Chisq": 4})


def test_prints_as_r_does():
    lines = str(make(1e-20)).splitlines()
    assert lines[:2] == ["Models:", "m0: y ~ 1"]
    assert lines[2].split() == ["npar", "AIC", "Chisq", "Pr(>Chisq)"]
    assert lines[3].split() == ["m0", "3", "1916.5"]
    assert lines[4] == "m1    4 1802.1 116.46  < 2.2e-16 ***"
    assert lines[5] == "---"
    assert lines[-1] == "a note"


def test_no_legend_without_stars():
    text = str(make(0.4))
    assert "Signif" not in text
    assert "0.4" in text


def test_html_escapes_and_shows_everything():
    html = ResultTable(("a < b",), pd.DataFrame({"x": [1.5]}, index=["<none>"]))._repr_html_()
    assert "a &lt; b" in html
    assert "&lt;none&gt;" in html
    assert "1.5" in html


def test_it_indexes_like_its_frame_and_stays_as_it_is():
    table = make(0.01)
    copy = table.frame
    copy.loc["m0", "AIC"] = 0.0
    assert table.loc["m0", "AIC"] == 1916.541058
    assert list(table.index) == ["m0", "m1"]
    assert len(table) == 2
    assert table["npar"].tolist() == [3, 4]
    empty = ResultTable(("nothing",), pd.DataFrame(columns=["Chisq", "Pr(>Chisq)"], dtype=float))
    assert str(empty).splitlines()[0] == "nothing"
