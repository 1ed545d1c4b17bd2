"""How a result of ``inference`` finds its picture.

Place in the reading order: in ``inference``. Pictures come later in the reading order and matplotlib loads slowly, so
the function that draws is looked up by name when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


def draw(module: str, function: str, *args: Any, **options: Any) -> Any:
    """Call ``refglmm.plots.<module>.<function>``."""
    return getattr(import_module(f"refglmm.plots.{module}"), function)(*args, **options)
