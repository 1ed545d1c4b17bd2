"""Code that writes a fit of another program as JSON, one file a program, to be run there.

Place in the reading order: first of ``crosschecking``. ``writer.R`` stands before each R snippet; what the
keys of the JSON mean is said in :mod:`refglmm.crosschecking.adapters`.
"""

from __future__ import annotations

from importlib.resources import files

from refglmm.errors import ArgumentError

#: Program -> its files, in order.
SNIPPETS = {
    "lme4": ("writer.R", "lme4.R"),
    "glmmTMB": ("writer.R", "glmmTMB.R"),
    "GLMMadaptive": ("writer.R", "GLMMadaptive.R"),
    "MixedModels": ("MixedModels.jl",),
}


def crosscheck_snippet(program: str) -> str:
    r"""Code for another program that writes a fit in a form that :func:`refglmm.crosscheck` reads.

    Parameters
    ----------
    program : {"lme4", "glmmTMB", "GLMMadaptive", "MixedModels"}
        Whose fit it is. The first three are R code without dependencies, the last is Julia.

    Returns
    -------
    str
        Source that defines ``refglmm_report(fit, file)``. Numbers are written with 17 significant digits.

    Raises
    ------
    ArgumentError
        Another program.

    Examples
    --------
    >>> import refglmm as rg
    >>> code = rg.crosscheck_snippet("lme4")
    >>> "refglmm_report <- function(fit" in code
    True
    """
    if program not in SNIPPETS:
        known = ", ".join(repr(name) for name in SNIPPETS)
        raise ArgumentError(f"there is no snippet for {program!r}; there are those for {known}")
    return "\n".join((files(__package__) / name).read_text(encoding="utf-8") for name in SNIPPETS[program])
