r"""Posterior draws: what a sampler or an approximation hands back, with names.

Place in the reading order: in ``bayes``, after ``information``; ``draw_files`` (saving), ``arviz_export`` and ``fits``
come later. Nothing is estimated here.

A draw is kept twice: as its *position*, the unconstrained vector (hyper, u) in which the sampler moves and from which
everything else can be computed again (random effects, predictions, bridge sampling), and as *values*, the reported
quantities on their natural scale:

========================  ==============================================================================
``positions``             (chains, draws, d)
``values``, ``names``     (chains, draws, k), and k labels such as ``b[talk]`` or ``sd[group:Int]``
``stats``                 by name, each (chains, draws): ``lp, accept, treedepth, n_leapfrog, divergent,
                          energy, step_size`` of a sampler
``metadata``              plain JSON: model, seed, versions, warmup, thin, ...
========================  ==============================================================================

The *base name* of a label is what stands before its bracket.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from refglmm.bayes.scalar import full_label
from refglmm.errors import ArgumentError
from refglmm.fit.arrays import plain
from refglmm.fit.html import html_block, html_lines, html_table
from refglmm.fit.rformat import format_numbers, table

FloatArray = NDArray[np.float64]

#: Rows of the printed table.
MOST_ROWS = 10
#: Probabilities of the printed table.
PRINTED = (0.025, 0.5, 0.975)


def base_name(label: str) -> str:
    """What stands before the bracket: "b" of "b[talk]"."""
    return label.split("[", 1)[0]


@dataclass(frozen=True, eq=False, repr=False)
class Draws:
    """Draws of all chains.

    Parameters
    ----------
    positions : array-like, shape (chains, draws, d)
        Unconstrained; d may be 0 where only values are known.
    values : array-like, shape (chains, draws, k)
        Reported quantities, natural scale.
    names : sequence of str, length k
        Labels, all different.
    stats : mapping of str to array-like, each of shape (chains, draws), optional
    metadata : mapping, optional
        Kept as plain JSON types: arrays become lists, what JSON does not know its text.

    Notes
    -----
    All arrays are read-only. Writable ones are copied; a float64 array that is read-only already is taken as it is.

    Raises
    ------
    ArgumentError
        If shapes do not go together, or labels are not text or not unique.
    """

    positions: FloatArray
    values: FloatArray
    names: tuple[str, ...]
    stats: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)

    __iter__ = None  # columns or draws? ``names`` and ``stack()`` leave no doubt

    def __post_init__(self) -> None:
        for name in ("positions", "values"):
            object.__setattr__(self, name, _frozen(getattr(self, name), name, 3, np.float64))
        object.__setattr__(self, "names", _checked_names(self.names, self.values.shape[2]))
        stats = {str(name): _frozen(array, f"stats[{name!r}]", 2) for name, array in dict(self.stats).items()}
        object.__setattr__(self, "stats", MappingProxyType(stats))
        object.__setattr__(self, "metadata", MappingProxyType(plain(dict(self.metadata))))
        shapes = {"positions": self.positions.shape[:2]} | {f"stats[{n!r}]": a.shape for n, a in stats.items()}
        for name, shape in shapes.items():
            if shape != self.values.shape[:2]:
                raise ArgumentError(
                    f"values are of {_extent(self.values.shape)}, but {name} of {_extent(shape)}", name=name
                )

    def __reduce__(self) -> tuple[Any, ...]:
        # A MappingProxyType cannot be pickled.
        return Draws, (self.positions, self.values, self.names, dict(self.stats), dict(self.metadata))

    # -- size ------------------------------------------------------------------------------------------------

    @property
    def n_chains(self) -> int:
        """Number of chains."""
        return self.values.shape[0]

    @property
    def n_draws(self) -> int:
        """Draws of each chain."""
        return self.values.shape[1]

    @property
    def n_divergent(self) -> int:
        """Divergent transitions of all chains together; 0 where the sampler reports none."""
        return int(np.sum(self.stats["divergent"])) if "divergent" in self.stats else 0

    def __len__(self) -> int:
        """Draws of all chains together: the rows of :meth:`stack` and :meth:`to_frame`."""
        return self.n_chains * self.n_draws

    # -- access ----------------------------------------------------------------------------------------------

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and full_label(name, self.names) in self.names

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Draws of one quantity by its label, shape (chains, draws), read-only; "lp" is the log posterior."""
        if not isinstance(name, str):
            raise ArgumentError(f"draws[...] takes one label, not {name!r}; draws.select(...) takes several")
        name = full_label(name, self.names)
        if name in self.names:
            return self.values[:, :, self.names.index(name)]
        if name == "lp" and "lp" in self.stats:
            return self.stats["lp"]
        several = [known for known in self.names if base_name(known) == name]
        if several:
            raise ArgumentError(
                f"{name!r} has the elements {', '.join(several)}; take one of them, or all with select({name!r})",
                name=name,
            )
        raise unknown(name, self.names)

    def select(self, pars: Any = None) -> Draws:
        """The draws of some quantities.

        Parameters
        ----------
        pars : str, int or sequence of them, optional
            Labels ("b[talk]"; "sd[Int]" for the only "sd[...:Int]"), base names ("b": all b[...]), positions in
            ``names`` (negative ones count from the end), or any of the names with "-" in front to leave it out ("-sd";
            out of all, where nothing else is asked for). All by default.

        Returns
        -------
        Draws
            In the order asked for, each once; positions, stats and metadata as they are.

        Raises
        ------
        ArgumentError
            For a name that does not exist, with those that are spelt alike.
        """
        columns = chosen(self.names, pars)
        names = tuple(self.names[k] for k in columns)
        return Draws(self.positions, _read_only(self.values[:, :, columns]), names, self.stats, self.metadata)

    def stack(self) -> FloatArray:
        """Values of all chains below one another, shape (chains * draws, k); read-only."""
        return self.values.reshape(len(self), -1)

    def to_frame(self, pars: Any = None, *, chains: bool = False) -> pd.DataFrame:
        """One row a draw, one column a quantity.

        Parameters
        ----------
        pars
            As in :meth:`select`.
        chains : bool
            Put the columns ``chain`` and ``draw`` in front, both counted from 1.
        """
        part = self.select(pars)
        frame = pd.DataFrame(part.stack().copy(), columns=list(part.names))
        if chains:
            chain, draw = np.indices((self.n_chains, self.n_draws)) + 1
            frame.insert(0, "chain", chain.ravel())
            frame.insert(1, "draw", draw.ravel())
        return frame

    # -- summaries -------------------------------------------------------------------------------------------

    def mean(self, pars: Any = None) -> pd.Series:
        """Posterior means by label."""
        part = self.select(pars)
        return pd.Series(part.stack().mean(axis=0), index=list(part.names), name="mean")

    def sd(self, pars: Any = None) -> pd.Series:
        """Posterior standard deviations by label (divisor: draws - 1)."""
        part = self.select(pars)
        ddof = 1 if len(self) > 1 else 0
        return pd.Series(part.stack().std(axis=0, ddof=ddof), index=list(part.names), name="sd")

    def quantile(self, q: float | Sequence[float] = PRINTED, pars: Any = None) -> pd.DataFrame:
        """Posterior quantiles: a row a quantity, a column a probability ("2.5 %").

        Parameters
        ----------
        q : float or sequence of float
            Probabilities; the 2.5, 50 and 97.5 per cent points by default.
        pars
            As in :meth:`select`.

        Raises
        ------
        ArgumentError
            For probabilities outside [0, 1].
        """
        probabilities = np.atleast_1d(np.asarray(q, dtype=float))
        if probabilities.ndim != 1 or not np.all((probabilities >= 0.0) & (probabilities <= 1.0)):
            raise ArgumentError(f"q must hold probabilities between 0 and 1, not {q!r}", q=q)
        part = self.select(pars)
        columns = [f"{100.0 * p:g} %" for p in probabilities]
        return pd.DataFrame(np.quantile(part.stack(), probabilities, axis=0).T, list(part.names), columns)

    # -- elsewhere -------------------------------------------------------------------------------------------

    @staticmethod
    def concatenate(parts: Iterable[Draws]) -> Draws:
        """Draws of the same chains taken one after another (a run and its resumption).

        Parameters
        ----------
        parts : iterable of Draws
            Same labels, chains and stats, in the order in which they were drawn.

        Returns
        -------
        Draws
            With the metadata of the first part, and the draws of each under "parts".

        Raises
        ------
        ArgumentError
            Saying in what the parts differ.
        """
        parts = list(parts)
        _check_alike(parts)
        stats = {name: np.concatenate([part.stats[name] for part in parts], axis=1) for name in parts[0].stats}
        metadata = dict(parts[0].metadata) | {"parts": [n for part in parts for n in _lengths(part)]}
        return Draws(
            _read_only(np.concatenate([part.positions for part in parts], axis=1)),
            _read_only(np.concatenate([part.values for part in parts], axis=1)),
            parts[0].names,
            stats,
            metadata,
        )

    def save(self, path: str | Path) -> Path:
        """Write everything to one portable file; see :func:`refglmm.bayes.draw_files.save`."""
        from refglmm.bayes.draw_files import save

        return save(self, path)

    @staticmethod
    def load(path: str | Path) -> Draws:
        """Draws from a file of :meth:`save`."""
        from refglmm.bayes.draw_files import load

        return load(path)

    def to_csv(self, name: str, directory: str | Path = ".") -> list[Path]:
        """Write one text file a chain; see :func:`refglmm.bayes.draw_files.to_csv`."""
        from refglmm.bayes.draw_files import to_csv

        return to_csv(self, name, directory)

    @staticmethod
    def from_csv(name: str, directory: str | Path = ".") -> Draws:
        """Draws from the files of :meth:`to_csv`."""
        from refglmm.bayes.draw_files import from_csv

        return from_csv(name, directory)

    def to_arviz(self, **groups: Any) -> Any:
        """For ArviZ; see :func:`refglmm.bayes.arviz_export.to_arviz`."""
        from refglmm.bayes.arviz_export import to_arviz

        return to_arviz(self, **groups)

    # -- print -----------------------------------------------------------------------------------------------

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        pars = list(self.names[:MOST_ROWS])
        frame = pd.concat([self.mean(pars), self.sd(pars), self.quantile(PRINTED, pars)], axis=1)
        columns = [format_numbers(frame[name].to_numpy(), 3) for name in frame]
        rows = [[str(name), *cells] for name, *cells in zip(frame.index, *columns, strict=True)]
        return ["", *map(str, frame.columns)], rows

    def _title(self) -> str:
        count = len(self.names)
        noun = "quantity" if count == 1 else "quantities"
        return f"Draws: {_extent(self.values.shape)}, {count} {noun}"

    def _notes(self) -> list[str]:
        hidden = len(self.names) - MOST_ROWS
        notes = [f"... and {hidden} more: see names"] if hidden > 0 else []
        if self.n_divergent:
            notes.append(f"{self.n_divergent} of {len(self)} transitions diverged")
        return notes

    def __repr__(self) -> str:
        if not self.values.size:
            return self._title()
        header, rows = self._cells()
        return "\n".join([self._title(), table(header, rows, [True] + [False] * (len(header) - 1)), *self._notes()])

    def _repr_html_(self) -> str:
        if not self.values.size:
            return html_block([html_lines([self._title()])])
        return html_block([html_table(*self._cells(), self._title()), html_lines(self._notes())])


