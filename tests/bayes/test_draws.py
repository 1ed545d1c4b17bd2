from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pandas as pd
import pytest

from refglmm.bayes.draw_files import FORMAT, VERSION
from refglmm.bayes.draws import Draws, base_name, chosen
from refglmm.errors import ArgumentError

NAMES = ("Intercept", "b[talk]", "b[perf]", "sd[group:Int]", "corr[group:Int,talk]")


def make(chains=3, draws=40, d=6, names=NAMES, seed=1, **metadata):
    rng = np.random.default_rng(seed)
    shape = (chains, draws)
    stats = {
        "lp": rng.standard_normal(shape),
        "accept": rng.random(shape),
        "treedepth": rng.integers(1, 6, shape),
        "n_leapfrog": rng.integers(1, 32, shape),
        "divergent": rng.random(shape) < 0.1,
        "energy": rng.standard_normal(shape),
        "step_size": np.full(shape, 0.3),
    }
    metadata = {"model": "sat ~ talk", "seed": 3} | metadata
    return Draws(rng.standard_normal((*shape, d)), rng.standard_normal((*shape, len(names))), names, stats, metadata)


def assert_same(a, b):
    """Every bit, every type."""
    assert a.names == b.names
    assert dict(a.metadata) == dict(b.metadata)
    assert list(a.stats) == list(b.stats)
    pairs = [(a.positions, b.positions), (a.values, b.values), *((a.stats[k], b.stats[k]) for k in a.stats)]
    for one, other in pairs:
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        assert one.tobytes() == other.tobytes()


# -- container ---------------------------------------------------------------------------------------------------


def test_sizes():
    draws = make()
    assert (draws.n_chains, draws.n_draws, len(draws)) == (3, 40, 120)
    assert draws.stack().shape == (120, 5)
    np.testing.assert_array_equal(draws.stack()[40:80], draws.values[1])
    assert draws.n_divergent == int(draws.stats["divergent"].sum()) > 0
    assert Draws(draws.positions, draws.values, NAMES).n_divergent == 0


def test_nothing_can_be_changed_and_nothing_of_the_caller_is():
    values = np.zeros((2, 3, 1))
    lp = np.zeros((2, 3))
    facts = {"nested": {"a": [1]}}
    draws = Draws(np.zeros((2, 3, 4)), values, ["x"], {"lp": lp}, facts)
    values[...] = lp[...] = 7.0
    facts["nested"]["a"].append(2)
    assert draws.values.max() == draws.stats["lp"].max() == 0.0
    assert draws.metadata["nested"] == {"a": [1]}
    for array in (draws.values, draws.positions, draws.stats["lp"], draws["x"], draws.stack()):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1.0
    with pytest.raises(TypeError):
        draws.stats["more"] = lp
    with pytest.raises(AttributeError):
        draws.names = ("y",)
    assert values.flags.writeable


def test_a_read_only_array_is_not_copied():
    values = np.zeros((2, 3, 1))
    values.setflags(write=False)
    assert Draws(np.zeros((2, 3, 0)), values, ["x"]).values is values


def test_copies_and_pickles_are_the_same():
    draws = make()
    assert_same(pickle.loads(pickle.dumps(draws)), draws)
    assert_same(copy.deepcopy(draws), draws)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": np.zeros((2, 3))}, r"values must be of shape \(chains, draws, columns\), not \(2, 3\)"),
        ({"positions": np.zeros((2, 4, 1))}, "values are of 2 chains x 3 draws, but positions of 2 chains x 4 draws"),
        ({"stats": {"lp": np.zeros((1, 3))}}, r"2 chains x 3 draws, but stats\['lp'\] of 1 chain x 3 draws"),
        ({"stats": {"lp": [["a"] * 3] * 2}}, r"stats\['lp'\] must hold numbers"),
        ({"names": ["x"]}, "1 names for 2 quantities"),
        ({"names": ["x", "x"]}, "names must differ; x stand for several"),
        ({"names": ["x", 1]}, "names must be text"),
        ({"values": "text"}, "values must hold numbers"),
    ],
)
def test_what_does_not_go_together_is_refused(change, message):
    parts = {"positions": np.zeros((2, 3, 1)), "values": np.zeros((2, 3, 2)), "names": ["x", "y"]} | change
    with pytest.raises(ArgumentError, match=message):
        Draws(**parts)


