from __future__ import annotations

import numpy as np

from refglmm.fit.trace import evaluations_frame
from refglmm.optimize.records import Evaluation


def test_one_row_an_evaluation_with_named_parameters(linear):
    case = linear(True)
    frame = case.fit.trace.evaluations
    assert list(frame.columns[:5]) == ["stage", "number", "value", "pirls_iterations", "pirls_halvings"]
    assert len(case.fit.trace) == len(frame) == 2
    np.testing.assert_array_equal(frame.loc[1, ["par0", "par1", "par2", "par3"]].astype(float), case.par)
    assert frame["value"].tolist() == [190.0, case.value]


def test_profiled_stages_have_no_beta_and_their_shapes_keep_their_place():
    records = (
        Evaluation("theta", 1, np.array([1.0, 7.0]), 10.0, 3, 1),
        Evaluation("joint", 1, np.array([1.0, 2.0, 3.0, 7.0]), 9.0, 4, 0),
    )
    frame = evaluations_frame(records, ("theta",), ("a", "b"), ("log(phi)",))
    assert frame["a"].isna().tolist() == [True, False]
    assert frame["log(phi)"].tolist() == [7.0, 7.0]
    assert frame.loc[1, ["theta", "a", "b"]].tolist() == [1.0, 2.0, 3.0]
    assert frame["pirls_halvings"].tolist() == [1, 0]


def test_long_tables_print_their_ends(poisson):
    fit = poisson().fit
    text = str(fit.trace)
    lines = text.splitlines()
    assert "Objective evaluations (30)" in lines
    assert sum(line.startswith("theta") for line in lines) == 20
    assert sum(line.startswith("...") for line in lines) == 1
    assert "PIRLS iterations (1)" in lines
    assert lines[0].startswith("joint: bobyqa, 30 evaluations")
    assert repr(fit.trace) == text


def test_pirls_iterations_come_as_recorded(poisson, linear):
    fit = poisson().fit
    assert fit.trace.pirls.iloc[0].to_dict() == fit.optimum.pirls_trace[0]
    assert fit.trace._repr_html_().count("<table>") == 2
    assert len(linear(True).fit.trace.pirls) == 0


def test_tables_are_copies(poisson):
    fit = poisson().fit
    table = fit.trace.evaluations
    table.loc[:, "value"] = 0.0
    assert fit.trace.evaluations["value"].min() == 200.0