# -- names -------------------------------------------------------------------------------------------------------


def chosen(names: Sequence[str], pars: Any) -> list[int]:
    """Positions in ``names`` of what was asked for, each once; the rules are those of :meth:`Draws.select`."""
    if pars is None:
        return list(range(len(names)))
    items: list[Any] = [pars] if np.isscalar(pars) else list(pars)
    wanted = [item for item in items if not _is_exclusion(item)]
    left_out = {k for item in items if _is_exclusion(item) for k in _matching(names, item[1:])}
    found = [k for item in wanted for k in _matching(names, item)] if wanted or not items else range(len(names))
    columns = [k for k in dict.fromkeys(found) if k not in left_out]
    if not columns:
        raise ArgumentError(f"pars={pars!r} leaves no quantity; there are: {', '.join(names)}", pars=pars)
    return columns


def _is_exclusion(item: Any) -> bool:
    return isinstance(item, str) and item.startswith("-")


def _matching(names: Sequence[str], item: Any) -> list[int]:
    """Positions that one item stands for."""
    if isinstance(item, int | np.integer) and not isinstance(item, bool):
        if not -len(names) <= item < len(names):
            raise ArgumentError(f"there is no quantity number {item}; there are {len(names)}", pars=item)
        return [int(item) % len(names)]
    if not isinstance(item, str):
        raise ArgumentError(f"pars holds labels, base names and positions, not {item!r}", pars=item)
    item = full_label(item, names)
    if item in names:
        return [list(names).index(item)]
    found = [k for k, name in enumerate(names) if base_name(name) == item]
    if not found:
        raise unknown(item, names)
    return found


