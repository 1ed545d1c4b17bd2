"""One transition point by point: the record agrees with itself, with the leapfrog, and with the sampler."""

from itertools import pairwise

import numpy as np
import pytest
from log_densities import UNUSED, normal, parameters

from refglmm._jit import pure
from refglmm.bayes import whiten
from refglmm.bayes.adaptation import new_averaging, new_moments
from refglmm.bayes.segment import ACCEPT, N_LEAPFROG, TREEDEPTH, Plan, run_segment
from refglmm.bayes.stepping import trace_transition
from refglmm.bayes.trees import new_space
from refglmm.errors import ArgumentError, SamplingError
from refglmm.inference.tasks import seeds

COVARIANCE = np.array([[1.0, 0.7], [0.7, 2.0]])
TARGET = (pure(normal), parameters(np.zeros(2), np.linalg.inv(COVARIANCE)), UNUSED)
METRIC = whiten.diagonal(np.zeros(2), [1.0, 2.0])
START = np.array([0.5, -1.0])


def traced(step=0.4, seed=1, **options):
    return trace_transition(*TARGET, START, METRIC, step, seed=seed, **options)


@pytest.mark.parametrize("seed", range(6))
def test_points_lie_on_one_trajectory(seed):
    trace = traced(seed=seed)
    order, gradient = np.argsort(trace.time), np.empty(2)
    np.testing.assert_array_equal(np.diff(trace.time[order]), 1)
    np.testing.assert_array_equal(trace.position[0], START)
    for i, j in pairwise(order):
        TARGET[0](trace.position[i], gradient, *TARGET[1:])
        half = trace.momentum[i] + 0.2 * gradient * METRIC.scale
        np.testing.assert_allclose(trace.xi[j], trace.xi[i] + 0.4 * half, atol=1e-12)
    energy = [
        0.5 * p @ p - TARGET[0](x, gradient, *TARGET[1:])
        for x, p in zip(trace.position, trace.momentum, strict=True)
    ]  # fmt: skip
    np.testing.assert_allclose(trace.error, np.array(energy) - energy[0], atol=1e-12)
    assert trace.accept == pytest.approx(np.exp(-np.maximum(trace.error[1:], 0.0)).mean())
    np.testing.assert_array_equal(trace.doubling, np.repeat(range(20), [1, *2 ** np.arange(19)])[: len(trace.error)])


@pytest.mark.parametrize("seed", range(4))
def test_it_is_the_transition_of_the_compiled_sampler(seed):
    """From the same state, with the same stream and step size."""
    trace, averaging, xi = traced(seed=seed), new_averaging(), np.empty(2)
    averaging.log_step_bar[0] = np.log(0.4)
    whiten.standardise(METRIC, START, xi)
    position, numbers, counter = np.empty((1, 2)), np.zeros((1, 7)), np.zeros(1, dtype=np.int64)
    stream = np.random.Generator(np.random.Philox(seeds(seed, 1)[0]))
    plan = Plan(1, 10, False, False, False, False, 0.8)
    rest = (new_moments(2, 0), new_space(2, 10), METRIC, position, numbers, plan, counter, counter.copy(), stream)
    assert run_segment(xi, averaging, *rest, normal, *TARGET[1:]) == 1
    np.testing.assert_allclose(trace.position[trace.chosen], position[0], atol=1e-12)
    assert (numbers[0, TREEDEPTH], numbers[0, N_LEAPFROG]) == (trace.depth, len(trace.error) - 1)
    assert numbers[0, ACCEPT] == pytest.approx(trace.accept, abs=1e-12)


def test_seeds_choose_different_points():
    assert len({traced(seed=seed).chosen for seed in range(12)}) > 3
    assert traced(seed=3).chosen == traced(seed=3).chosen


def test_the_part_that_turned_back_turns_back():
    reasons = set()
    for seed in range(40):
        trace = traced(seed=seed, step=0.3)
        reasons.add(trace.reason)
        part = trace.ended_by[np.argsort(trace.time[trace.ended_by])]
        momenta = trace.momentum[part]
        if trace.reason == "the momenta at its ends point back along it":
            rho = momenta.sum(axis=0)
            assert min(rho @ momenta[0], rho @ momenta[-1]) <= 0.0
        assert trace.chosen not in trace.ended_by or len(trace.ended_by) == len(trace.error)
    assert len(reasons) >= 2


def turns(momenta):
    """The three criteria for two halves of a stretch of momenta, in order of time."""
    half = len(momenta) // 2
    stretches = (momenta, momenta[: half + 1], momenta[half - 1 :])
    return any(min(p.sum(axis=0) @ p[0], p.sum(axis=0) @ p[-1]) <= 0.0 for p in stretches)


def test_it_ends_with_the_first_subtree_that_turns_back():
    reasons = set()
    for seed in range(60):
        trace = traced(seed=seed, step=0.7)
        reasons.add(trace.reason)
        n = len(trace.error)
        for level in range(1, 8):
            for doubling in range(level + 1, 9):
                for first in range(2 ** (doubling - 1), 2**doubling, 2**level):
                    part = np.arange(first, first + 2**level)
                    if part[-1] < n:
                        momenta = trace.momentum[part[np.argsort(trace.time[part])]]
                        assert turns(momenta) == np.array_equal(part, trace.ended_by)
    assert len(reasons) == 3


def test_a_divergence_names_its_point():
    trace = traced(step=60.0)
    assert trace.reason == "the energy rose by more than 1000"
    assert list(trace.ended_by) == [len(trace.error) - 1]
    assert trace.chosen == 0
    assert "1 leapfrog steps" in repr(trace)


def test_no_more_doublings_than_allowed():
    trace = traced(step=0.01, max_treedepth=3)
    assert (len(trace.error), trace.depth, trace.ended_by.size) == (8, 3, 0)
    assert trace.reason == "it had doubled as often as it may"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step": 0.0}, "step_size must be positive, not 0"),
        ({"max_treedepth": 13}, "max_treedepth must lie between 1 and 12, not 13"),
        ({"variant": "static"}, "variant must be one of multinomial, slice, not 'static'"),
    ],
)
def test_arguments(options, message):
    with pytest.raises(ArgumentError, match=message):
        traced(**options)


def test_start():
    with pytest.raises(ArgumentError, match=r"position must have shape \(2,\), not \(3,\)"):
        trace_transition(*TARGET, np.zeros(3), METRIC, 0.1)
    with pytest.raises(SamplingError, match="the transition cannot start: the log density there is -inf"):
        trace_transition(lambda *_: -np.inf, None, None, START, METRIC, 0.1)