# -- access ------------------------------------------------------------------------------------------------------


def test_one_quantity_by_its_label():
    draws = make()
    np.testing.assert_array_equal(draws["b[perf]"], draws.values[:, :, 2])
    np.testing.assert_array_equal(draws["lp"], draws.stats["lp"])
    assert "b[perf]" in draws
    assert "b" not in draws
    with pytest.raises(ArgumentError, match=r"'b' has the elements b\[talk\], b\[perf\].*select\('b'\)"):
        draws["b"]
    with pytest.raises(ArgumentError, match=r"no quantity 'b\[tlak\]'; did you mean b\[talk\]"):
        draws["b[tlak]"]
    with pytest.raises(ArgumentError, match="takes one label, not 0"):
        draws[0]
    with pytest.raises(TypeError):
        iter(draws)


@pytest.mark.parametrize(
    ("pars", "expected"),
    [
        (None, [0, 1, 2, 3, 4]),
        ("b", [1, 2]),
        ("b[perf]", [2]),
        (["b[perf]", "b"], [2, 1]),
        (["sd", "Intercept"], [3, 0]),
        ("-b", [0, 3, 4]),
        (["b", "-b[talk]"], [2]),
        (["-sd", "-corr", "-Intercept"], [1, 2]),
        (0, [0]),
        ([-1, np.int64(1)], [4, 1]),
        (np.array([3, 0]), [3, 0]),
        (("corr[group:Int,talk]",), [4]),
        ("corr[Int,talk]", [4]),
        (["sd[Int]", "-b"], [3]),
    ],
)
def test_selection(pars, expected):
    draws = make()
    assert chosen(NAMES, pars) == expected
    part = draws.select(pars)
    assert part.names == tuple(NAMES[k] for k in expected)
    np.testing.assert_array_equal(part.values, draws.values[:, :, expected])
    assert part.positions is draws.positions
    assert dict(part.metadata) == dict(draws.metadata)


@pytest.mark.parametrize(
    ("pars", "message"),
    [
        ("zzz", r"no quantity 'zzz'; there are: Intercept, b\[talk\]"),
        ("intercept", "did you mean Intercept"),
        ("-bb", "no quantity 'bb'"),
        (5, "no quantity number 5; there are 5"),
        (-6, "no quantity number -6"),
        ([True], "positions, not True"),
        ([1.5], "positions, not 1.5"),
        (2.5, "positions, not 2.5"),
        ([], "leaves no quantity"),
        (["b", "-b"], "leaves no quantity"),
    ],
)
def test_selection_of_what_is_not_there(pars, message):
    with pytest.raises(ArgumentError, match=message):
        make().select(pars)


def test_base_names():
    assert [base_name(name) for name in NAMES] == ["Intercept", "b", "b", "sd", "corr"]


# -- tables ------------------------------------------------------------------------------------------------------


def test_frames():
    draws = make()
    frame = draws.to_frame("b", chains=True)
    assert list(frame.columns) == ["chain", "draw", "b[talk]", "b[perf]"]
    row = frame[(frame["chain"] == 2) & (frame["draw"] == 5)]
    assert row["b[perf]"].item() == draws.values[1, 4, 2]
    frame = draws.to_frame()
    frame.iloc[0, 0] = 99.0
    assert draws.values[0, 0, 0] != 99.0


def test_summaries_are_those_of_the_frame():
    draws = make()
    frame = draws.to_frame()
    pd.testing.assert_series_equal(draws.mean(), frame.mean(), check_names=False, rtol=1e-12)
    pd.testing.assert_series_equal(draws.sd(["b"]), frame[["b[talk]", "b[perf]"]].std(), check_names=False, rtol=1e-12)
    quantiles = draws.quantile([0.1, 0.5], "sd")
    assert list(quantiles.columns) == ["10 %", "50 %"]
    np.testing.assert_allclose(quantiles.loc["sd[group:Int]"], frame["sd[group:Int]"].quantile([0.1, 0.5]), rtol=1e-12)
    assert list(draws.quantile().columns) == ["2.5 %", "50 %", "97.5 %"]
    assert list(draws.quantile(0.25).columns) == ["25 %"]
    for q in (1.2, [-0.1], [[0.5]], np.nan):
        with pytest.raises(ArgumentError, match="probabilities between 0 and 1"):
            draws.quantile(q)


