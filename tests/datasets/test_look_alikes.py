"""The simulated data sets: made again from their seeds, and near what they were aimed at."""

from __future__ import annotations

from pathlib import Path

import pytest

import refglmm as rg
import refglmm.datasets.catalogue as catalogue
from validation import look_alikes

FOLDER = Path(catalogue.__file__).parent


@pytest.mark.parametrize("name", ["debate_like", "training_like"])
def test_the_generator_writes_the_shipped_file(name):
    made = look_alikes.text(getattr(look_alikes, name)())
    assert made == (FOLDER / f"{name}.csv").read_text(encoding="utf-8")


def test_debate_like_has_the_layout_of_the_article():
    data = rg.datasets.load("debate_like")
    assert (data.groupby("group").size() == 3).all()
    assert data["group"].nunique() == 100
    ranges = {"sat": (1, 5), "talk": (1, 5), "perf": (1, 8), "skill": (1, 3), "cond": (0, 1), "agree": (0, 1)}
    assert {name: (data[name].min(), data[name].max()) for name in ranges} == ranges
    assert (data.groupby("group")[["perf", "cond"]].nunique() == 1).all().all()


def test_its_estimates_are_near_the_published_ones():
    data = rg.datasets.load("debate_like")
    fit = rg.lmer("sat ~ talk + perf + (1 | group)", data)
    target = look_alikes.DEBATE_TARGET
    assert dict(fit.fixef) == pytest.approx({n: target[n] for n in fit.fixef.index}, rel=0.06)
    assert fit.sigma == pytest.approx(target["sigma"], rel=0.02)
    assert data[["sat", "talk", "perf"]].mean().tolist() == pytest.approx([3.433, 3.02, 4.69], rel=0.02)
    assert data["perf"].std() == pytest.approx(target["SD perf"], rel=0.05)
    assert look_alikes.distance(look_alikes.DEBATE_SEED) < min(look_alikes.distance(seed) for seed in range(1, 6))


def test_training_like_is_a_wide_table_for_within():
    data = rg.datasets.load("training_like")
    model = rg.GLMM("cbind(t1:t3) ~ time * cond + (1 | person)", data, within={"time": ("t1", "t2", "t3")})
    assert model.frame.n == 120
    assert model.fit().fixef["timet3:condtraining"] == pytest.approx(
        3.0, abs=0.7
    )  # 14 - 10 - (11 - 10), drawn with noise
