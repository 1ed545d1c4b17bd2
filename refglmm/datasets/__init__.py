"""The data sets of the examples, as R has them.

Place in the reading order: beside the chain from formula to fit; nothing in it imports this package. The
values lie next to this file as CSV, their types, level order, source, citation and licence in
``datasets.json`` (``DATASETS.md`` is the same as a table).
"""

from __future__ import annotations

from refglmm.datasets.catalogue import Description, describe, load, names

__all__ = ["Description", "describe", "load", "names"]
