"""The command ``refglmm``: fits, cross-checks and looks after itself from a shell.

Place in the reading order: after everything else; a command reads its arguments, calls what any user calls, and prints.

====================  ==============================================================================================
``arguments``         the commands and their options, and what exit codes mean
``reading``           a data file, standard input or a shipped data set -> a data frame
``page``              results as a self-contained HTML page, and where they are written to
``fitting``           ``refglmm fit``
``crosschecking``     ``refglmm crosscheck``
``shelf``             ``refglmm datasets``
``validating``        ``refglmm validate``
``doctor``            ``refglmm doctor``
====================  ==============================================================================================

Nothing heavy is imported before a command needs it, so that ``refglmm --help`` answers at once.
"""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from refglmm.cli.arguments import Exit, make_parser
from refglmm.errors import InterruptedWarning, RefglmmError

__all__ = ["main"]

#: Set to show where in the program an error comes from.
TRACEBACK = "REFGLMM_TRACEBACK"
#: Warnings for programmers, which say nothing about a model.
_TECHNICAL = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments : sequence of str, optional
        Command line without the program's name; that of the process by default.

    Returns
    -------
    int
        An exit code, see :class:`.arguments.Exit`. No exception leaves this function.
    """
    try:
        with _one_line_warnings() as seen:
            code = _run(arguments)
        sys.stdout.flush()
        return Exit.INTERRUPTED if InterruptedWarning in seen else code
    except SystemExit as stop:  # --help and --version end like this
        return int(stop.code or 0)
    except KeyboardInterrupt:
        return _failed(Exit.INTERRUPTED, "interrupted")
    except BrokenPipeError:  # whoever read our output has enough of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.BROKEN_PIPE
    except RefglmmError as error:
        return _failed(Exit.USAGE, str(error))
    except MemoryError:
        return _failed(Exit.USAGE, "not enough memory for this")
    except Exception as error:
        place = f"({TRACEBACK}=1 shows where)"
        return _failed(Exit.USAGE, f"unexpected {type(error).__name__}: {error} {place}")


def _run(arguments: Sequence[str] | None) -> int:
    """Read the command line and hand over to its command."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return Exit.USAGE
    run: Any = import_module(f"refglmm.cli.{options.module}").run
    return int(run(options))


def _failed(code: Exit, message: str) -> int:
    """One line on standard error; before it, if asked for, where the error comes from."""
    if os.environ.get(TRACEBACK, "") not in ("", "0"):
        traceback.print_exc()
    print(f"refglmm: error: {one_line(message)}", file=sys.stderr)
    return code


def one_line(text: object) -> str:
    """Text without line breaks."""
    return " ".join(str(text).split())


@contextmanager
def _one_line_warnings() -> Iterator[set[type[Warning]]]:
    """Print each warning as a line on standard error; gives the set of categories seen."""
    seen: set[type[Warning]] = set()

    def show(message: Any, category: type[Warning], *_: Any, **__: Any) -> None:
        seen.add(category)
        print(f"refglmm: warning: {one_line(message)}", file=sys.stderr)

    with warnings.catch_warnings():
        if not sys.warnoptions:  # python -W says otherwise
            warnings.simplefilter("default")
            for category in _TECHNICAL:
                warnings.simplefilter("ignore", category)
        warnings.showwarning = show
        yield seen