def unknown(name: str, names: Sequence[str]) -> ArgumentError:
    """The error for a name that no quantity has, with those that are spelt alike (all, if none is)."""
    known = list(dict.fromkeys([*names, *map(base_name, names)]))
    close = get_close_matches(name, known, n=5, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else f"there are: {', '.join(names)}"
    return ArgumentError(f"no quantity {name!r}; {hint}", name=name)


# -- checks ------------------------------------------------------------------------------------------------------


def _extent(shape: Sequence[int]) -> str:
    chains, draws = shape[:2]
    return f"{chains} chain{'' if chains == 1 else 's'} x {draws} draw{'' if draws == 1 else 's'}"


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    array.setflags(write=False)
    return array


def _frozen(given: ArrayLike, name: str, ndim: int, dtype: Any = None) -> NDArray[Any]:
    """A read-only array of this many dimensions; copied unless it is read-only already."""
    try:
        array = np.asarray(given, dtype=dtype)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"{name} must hold numbers: {error}", name=name) from error
    if array.dtype.kind not in "biuf":
        raise ArgumentError(f"{name} must hold numbers, not {array.dtype}", name=name)
    if array.ndim != ndim:
        dimensions = "(chains, draws, columns)" if ndim == 3 else "(chains, draws)"
        raise ArgumentError(f"{name} must be of shape {dimensions}, not {array.shape}", name=name, shape=array.shape)
    return _read_only(array.copy()) if array.flags.writeable else array


