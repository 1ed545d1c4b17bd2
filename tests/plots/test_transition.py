"""What stands in the picture of a transition, point for point."""

import numpy as np
import pytest

from refglmm.bayes import whiten
from refglmm.bayes.stepping import trace_transition
from refglmm.errors import ArgumentError
from refglmm.plots import plot_transition


def standard(position, gradient, target, log_likelihood):
    gradient[:] = -position
    return -0.5 * position @ position


def traced(step=0.3, **options):
    metric = whiten.diagonal(np.zeros(3), [1.0, 2.0, 3.0])
    return trace_transition(standard, None, None, [1.0, 0.5, -1.0], metric, step, seed=2, **options)


def test_trajectory_tree_and_energy():
    trace = traced()
    path, tree, energy = plot_transition(trace, (2, 0), names=("c", "a"))
    order = np.argsort(trace.time)
    np.testing.assert_array_equal(path.lines[0].get_xdata(), trace.position[order, 2])
    np.testing.assert_array_equal(path.lines[0].get_ydata(), trace.position[order, 0])
    assert (path.get_xlabel(), path.get_ylabel()) == ("c", "a")
    labels = path.get_legend_handles_labels()[1]
    assert labels[0] == "part that turned back"
    assert labels[-2:] == ["start", "chosen"]
    np.testing.assert_array_equal(energy.lines[1].get_ydata(), trace.error[order])
    strongest = max(tree.lines, key=lambda line: line.get_linewidth())
    times = trace.time[trace.ended_by]
    assert (min(strongest.get_xdata()), max(strongest.get_xdata())) == (times.min(), times.max())
    assert "It ended because the shaded part turned back" in path.figure.get_suptitle().replace("\n", " ")


def test_divergence():
    trace = traced(step=90.0)
    path, _, energy = trace.plot(whitened=True)
    assert path.get_legend_handles_labels()[1][-1] == "diverged"
    assert path.get_xlabel() == "xi[0]"
    assert energy.get_ylabel() == "energy error (cut at 8)"


def test_pair_must_exist():
    with pytest.raises(ArgumentError, match=r"pair must be two coordinates from 0 to 2, not \(0, 3\)"):
        plot_transition(traced(), (0, 3))
