"""The simulated data sets that are shipped: ``python -m validation.look_alikes`` writes them again, byte for byte.

``debate_like`` has the layout of the debate data of the article on ``rtmb_glmer()``, which may not be shipped, and is
drawn near its published estimates; ``training_like`` is a small wide table of repeated measures. Both are ours.

The seed of ``debate_like`` is the one, among 1 to 300, whose data come nearest to the published numbers (see
:func:`distance`; ``python -m validation.look_alikes seed`` finds it again), so that a tutorial shows numbers like those
of the article: its estimates are no evidence for any estimator. That of ``training_like`` was not chosen by its data.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

FOLDER = Path(__file__).resolve().parents[1] / "refglmm" / "datasets"
DEBATE_SEED, TRAINING_SEED = 113, 3
SEEDS = range(1, 301)
#: Published: coefficients of sat ~ talk + perf + (1 | group), residual and group SD, and means and SD of the columns.
DEBATE_TARGET = {
    "(Intercept)": 1.895,
    "talk": 0.2651,
    "perf": 0.1572,
    "sigma": 0.7779,
    "sd": 0.4611,
    "mean sat": 3.433,
    "mean talk": 3.02,
    "mean perf": 4.69,
    "SD perf": 1.756,
}
#: Means of t1, t2, t3 in the two conditions.
TRAINING_MEANS = {"control": (10.0, 10.5, 11.0), "training": (10.0, 12.0, 14.0)}


def debate_like(seed: int = DEBATE_SEED) -> pd.DataFrame:
    """100 groups of 3 people in a debate.

    cond is 0 or 1 and perf a whole number from 1 to 8, both of the group; talk (1 to 5) rises with cond, skill is 1, 2
    or 3. Satisfaction is 1.9 + 0.265 talk + 0.157 perf + 0.15 (skill - 2) + N(0, 0.46^2) of the group + N(0, 0.715^2),
    rounded and kept within 1 to 5 (rounding adds 1/12 to the variance, skill 0.12^2: 0.715^2 + both is about 0.78^2).
    agree is a Bernoulli variable with logit -3.2 + 0.6 talk + 0.3 perf + N(0, 0.8^2) of the group.
    """
    random = np.random.default_rng(seed)
    group = np.repeat(np.arange(100), 3)
    cond = random.permutation(np.arange(100) % 2)[group]
    perf = whole(random.normal(4.69, 1.73, 100), 1, 8)[group]
    talk = whole(2.64 + 0.76 * cond + random.normal(0.0, 0.87, 300), 1, 5)
    skill = random.integers(1, 4, 300)
    mean = 1.9 + 0.265 * talk + 0.157 * perf + 0.15 * (skill - 2)
    sat = whole(mean + random.normal(0.0, 0.46, 100)[group] + random.normal(0.0, 0.715, 300), 1, 5)
    eta = -3.2 + 0.6 * talk + 0.3 * perf + random.normal(0.0, 0.8, 100)[group]
    agree = (random.random(300) < 1.0 / (1.0 + np.exp(-eta))).astype(int)
    columns = {"group": group + 1, "sat": sat, "talk": talk, "perf": perf, "skill": skill, "cond": cond, "agree": agree}
    return pd.DataFrame(columns)


def training_like(seed: int = TRAINING_SEED) -> pd.DataFrame:
    """40 people, 20 a condition, measured before (t1), during (t2) and after (t3) a training; one row a person.

    Scores are the means above + N(0, 1.5^2) of the person + N(0, 1), to two decimals.
    """
    random = np.random.default_rng(seed)
    cond = np.repeat(list(TRAINING_MEANS), 20)
    mean = np.array([TRAINING_MEANS[name] for name in cond])
    y = np.round(mean + random.normal(0.0, 1.5, (40, 1)) + random.normal(0.0, 1.0, (40, 3)), 2)
    return pd.DataFrame({"person": np.arange(1, 41), "cond": cond, "t1": y[:, 0], "t2": y[:, 1], "t3": y[:, 2]})


def whole(values: np.ndarray, low: int, high: int) -> np.ndarray:
    """Rounded to whole numbers and kept within limits."""
    return np.clip(np.rint(values), low, high).astype(int)


def distance(seed: int) -> float:
    """How far the estimates and means of ``debate_like(seed)`` are from the published ones, relative, squared."""
    import refglmm as rg

    data = debate_like(seed)
    fit = rg.lmer("sat ~ talk + perf + (1 | group)", data)
    found = {**fit.fixef, "sigma": fit.sigma, "sd": fit.varcorr.as_frame()["sdcor"].iloc[0]}
    found |= {f"mean {name}": data[name].mean() for name in ("sat", "talk", "perf")}
    found["SD perf"] = data["perf"].std()
    return float(sum((found[name] / target - 1.0) ** 2 for name, target in DEBATE_TARGET.items()))


def text(data: pd.DataFrame) -> str:
    """What a file holds."""
    return data.to_csv(index=False, lineterminator="\n")


def main() -> None:
    """Write the files, or print the seed."""
    if sys.argv[1:] == ["seed"]:
        print(min(SEEDS, key=distance))
        return
    for name, data in (("debate_like", debate_like()), ("training_like", training_like())):
        (FOLDER / f"{name}.csv").write_text(text(data), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
