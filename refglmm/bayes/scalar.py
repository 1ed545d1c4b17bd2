r"""One number of a posterior: its name, its scale and its prior.

Place in the reading order: after ``scalars`` and ``distributions``; ``priors`` makes one for each parameter of a model,
``posterior`` turns them into a target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

#: Blocks in the order in which they stand in a position.
BLOCKS = ("fixed", "sd", "corr", "shape", "other")


@dataclass(frozen=True)
class Scalar:
    """A number that is estimated or fixed.

    Attributes
    ----------
    name : str
        Label, e.g. "b[talk]", "sd[group:Int]".
    block : str
        One of :data:`BLOCKS`.
    scale : int
        Code of :mod:`.scalars`: IDENTITY, ABOVE, INTERVAL.
    low, high : float
        Bounds of the natural value.
    prior : Distribution
        Has ``code``, ``hyper`` (four numbers, the last one the log constant) and ``is_proper``.
    fixed : float or None
        Natural value where the number is not estimated.
    """

    name: str
    block: str
    scale: int
    prior: Any
    low: float = -np.inf
    high: float = np.inf
    fixed: float | None = None


def full_label(name: str, names: Sequence[str]) -> str:
    """The label that a name stands for: "sd[Int]" for the only "sd[...:Int]", "corr[Int,x]" alike; else the name."""
    base, _, inner = name.partition("[")
    if name in names or base not in ("sd", "corr"):
        return name
    ends = [label for label in names if label.startswith(f"{base}[") and label.endswith(f":{inner}")]
    return ends[0] if len(ends) == 1 else name
