"""Draws for ArviZ.

Place in the reading order: in ``bayes``, after ``draw_files``.

ArviZ comes in two kinds that do not read each other's objects: up to 0.23 it works on ``arviz.InferenceData``, from
1.0 on (and in ``arviz-base``) on ``xarray.DataTree``. The result is what the installed ``arviz`` works on. The two
also differ in how they take their input: handed the one dictionary of dictionaries that 1.x wants, 0.x builds, without
a complaint, one variable that is an object.

Labels with a common base name become one variable: ``b[talk]`` and ``b[perf]`` are ``b`` with the dimension ``b_dim``
and its coordinates talk, perf.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refglmm.bayes.draws import Draws, base_name
from refglmm.errors import ArgumentError, NotAvailableError

KINDS = ("auto", "datatree", "inferencedata")
#: What ArviZ calls the statistics of a sampler.
SAMPLE_STATS = {
    "divergent": "diverging",
    "treedepth": "tree_depth",
    "n_leapfrog": "n_steps",
    "accept": "acceptance_rate",
}


def to_arviz(
    draws: Draws,
    *,
    log_lik: Any = None,
    posterior_predictive: Any = None,
    observed: Any = None,
    random_effects: Any = None,
    response: str = "y",
    coords: Mapping[str, Any] | None = None,
    dims: Mapping[str, list[str]] | None = None,
    kind: str = "auto",
) -> Any:
    """Draws as an object of ArviZ.

    Parameters
    ----------
    draws : Draws
        Gives the groups ``posterior`` and ``sample_stats``.
    log_lik : array, shape (chains, draws, n) or (chains * draws, n), or mapping of name to such, optional
        Log density of each observation: group ``log_likelihood``.
    posterior_predictive : array of the same shape, or mapping, optional
        Replicated responses.
    observed : array, shape (n,), or mapping, optional
        Responses: group ``observed_data``.
    random_effects : array, or mapping of name to array, optional
        Shape (chains, draws, ...) or (chains * draws, ...); goes into ``posterior``, an array as ``random_effects``.
    response : str
        Name of the variable where an array is given; its dimension is ``obs_id``.
    coords : mapping of dimension to labels, optional
    dims : mapping of variable to the names of its dimensions after chain and draw, optional
    kind : {"auto", "datatree", "inferencedata"}
        "auto": what the installed ``arviz`` works on; a DataTree where there is only ``arviz-base``.

    Returns
    -------
    xarray.DataTree or arviz.InferenceData

    Raises
    ------
    NotAvailableError
        If no ArviZ (of that kind) is installed.
    ArgumentError
        If an array does not fit the chains and draws.
    """
    maker = _maker(kind)
    posterior, label_coords, label_dims = grouped(draws)
    posterior |= _sampled(draws, random_effects, "random_effects", "random_effects")
    groups = {
        "posterior": posterior,
        "sample_stats": {SAMPLE_STATS.get(name, name): np.array(array) for name, array in draws.stats.items()},
        "log_likelihood": _sampled(draws, log_lik, "log_lik", response),
        "posterior_predictive": _sampled(draws, posterior_predictive, "posterior_predictive", response),
        "observed_data": _observed(observed, response),
    }
    row_dims = {name: ["obs_id"] for name in _row_variables(groups)}
    return maker(
        {name: group for name, group in groups.items() if group},
        label_coords | {name: list(labels) for name, labels in (coords or {}).items()},
        label_dims | row_dims | {name: list(names) for name, names in (dims or {}).items()},
        _attributes(draws),
    )


# -- groups ------------------------------------------------------------------------------------------------------


def grouped(draws: Draws) -> tuple[dict[str, NDArray[Any]], dict[str, list[str]], dict[str, list[str]]]:
    """Variables by base name, with the coordinates and the dimensions of those that have elements."""
    members: dict[str, list[int]] = {}
    for k, name in enumerate(draws.names):
        if name == "lp" and "lp" in draws.stats:  # which sample_stats holds
            continue
        members.setdefault(base_name(name), []).append(k)
    variables, coords, dims = {}, {}, {}
    for base, columns in members.items():
        labels = [draws.names[k] for k in columns]
        if labels == [base]:
            variables[base] = np.array(draws.values[:, :, columns[0]])
            continue
        variables[base] = np.array(draws.values[:, :, columns])
        dims[base] = [f"{base}_dim"]
        coords[f"{base}_dim"] = [label[len(base) + 1 : -1] if label != base else base for label in labels]
    return variables, coords, dims


def _sampled(draws: Draws, given: Any, argument: str, name: str) -> dict[str, NDArray[Any]]:
    """Variables that have a value for each draw."""
    if given is None:
        return {}
    variables = given if isinstance(given, Mapping) else {name: given}
    return {str(key): _by_chain(draws, array, argument) for key, array in variables.items()}


def _by_chain(draws: Draws, given: Any, argument: str) -> NDArray[Any]:
    array = np.array(given)
    shape = (draws.n_chains, draws.n_draws)
    if array.shape[:2] == shape:
        return array
    if array.ndim and array.shape[0] == len(draws):
        return array.reshape(shape + array.shape[1:])
    raise ArgumentError(
        f"{argument} is of shape {array.shape}; it must start with {shape} (chains, draws) or with {len(draws)}",
        argument=argument,
        shape=array.shape,
    )


def _observed(observed: Any, name: str) -> dict[str, NDArray[Any]]:
    if observed is None:
        return {}
    variables = observed if isinstance(observed, Mapping) else {name: observed}
    return {str(key): np.array(values) for key, values in variables.items()}


def _row_variables(groups: dict[str, dict[str, NDArray[Any]]]) -> list[str]:
    """Variables with one value a row of the data; obs_id is their dimension if they are all of one length."""
    sampled = groups["log_likelihood"] | groups["posterior_predictive"]
    rows = {name: array.shape[2:] for name, array in sampled.items()}
    rows |= {name: array.shape for name, array in groups["observed_data"].items()}
    one_length = len(set(rows.values())) == 1 and all(len(shape) == 1 for shape in rows.values())
    return list(rows) if one_length else []


def _attributes(draws: Draws) -> dict[str, str | float | int]:
    """Metadata as netCDF can hold it: text and numbers, the rest as JSON text."""
    from refglmm import __version__

    facts = {"inference_library": "refglmm", "inference_library_version": __version__}
    simple = {key: v if isinstance(v, str | int | float) else json.dumps(v) for key, v in draws.metadata.items()}
    return facts | {key: int(value) if isinstance(value, bool) else value for key, value in simple.items()}


# -- the two kinds -----------------------------------------------------------------------------------------------


def _maker(kind: str) -> Any:
    """The function that puts the groups together."""
    if kind not in KINDS:
        raise ArgumentError(f"unknown kind {kind!r} of ArviZ object; choose from {', '.join(KINDS)}", kind=kind)
    old = _old_arviz()
    if kind == "inferencedata" or (kind == "auto" and old):
        if not old:
            raise NotAvailableError("InferenceData needs arviz below 1.0: pip install 'arviz<1'")
        return _inference_data
    if find_spec("arviz_base") is None:
        raise NotAvailableError("to_arviz needs ArviZ: pip install arviz-base (or arviz)")
    return _data_tree


def _old_arviz() -> bool:
    try:
        return int(version("arviz").split(".")[0]) < 1
    except PackageNotFoundError:
        return False


def _data_tree(groups: dict[str, Any], coords: dict[str, Any], dims: dict[str, Any], attrs: dict[str, Any]) -> Any:
    base = import_module("arviz_base")
    tree = base.from_dict(groups, coords=coords, dims=dims)
    tree.attrs.update(attrs)
    tree["posterior"].attrs.update(attrs)
    return tree


def _inference_data(groups: dict[str, Any], coords: dict[str, Any], dims: dict[str, Any], attrs: dict[str, Any]) -> Any:
    arviz = import_module("arviz")
    return arviz.from_dict(**groups, coords=coords, dims=dims, attrs=attrs, posterior_attrs=attrs)
