"""Windows, dual averaging and running moments against literal versions."""

import numpy as np
import pytest

from refglmm.bayes import adaptation


class TestSchedule:
    @pytest.mark.parametrize(
        ("warmup", "lengths"),
        [
            (1000, [75, 25, 50, 100, 200, 500, 50]),
            (300, [75, 25, 50, 100, 50]),
            (150, [75, 25, 50]),
            (149, [22, 113, 14]),
            (20, [3, 15, 2]),
            (19, [19]),
            (0, [0]),
        ],
    )
    def test_lengths(self, warmup, lengths):
        segments = adaptation.schedule(warmup)
        assert [segment.length for segment in segments] == lengths
        assert [segment.is_window for segment in segments] == [0 < i < len(lengths) - 1 for i in range(len(lengths))]

    def test_any_warmup_is_used_up_and_windows_grow(self):
        for warmup in range(20, 3000, 7):
            segments = adaptation.schedule(warmup)
            windows = [segment.length for segment in segments if segment.is_window]
            assert sum(segment.length for segment in segments) == warmup
            assert windows == sorted(windows)

    def test_without_a_metric_to_adapt(self):
        assert adaptation.schedule(1000, adapt_metric=False) == [(1000, False)]


def test_dual_averaging_against_the_formulas_of_its_paper():
    rng, state = np.random.default_rng(1), adaptation.new_averaging()
    adaptation.restart(state, 0.3)
    mu, h, log_bar = np.log(3.0), 0.0, np.log(0.3)
    for m, accept in enumerate(rng.random(50), start=1):
        adaptation.learn_step(state, accept, 0.8)
        h = (1 - 1 / (m + 10)) * h + (0.8 - accept) / (m + 10)
        log_step = mu - np.sqrt(m) / 0.05 * h
        log_bar = m**-0.75 * log_step + (1 - m**-0.75) * log_bar
        assert state.log_step[0] == pytest.approx(log_step, rel=1e-12)
        assert state.log_step_bar[0] == pytest.approx(log_bar, rel=1e-12)


def test_dual_averaging_finds_the_step_with_the_wanted_acceptance():
    state = adaptation.new_averaging()
    adaptation.restart(state, 5.0)
    for _ in range(2000):
        adaptation.learn_step(state, np.exp(-np.exp(state.log_step[0])), 0.8)
    assert np.exp(-np.exp(state.log_step_bar[0])) == pytest.approx(0.8, abs=0.005)


def test_moments_against_numpy():
    draws = np.random.default_rng(2).normal(3.0, 2.0, size=(40, 5))
    draws[:, 1] += draws[:, 0]
    moments = adaptation.new_moments(5, 3)
    for xi in draws:
        adaptation.learn_spread(moments, xi)
    expected = np.cov(draws.T)
    np.testing.assert_allclose(moments.mean, draws.mean(axis=0))
    np.testing.assert_allclose(adaptation.variances(moments, 0.0), 40 / 45 * np.diag(expected))
    np.testing.assert_allclose(adaptation.variances(moments, 2.0), 40 / 45 * np.diag(expected) + 5 / 45 * 2.0)
    shrunk = 40 / 45 * expected[:3, :3] + 5 / 45 * 0.1 * np.eye(3)
    np.testing.assert_allclose(adaptation.cross_covariance(moments, 0.1), shrunk)


@pytest.mark.parametrize("updates", [2, 60])
def test_a_few_updates_do_not_change_the_step_size(updates):
    state = adaptation.new_averaging()
    adaptation.restart(state, 0.3)
    for _ in range(updates):
        adaptation.learn_step(state, 0.8, 0.8)
    averaged = state.log_step_bar[0]
    assert averaged > np.log(0.6)
    adaptation.settle(state)
    assert state.log_step_bar[0] == pytest.approx(np.log(0.3) if updates == 2 else averaged)