def _checked_names(names: Any, count: int) -> tuple[str, ...]:
    labels = tuple(names) if not isinstance(names, str) else (names,)
    if not all(isinstance(label, str) for label in labels):
        raise ArgumentError(f"names must be text, not {labels!r}")
    if len(labels) != count:
        raise ArgumentError(f"there are {len(labels)} names for {count} quantities", names=labels)
    twice = [label for label in dict.fromkeys(labels) if labels.count(label) > 1]
    if twice:
        raise ArgumentError(f"names must differ; {', '.join(twice)} stand for several quantities", names=twice)
    return labels


def _lengths(part: Draws) -> list[int]:
    """Draws of each run that a part was put together from."""
    return list(part.metadata.get("parts", [part.n_draws]))


def _check_alike(parts: list[Draws]) -> None:
    if not parts or not all(isinstance(part, Draws) for part in parts):
        raise ArgumentError("concatenate takes one or more Draws")
    aspects = {
        "the quantities": lambda part: part.names,
        "the number of chains": lambda part: part.n_chains,
        "the length of the position": lambda part: part.positions.shape[2],
        "the stats": lambda part: set(part.stats),
        "the model": lambda part: part.metadata.get("model"),
    }
    for number, part in enumerate(parts[1:], start=2):
        for text, aspect in aspects.items():
            if aspect(part) != aspect(parts[0]):
                raise ArgumentError(
                    f"these draws are not of one run: {text} of part {number}: {aspect(part)}; "
                    f"of the first: {aspect(parts[0])}",
                    part=number,
                )
