"""How arrays leave a fit: as copies, or frozen.

Place in the reading order: in ``fit``, before everything that hands out arrays.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np


def freeze_arrays(record: Any) -> None:
    """Make the array fields of a dataclass read-only (no copy)."""
    for entry in fields(record):
        value = getattr(record, entry.name)
        if isinstance(value, np.ndarray):
            value.setflags(write=False)


def detached(value: Any) -> Any:
    """Copy of a value that shares no memory with the fit; containers are copied with what they hold."""
    if isinstance(value, dict):
        return {key: detached(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(detached(item) for item in value)
    return value.copy() if hasattr(value, "copy") else value


def plain(value: Any) -> Any:
    """JSON types only: arrays become lists, NaN and infinities None, anything unknown its text."""
    if value is None or (isinstance(value, str | bool | int) and not isinstance(value, np.generic)):
        return value
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if isinstance(value, np.ndarray):
        return [plain(item) for item in value.tolist()]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list | set | frozenset):
        return [plain(item) for item in value]
    if hasattr(value, "to_dict") and hasattr(value, "index"):  # pandas
        return plain(value.to_dict())
    if is_dataclass(value) and not isinstance(value, type):
        return {entry.name: plain(getattr(value, entry.name)) for entry in fields(value) if entry.repr}
    return str(value)
