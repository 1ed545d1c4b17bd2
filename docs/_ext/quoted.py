"""``{quoted}``: a function or class of the library as it stands in the source, without its docstring.

A page that quotes a name that is gone does not build, so the book cannot drift from the code.
"""

from __future__ import annotations

from typing import Any

from definitions import ROOT, find
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.directives.code import container_wrapper
from sphinx.util.docutils import SphinxDirective


class Quoted(SphinxDirective):
    """``{quoted} likelihood/quadrature.py gh_rule``; ``:caption:`` replaces the file's name."""

    required_arguments = 2
    option_spec = {"caption": directives.unchanged}  # noqa: RUF012 (docutils wants a class attribute)

    def run(self) -> list[nodes.Node]:
        """The block of code with file and line as its caption."""
        path = ROOT / "refglmm" / self.arguments[0]
        self.env.note_dependency(str(path))
        try:
            text, line = find(path, self.arguments[1].split("."))
        except (LookupError, OSError) as error:
            raise self.error(str(error)) from error
        block = nodes.literal_block(text, text, language="python")
        self.set_source_info(block)
        caption = self.options.get("caption", f"refglmm/{self.arguments[0]}, line {line}")
        return [container_wrapper(self, block, f"*{caption}*")]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("quoted", Quoted)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