def test_printed():
    draws = make()
    lines = repr(draws).splitlines()
    assert lines[0] == "Draws: 3 chains x 40 draws, 5 quantities"
    assert lines[1].split() == ["mean", "sd", "2.5", "%", "50", "%", "97.5", "%"]
    assert len(lines) == 2 + 5 + 1
    assert lines[-1] == f"{draws.n_divergent} of 120 transitions diverged"
    html = draws._repr_html_()
    assert html.count("<tr>") == 6
    assert "transitions diverged" in html
    many = make(names=tuple(f"r[{k}]" for k in range(25)))
    assert "... and 15 more" in repr(many)
    assert repr(Draws(np.zeros((1, 0, 2)), np.zeros((1, 0, 1)), ["x"])) == "Draws: 1 chain x 0 draws, 1 quantity"


# -- resumed runs ------------------------------------------------------------------------------------------------


def test_resumed_parts_are_one_run():
    first, second, third = make(draws=10), make(draws=15, seed=2), make(draws=5, seed=3)
    whole = Draws.concatenate([first, second, third])
    assert (whole.n_chains, whole.n_draws) == (3, 30)
    np.testing.assert_array_equal(whole.values[:, 10:25], second.values)
    np.testing.assert_array_equal(whole.positions[:, 25:], third.positions)
    np.testing.assert_array_equal(whole.stats["divergent"][:, :10], first.stats["divergent"])
    assert whole.stats["divergent"].dtype == bool
    assert whole.metadata["parts"] == [10, 15, 5]
    stepwise = Draws.concatenate([Draws.concatenate([first, second]), third])
    assert_same(stepwise, whole)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"chains": 2}, "number of chains of part 2: 2; of the first: 3"),
        ({"d": 7}, "length of the position of part 2: 7"),
        ({"names": ("a", "b", "c", "d", "e")}, "the quantities of part 2"),
        ({"model": "sat ~ perf"}, "the model of part 2: sat ~ perf; of the first: sat ~ talk"),
    ],
)
def test_parts_of_different_runs(other, message):
    with pytest.raises(ArgumentError, match=message):
        Draws.concatenate([make(), make(**other)])


def test_parts_without_draws():
    with pytest.raises(ArgumentError, match="one or more Draws"):
        Draws.concatenate([])
    bare = Draws(make().positions, make().values, NAMES, {}, {"model": "sat ~ talk"})
    with pytest.raises(ArgumentError, match="the stats of part 2"):
        Draws.concatenate([make(), bare])


# -- files -------------------------------------------------------------------------------------------------------


def awkward():
    """Numbers that text and zip files like to lose."""
    draws = make(versions={"numpy": "2.0", "refglmm": "0.1"}, warmup=100, note='Gruß, "x"\n# y')
    values = np.array(draws.values)
    values[0, :6, 0] = [0.1 + 0.2, 5e-324, 1.7976931348623157e308, -0.0, np.inf, np.nan]
    values[1, 0, 1] = -np.inf
    return Draws(draws.positions, values, NAMES, dict(draws.stats), dict(draws.metadata))


def test_an_archive_keeps_every_bit(tmp_path):
    draws = awkward()
    path = draws.save(tmp_path / "fit.v1")
    assert path == tmp_path / "fit.v1.npz"
    assert_same(Draws.load(path), draws)
    assert [file.name for file in tmp_path.iterdir()] == ["fit.v1.npz"]
    make(seed=8).save(str(path))
    assert_same(Draws.load(str(path)), make(seed=8))


