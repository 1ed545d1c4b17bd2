"""Results that have a picture: ``result.plot()``.

Place in the reading order: first of ``inference``. Pictures come later in the reading order, for they take results, and
are drawn with matplotlib, which loads slowly. A result therefore says by name which function of ``plots`` draws it, and
this module is the one place that looks a name up, when the picture is asked for. Written as an import, wherever it
stood, it would close a circle; filled in from above, ``plot`` would be missing on a result that another process sent
and nothing else has loaded ``plots`` for. A test holds the names to functions that take just such a result.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, ClassVar


class Pictured:
    """A result with a picture.

    Attributes
    ----------
    picture : str
        Module and function of ``refglmm.plots`` that draw it, as in "check.plot_check".
    """

    picture: ClassVar[str]

    def plot(self, *choices: Any, **options: Any) -> Any:
        """Draw this result; the function of :mod:`refglmm.plots` that ``picture`` names tells of the arguments.

        Returns
        -------
        Axes, or array of Axes
        """
        module, function = self.picture.split(".")
        return getattr(import_module(f"refglmm.plots.{module}"), function)(self, *choices, **options)
