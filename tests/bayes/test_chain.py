"""Chains: known targets, the same numbers however they are made, interruption, errors."""

import _thread
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from log_densities import NU, UNUSED, independent, normal, parameters, student
from scipy import stats

from refglmm._jit import pure
from refglmm.bayes import chain, whiten
from refglmm.bayes.chain import Chains, sample_chains
from refglmm.errors import ArgumentError, InterruptedWarning, SamplingError, SamplingWarning

RNG = np.random.default_rng(11)
D = 5
FACTOR = np.tril(RNG.normal(size=(D, D))) + 1.5 * np.eye(D)
COVARIANCE, CENTER = FACTOR @ FACTOR.T, np.arange(D, dtype=float)
NORMAL = (normal, parameters(CENTER, np.linalg.inv(COVARIANCE)), UNUSED)
UNIT = whiten.diagonal(np.zeros(D), np.ones(D))
SHORT = {"warmup": 40, "draws": 15, "seed": 3}


def starts(chains=4, d=D):
    return np.random.default_rng(1).normal(size=(chains, d))


def within_mcse(values, expected, most=4.0):
    """Whether means lie within this many standard errors, from 20 batches a chain; values (chains, draws, k)."""
    chains, draws, k = values.shape
    batches = values[:, : draws // 20 * 20].reshape(chains * 20, draws // 20, k).mean(axis=1)
    return np.abs(batches.mean(axis=0) - expected) / (batches.std(axis=0, ddof=1) / np.sqrt(len(batches))) < most


@pytest.mark.parametrize("variant", ["multinomial", "slice"])
@pytest.mark.parametrize("metric", ["laplace", "diag", "dense"])
def test_correlated_normal(metric, variant):
    found = sample_chains(*NORMAL, starts(), UNIT, warmup=500, draws=1000, metric=metric, variant=variant, seed=1)
    centred = found.positions - CENTER
    assert within_mcse(centred, 0.0).all()
    products = (centred[..., :, None] * centred[..., None, :]).reshape(4, 1000, D * D)
    assert within_mcse(products, COVARIANCE.ravel()).all()
    assert within_mcse(found.stats["lp"][..., None], -D / 2).all()
    assert not found.stats["divergent"].any()
    assert 0.75 < found.stats["accept"].mean() < 0.97
    assert np.ptp(found.stats["step_size"], axis=1).max() == 0.0
    np.testing.assert_array_equal(found.stats["step_size"][:, 0] > 0.0, True)


def test_the_right_metric_needs_fewer_steps():
    found = {
        name: sample_chains(*NORMAL, starts(), metric, warmup=300, draws=300, adapt_metric=False, seed=1)
        for name, metric in (("unit", UNIT), ("dense", whiten.dense(CENTER, COVARIANCE)))
    }
    assert found["dense"].stats["n_leapfrog"].mean() < 0.6 * found["unit"].stats["n_leapfrog"].mean()


def test_windows_learn_the_covariance():
    found = sample_chains(*NORMAL, starts(), UNIT, metric="dense", seed=1)
    for metric in found.whitenings:
        ratio = np.linalg.eigvals(np.linalg.solve(COVARIANCE, whiten.covariance(metric))).real
        assert 0.7 < ratio.min() < ratio.max() < 1.4
    laplace = sample_chains(*NORMAL, starts(), whiten.dense(CENTER, 9.0 * COVARIANCE), seed=1)
    for metric in laplace.whitenings:
        np.testing.assert_allclose(metric.scale, 1 / 3, rtol=0.2)


def test_heavy_tails():
    target = (student, parameters(np.zeros(3)), UNUSED)
    found = sample_chains(*target, starts(d=3), whiten.diagonal(np.zeros(3), np.ones(3)), draws=2000, seed=2)
    for bound in (-2.0, -0.5, 0.0, 1.0, 3.0):
        assert within_mcse((found.positions < bound).astype(float), stats.t(NU).cdf(bound)).all()


def test_a_hundred_scales():
    sd = np.geomspace(1e-3, 1e3, 100)
    target = parameters(np.zeros(100))
    target.slope_matrix[0] = sd**-2
    start = starts(4, 100) * sd
    found = sample_chains(independent, target, UNUSED, start, whiten.diagonal(np.zeros(100), np.ones(100)),
                          metric="diag", warmup=1000, draws=500, seed=3)  # fmt: skip
    z = found.positions / sd
    assert within_mcse(z, 0.0, 4.5).all()
    assert within_mcse(z**2, 1.0, 4.5).all()
    for metric in found.whitenings:
        np.testing.assert_allclose(metric.scale, sd, rtol=0.35)


class TestSameNumbers:
    @staticmethod
    def same(a, b):
        np.testing.assert_array_equal(a.positions, b.positions)
        for name in a.stats:
            np.testing.assert_array_equal(a.stats[name], b.stats[name])
            np.testing.assert_array_equal(a.warmup_stats[name], b.warmup_stats[name])
        for mine, other in zip(a.whitenings, b.whitenings, strict=True):
            for x, y in zip(mine, other, strict=True):
                np.testing.assert_array_equal(x, y)

    def test_whatever_the_number_of_threads(self):
        found = [sample_chains(*NORMAL, starts(), UNIT, warmup=100, draws=50, seed=5, threads=n) for n in (1, 2, 4)]
        self.same(found[0], found[1])
        self.same(found[0], found[2])
        assert not np.array_equal(found[0].positions[0], found[0].positions[1])

    def test_a_chain_does_not_depend_on_the_others(self):
        start = starts(4)
        two, four = (sample_chains(*NORMAL, start[:n], UNIT, **SHORT) for n in (2, 4))
        np.testing.assert_array_equal(two.positions, four.positions[:2])

    def test_another_seed_gives_others(self):
        first, second = (sample_chains(*NORMAL, starts(), UNIT, warmup=20, draws=3, seed=n) for n in (1, 2))
        assert not np.array_equal(first.positions, second.positions)

    def test_goes_on_from_a_checkpoint(self, tmp_path):
        asked = {"warmup": 120, "seed": 5, "thin": 2}
        whole = sample_chains(*NORMAL, starts(), UNIT, draws=45, **asked)
        first = sample_chains(*NORMAL, starts(), UNIT, draws=12, checkpoint=tmp_path, **asked)
        np.testing.assert_array_equal(first.positions, whole.positions[:, :12])
        (tmp_path / "chain-2.npz").unlink()  # one that had not come so far
        self.same(whole, sample_chains(*NORMAL, starts(), UNIT, draws=45, checkpoint=tmp_path, **asked))
        self.same(whole, sample_chains(*NORMAL, starts(), UNIT, draws=45, checkpoint=tmp_path, **asked))

    def test_a_checkpoint_of_another_run_is_refused(self, tmp_path):
        asked = {"warmup": 20, "draws": 4, "checkpoint": tmp_path}
        sample_chains(*NORMAL, starts(), UNIT, seed=5, **asked)
        with pytest.raises(ArgumentError, match=r"chain-1.npz was written by a run with another delta, seed;"):
            sample_chains(*NORMAL, starts(), UNIT, seed=6, delta=0.9, **asked)
        with pytest.raises(ArgumentError, match=r"another draws \(4 are there, 2 are asked for\)"):
            sample_chains(*NORMAL, starts(), UNIT, seed=5, **{**asked, "draws": 2})

    @pytest.mark.parametrize("variant", ["multinomial", "slice"])
    def test_interpreted_as_compiled(self, variant):
        metric = whiten.hybrid(CENTER, COVARIANCE[:2, :2], np.ones(3))
        asked = {"warmup": 22, "draws": 4, "seed": 8, "metric": "hybrid", "variant": variant, "max_treedepth": 5}
        compiled = sample_chains(*NORMAL, starts(2), metric, **asked)
        interpreted = sample_chains(pure(normal), *NORMAL[1:], starts(2), metric, **asked)
        np.testing.assert_allclose(interpreted.positions, compiled.positions, rtol=1e-9, atol=1e-9)
        np.testing.assert_array_equal(interpreted.stats["n_leapfrog"], compiled.stats["n_leapfrog"])

    def test_a_few_transitions_interpreted_to_the_last_digits(self):
        asked = {"warmup": 0, "draws": 5, "seed": 8}
        compiled = sample_chains(*NORMAL, starts(2), UNIT, **asked)
        interpreted = sample_chains(pure(normal), *NORMAL[1:], starts(2), UNIT, **asked)
        np.testing.assert_allclose(interpreted.positions, compiled.positions, rtol=1e-12, atol=1e-12)


def test_without_the_compiler():
    """The whole sampler is plain Python under NUMBA_DISABLE_JIT=1."""
    script = (
        "import numpy as np, log_densities as l; from refglmm.bayes import whiten, chain\n"
        "f = chain.sample_chains(l.normal, l.parameters(np.zeros(2)), l.UNUSED, np.ones((1, 2)),"
        " whiten.diagonal(np.zeros(2), np.ones(2)), warmup=20, draws=3, seed=1)\n"
        "print(f.positions.tolist())"
    )
    folder = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": f"{folder}{os.pathsep}{folder / 'tests'}"}
    shown = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    target, metric = parameters(np.zeros(2)), whiten.diagonal(np.zeros(2), np.ones(2))
    here = sample_chains(normal, target, UNUSED, np.ones((1, 2)), metric, warmup=20, draws=3, seed=1)
    np.testing.assert_allclose(np.array(eval(shown.stdout)), here.positions, rtol=1e-9)


class TestThinning:
    def test_keeps_every_second_draw_and_no_step_is_forgotten(self):
        all_of_them = sample_chains(*NORMAL, starts(), UNIT, warmup=30, draws=20, seed=4)
        thinned = sample_chains(*NORMAL, starts(), UNIT, warmup=30, draws=10, thin=2, seed=4)
        np.testing.assert_array_equal(thinned.positions, all_of_them.positions[:, 1::2])
        np.testing.assert_array_equal(thinned.stats["lp"], all_of_them.stats["lp"][:, 1::2])
        pairs = {name: values.reshape(4, 10, 2) for name, values in all_of_them.stats.items()}
        np.testing.assert_array_equal(thinned.stats["n_leapfrog"], pairs["n_leapfrog"].sum(axis=2))
        np.testing.assert_array_equal(thinned.stats["treedepth"], pairs["treedepth"].max(axis=2))
        np.testing.assert_allclose(thinned.stats["accept"], pairs["accept"].mean(axis=2))


def test_statistics_belong_to_the_draws():
    found = sample_chains(*NORMAL, starts(), UNIT, **SHORT)
    gradient = np.empty(D)
    lp = [[normal(x, gradient, *NORMAL[1:]) for x in draws] for draws in found.positions]
    np.testing.assert_allclose(found.stats["lp"], lp, rtol=1e-10)
    assert (found.stats["energy"] >= -found.stats["lp"]).all()
    assert (found.stats["n_leapfrog"] <= 2.0 ** (found.stats["treedepth"] + 1) - 1).all()
    assert found.stats["divergent"].dtype == bool
    assert found.warmup_stats["lp"].shape == (4, 40)
    assert found.numbers == (0, 1, 2, 3)
    assert found.is_complete


class TestInterruption:
    def test_keeps_the_draws_so_far_and_says_so(self, monkeypatch):
        def interrupt(futures, chains, bar):
            while min(chain.progress[0] for chain in chains[:2]) < 300:
                time.sleep(1e-3)
            raise KeyboardInterrupt

        monkeypatch.setattr(chain, "_watch", interrupt)
        asked = {"warmup": 20, "seed": 5, "threads": 2}
        with pytest.warns(InterruptedWarning, match=r"of 3000000 draws are kept, of [12] of 4 chains") as caught:
            found = sample_chains(*NORMAL, starts(), UNIT, draws=3_000_000, **asked)
        kept, numbers = found.positions.shape[1], list(found.numbers)
        assert 250 < kept < 3_000_000
        assert caught[0].message.facts == {"draws": kept, "chains": [c + 1 for c in numbers]}
        assert not found.is_complete
        assert set(numbers) <= {0, 1}
        assert found.stats["lp"].shape == (len(numbers), kept)
        monkeypatch.undo()
        whole = sample_chains(*NORMAL, starts(), UNIT, draws=250, **asked)
        np.testing.assert_array_equal(found.positions[:, :250], whole.positions[numbers])

    def test_nothing_is_kept_of_a_warmup(self):
        timer = threading.Timer(0.3, _thread.interrupt_main)
        timer.start()
        with pytest.raises(KeyboardInterrupt, match="before there were any draws"):
            sample_chains(*NORMAL, starts(), UNIT, warmup=3_000_000, draws=10, seed=5)
        timer.join()

    @pytest.mark.parametrize(
        ("done", "expected"),
        [
            ([100, 90, 10, 0], ([0, 1], 90)),
            ([40, 100, 40, 40], ([0, 1, 2, 3], 40)),
            ([0, 7, 0, 0], ([1], 7)),
            ([0, 0], ([0], 0)),
        ],
    )
    def test_which_draws_are_kept(self, done, expected):
        assert chain.most_draws(done) == expected


class TestProgress:
    def test_bar_counts_all_transitions(self, monkeypatch):
        class Bar:
            n = 0

            def update(self, more):
                self.n += more

        bar, asked = Bar(), []

        @contextmanager
        def shown(*arguments):
            asked.extend(arguments)
            yield bar

        monkeypatch.setattr(chain, "progress_bar", shown)
        sample_chains(*NORMAL, starts(), UNIT, progress=True, **SHORT)
        assert asked == [220, "sampling", True]
        assert bar.n == 220

    def test_silent_when_nobody_looks(self, capsys):
        sample_chains(*NORMAL, starts(), UNIT, **SHORT)
        assert capsys.readouterr().err == ""


def wall(position, gradient, target, log_likelihood):
    gradient[:] = 0.0
    return 0.0 if np.all(position == 1.0) else -np.inf


def endless(position, gradient, target, log_likelihood):
    gradient[:] = 0.0
    return 0.0


def rough(position, gradient, target, log_likelihood):
    """A step size is found, but every trajectory meets a wall."""
    gradient[:] = 0.0
    return 0.0 if np.abs(position - 1.0).max() < 1e-3 else -np.inf


class TestErrors:
    def test_start_without_density(self):
        start = starts()
        start[2] = np.inf
        with pytest.raises(SamplingError, match="chain 3 cannot start: the log density there is") as caught:
            sample_chains(*NORMAL, start, UNIT)
        assert caught.value.facts["chain"] == 3

    def test_start_without_gradient(self):
        def broken(position, gradient, target, log_likelihood):
            gradient[:] = [0.0, np.nan, 0.0, 0.0, 0.0]
            return 0.0

        with pytest.raises(SamplingError, match="the gradient of the log density there is nan for parameter 1"):
            sample_chains(broken, *NORMAL[1:], starts(), UNIT)

    @pytest.mark.parametrize("log_density", [wall, endless])
    def test_no_step_size(self, log_density):
        with pytest.raises(SamplingError, match=r"no step size gives an acceptance near 0\.8"):
            sample_chains(log_density, *NORMAL[1:], np.ones((2, D)), UNIT, seed=1)

    def test_nothing_but_divergences(self):
        with pytest.raises(SamplingError, match="every transition of all 2 chains diverged"):
            sample_chains(rough, *NORMAL[1:], np.ones((2, D)), UNIT, warmup=0, draws=20, seed=1)

    def test_one_chain_that_only_diverges(self):
        def trap(position, gradient, target, log_likelihood):
            if position[0] > 50.0:
                return rough(position - 99.0, gradient, target, log_likelihood)
            gradient[:] = -position
            return -0.5 * position @ position

        start = np.array([np.zeros(D), np.full(D, 100.0)])
        with pytest.warns(SamplingWarning, match="every transition of chain 2 diverged"):
            sample_chains(trap, *NORMAL[1:], start, UNIT, warmup=0, draws=20, seed=1)

    def test_too_few_draws_for_a_dense_metric(self):
        target, unit = parameters(np.zeros(6)), whiten.diagonal(np.zeros(6), np.ones(6))
        message = "covariance of 6 parameters needs a warmup window of 18 draws, the longest of warmup=20 has 15"
        with pytest.warns(SamplingWarning, match=message):
            found = sample_chains(
                normal, target, UNUSED, starts(1, 6), unit, metric="dense", warmup=20, draws=2, seed=1
            )
        np.testing.assert_array_equal(found.whitenings[0].C, np.eye(6))
        assert not np.array_equal(found.whitenings[0].scale, np.ones(6))

    @pytest.mark.parametrize(
        ("asked", "message"),
        [
            ({"draws": 0}, "draws must be a whole number of at least 1, not 0"),
            ({"warmup": 2.5}, "warmup must be a whole number of at least 0, not 2.5"),
            ({"thin": True}, "thin must be a whole number of at least 1, not True"),
            ({"threads": 0}, "threads must be a whole number of at least 1, not 0"),
            ({"max_treedepth": 40}, "max_treedepth must be at most 30, not 40"),
            ({"delta": 1.0}, "delta, the wanted acceptance, must lie between 0 and 1, not 1.0"),
            ({"metric": "euclid"}, "metric must be one of laplace, diag, dense, hybrid, not 'euclid'"),
            ({"variant": "static"}, "variant must be one of multinomial, slice, not 'static'"),
            ({"metric": "hybrid"}, "needs a whitening that tells hyperparameters from random effects"),
            ({"seed": -1}, "seed must be a non-negative integer"),
        ],
    )
    def test_arguments(self, asked, message):
        with pytest.raises(ArgumentError, match=message):
            sample_chains(*NORMAL, starts(), UNIT, **asked)

    def test_shape_of_the_starts(self):
        with pytest.raises(ArgumentError, match=r"start_positions must have shape \(chains, 5\), not \(4, 3\)"):
            sample_chains(*NORMAL, starts(d=3), UNIT)

    def test_dense_metric_of_many_parameters(self):
        d = 2001
        with pytest.raises(ArgumentError, match="metric='dense' with 2001 parameters would need a matrix"):
            sample_chains(
                independent, parameters(np.zeros(d)), UNUSED, starts(1, d),
                whiten.diagonal(np.zeros(d), np.ones(d)), metric="dense",
            )  # fmt: skip

    def test_checkpoint_must_be_a_folder(self, tmp_path):
        file = tmp_path / "state"
        file.write_text("")
        with pytest.raises(ArgumentError, match="checkpoint must name a folder"):
            sample_chains(*NORMAL, starts(), UNIT, checkpoint=file)


def test_what_the_caller_owns_is_left_alone():
    start, metric = starts(), whiten.diagonal(np.zeros(D), np.ones(D))
    before = start.copy()
    found = sample_chains(*NORMAL, start, metric, **SHORT)
    assert isinstance(found, Chains)
    np.testing.assert_array_equal(start, before)
    np.testing.assert_array_equal(metric.scale, np.ones(D))