def test_text_files_keep_every_bit(tmp_path):
    draws = awkward()
    paths = draws.to_csv("fit", tmp_path)
    assert [path.name for path in paths] == ["fit_chain1.csv", "fit_chain2.csv", "fit_chain3.csv"]
    assert_same(Draws.from_csv("fit", tmp_path), draws)
    head, columns = paths[1].read_text(encoding="utf-8").splitlines()[:2]
    assert json.loads(head[1:])["chain"] == 2
    assert columns.startswith("iteration,lp,accept,treedepth,n_leapfrog,divergent,energy,step_size,Intercept,b[talk]")
    frame = pd.read_csv(paths[1], comment="#")
    np.testing.assert_allclose(frame["b[talk]"].iloc[1:], draws.values[1, 1:, 1], rtol=1e-14)


def test_draws_without_positions_or_statistics(tmp_path):
    draws = Draws(np.zeros((2, 5, 0)), np.ones((2, 5, 1)), ["x"])
    assert_same(Draws.load(draws.save(tmp_path / "few")), draws)
    draws.to_csv("few", tmp_path)
    assert_same(Draws.from_csv("few", tmp_path), draws)


def test_a_quantity_may_have_the_name_of_a_statistic(tmp_path):
    draws = Draws(np.zeros((1, 4, 1)), np.ones((1, 4, 1)), ["lp"], {"lp": np.zeros((1, 4))})
    draws.to_csv("lp", tmp_path)
    assert_same(Draws.from_csv("lp", tmp_path), draws)


def test_text_files_of_a_longer_run_do_not_stay(tmp_path):
    (tmp_path / "fit_chain_notes.csv").write_text("mine")
    make(chains=3).to_csv("fit", tmp_path)
    make(chains=2).to_csv("fit", tmp_path)
    assert Draws.from_csv("fit", tmp_path).n_chains == 2
    assert not (tmp_path / "fit_chain3.csv").exists()
    assert (tmp_path / "fit_chain_notes.csv").exists()


def test_text_files_of_two_runs_are_not_mixed(tmp_path):
    make().to_csv("fit", tmp_path)
    make(seed=2, model="other").to_csv("other", tmp_path)
    (tmp_path / "other_chain2.csv").replace(tmp_path / "fit_chain2.csv")
    with pytest.raises(ArgumentError, match="does not belong to the same run as chain 1"):
        Draws.from_csv("fit", tmp_path)
    (tmp_path / "fit_chain2.csv").unlink()
    with pytest.raises(ArgumentError, match=r"there is no file .*fit_chain2\.csv"):
        Draws.from_csv("fit", tmp_path)


def test_files_that_are_not_ours(tmp_path):
    with pytest.raises(ArgumentError, match="there is no file"):
        Draws.load(tmp_path / "none.npz")
    text = tmp_path / "text.npz"
    text.write_text("not a zip")
    np.savez(tmp_path / "arrays.npz", x=np.zeros(3))
    np.savez(tmp_path / "objects.npz", header=np.array([{"a": 1}], dtype=object))
    for name in ("text", "arrays", "objects"):
        with pytest.raises(ArgumentError, match="is not a file of refglmm draws"):
            Draws.load(tmp_path / f"{name}.npz")
    (tmp_path / "mine_chain1.csv").write_text("x,y\n1,2\n")
    with pytest.raises(ArgumentError, match="is not a file of refglmm draws"):
        Draws.from_csv("mine", tmp_path)


def test_a_damaged_archive_is_noticed(tmp_path):
    path = make(draws=400).save(tmp_path / "fit")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ArgumentError, match="damaged"):
        Draws.load(path)


def test_a_later_format_is_refused(tmp_path):
    header = json.dumps({"format": FORMAT, "version": VERSION + 1})
    np.savez(tmp_path / "later.npz", header=np.array(header))
    with pytest.raises(ArgumentError, match=f"version {VERSION + 1} of the format.*update refglmm"):
        Draws.load(tmp_path / "later.npz")


def test_places_that_do_not_exist(tmp_path):
    for write in (lambda: make().save(tmp_path / "no" / "fit"), lambda: make().to_csv("fit", tmp_path / "no")):
        with pytest.raises(ArgumentError, match="there is no folder"):
            write()
    with pytest.raises(ArgumentError, match="no draws to write"):
        Draws(np.zeros((1, 0, 2)), np.zeros((1, 0, 1)), ["x"]).to_csv("fit", tmp_path)
    for name in ("", "a/b"):
        with pytest.raises(ArgumentError, match="plain file name"):
            make().to_csv(name, tmp_path)
