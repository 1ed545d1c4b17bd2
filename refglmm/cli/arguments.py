"""The commands, their options, and what exit codes mean.

Place in the reading order: first of the command line. Only the standard library is imported, so that help is quick; an
option that is not given is None, and the library's own default holds.
"""

from __future__ import annotations

import argparse
from enum import IntEnum
from typing import Any, NoReturn

import refglmm
from refglmm.errors import ArgumentError


class Exit(IntEnum):
    """Exit codes; a script can rely on them."""

    FINE = 0
    DISAGREES = 1
    USAGE = 2
    DOUBTFUL = 3
    INTERRUPTED = 130
    BROKEN_PIPE = 141


#: What each exit code means, as help and documentation say it.
EXIT_CODES = {
    Exit.FINE: "fine",
    Exit.DISAGREES: "a comparison failed: crosscheck disagrees, validate missed a figure, doctor found a fault",
    Exit.USAGE: "wrong usage, unusable data, or a model that cannot be fitted to them; one line on standard error",
    Exit.DOUBTFUL: "fitted, but not to be relied on (the output says why); crosscheck: no estimates to judge",
    Exit.INTERRUPTED: "interrupted (Ctrl-C)",
    Exit.BROKEN_PIPE: "the program that read the output closed it, as head does",
}

_EPILOG = "exit codes:\n" + "\n".join(f"  {code:<4d} {meaning}" for code, meaning in EXIT_CODES.items())

_DATA = """\
data may be
  a file         .csv .tsv (also .gz, .bz2, .xz, .zip), .parquet (needs pyarrow); other suffixes are read as CSV
  -              CSV from standard input
  data:NAME      a data set that comes with refglmm; 'refglmm datasets' lists them
Text columns become factors, levels sorted; --factor makes factors of columns of numbers.
"""

_FIT_EXAMPLES = """\
examples:
  refglmm fit "cbind(incidence, size - incidence) ~ period + (1 | herd)" data:cbpp --family binomial
  refglmm fit "Reaction ~ Days + (Days | Subject)" data:sleepstudy --reml
  refglmm fit "outcome ~ treatment * time + (1 | patientID)" data:toenail --family binomial --n-agq auto
  refglmm fit "count ~ mined + (1 | site)" data:Salamanders --family nbinom2 --zi "~ mined"
  refglmm fit "y ~ x + (1 | clinic)" trial.csv --family poisson --offset "log(days)" --factor clinic
  refglmm fit "sat ~ talk + (1 | group)" data:debate_like --method nuts --prior weak --y-range 1 5
  zcat trial.csv.gz | refglmm fit "y ~ x + (1 | id)" - --family binomial --json - | jq .criteria.aic
"""

_CROSSCHECK_EXAMPLES = """\
examples:
  refglmm crosscheck --snippet lme4 > report.R       R code that writes reported.json from a fit
  refglmm crosscheck reported.json trial.csv
  refglmm crosscheck reported.json data:cbpp --html verdict.html
"""

_DATASETS_EXAMPLES = """\
examples:
  refglmm datasets
  refglmm datasets cbpp
  refglmm datasets cbpp --out cbpp.csv
"""


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Paragraphs as they are written, names and explanations side by side."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{"max_help_position": 32, **options})


class Parser(argparse.ArgumentParser):
    """A parser whose errors are of our own kind, and a single line."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage."""
        raise ArgumentError(f"{message} (see {self.prog} --help)")


def quadrature_points(text: str) -> int | str:
    """``--n-agq``: a whole number or "auto"."""
    if text == "auto":
        return text
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number or auto, not {text!r}") from None


def separator(text: str) -> str:
    """``--sep``: one character; tab may be spelled."""
    text = {"tab": "\t", "\\t": "\t", "space": " ", "comma": ",", "semicolon": ";"}.get(text, text)
    if len(text) != 1:
        raise argparse.ArgumentTypeError(f"must be one character, tab or space, not {text!r}")
    return text


def make_parser() -> Parser:
    """Make the parser of the whole command line."""
    parser = Parser(
        prog="refglmm",
        description="Generalized linear mixed models: a reference implementation.",
        formatter_class=_Formatter,
        epilog=f"'refglmm COMMAND --help' shows a command's options, with examples.\n\n{_EPILOG}",
    )
    parser.add_argument("--version", action="version", version=f"refglmm {refglmm.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    _add_fit(commands)
    _add_crosscheck(commands)
    _add_datasets(commands)
    _add_validate(commands)
    _add_doctor(commands)
    return parser


def _command(commands: Any, name: str, module: str, about: str, description: str = "", examples: str = "") -> Parser:
    """A command with its help; ``module`` is where its ``run(options)`` lives."""
    text = f"{about[0].upper()}{about[1:]}."
    parser: Parser = commands.add_parser(
        name,
        help=about,
        description=f"{text}\n\n{description}" if description else text,
        epilog=f"{examples}\n{_EPILOG}".lstrip(),
        formatter_class=_Formatter,
    )
    parser.set_defaults(module=module)
    return parser


def _add_fit(commands: Any) -> None:
    parser = _command(
        commands, "fit", "fitting", "fit a model, print its summary and certificate", _DATA, _FIT_EXAMPLES
    )
    parser.add_argument("formula", help='in lme4\'s language, e.g. "y ~ x + (1 + x | g)"')
    parser.add_argument("data", help="a file, - or data:NAME")
    _add_model(parser)
    _add_estimation(parser)
    _add_posterior(parser)
    _add_reading(parser)
    _add_output(parser)


def _add_model(parser: Parser) -> None:
    group = parser.add_argument_group("model")
    group.add_argument(
        "--family", default="gaussian", help="binomial, poisson, nbinom2, gamma, ... (default: gaussian)"
    )
    group.add_argument("--link", help="instead of the family's default link")
    group.add_argument("--weights", metavar="EXPR", help="column or expression; for binomial the numbers of trials")
    group.add_argument("--offset", metavar="EXPR", help='column or expression, e.g. "log(time)"')
    group.add_argument("--subset", metavar="EXPR", help='rows to use, e.g. "age > 20"')
    group.add_argument("--zi", metavar="FORMULA", help='zero part: inflation or hurdle, e.g. "~ x + (1 | g)"')
    group.add_argument("--dispersion", metavar="FORMULA", help='dispersion model, e.g. "~ x"')


def _add_estimation(parser: Parser) -> None:
    group = parser.add_argument_group("estimation")
    group.add_argument(
        "--method",
        choices=("laplace", "agq", "map", "nuts", "advi"),
        help="laplace (default) and agq maximise the likelihood; map, nuts and advi give the posterior",
    )
    group.add_argument(
        "--n-agq",
        type=quadrature_points,
        metavar="K",
        help="quadrature points for each random effect: 0, 1 (Laplace), ..., 100, or auto (the default of agq)",
    )
    group.add_argument("--reml", action="store_true", default=None, help="restricted likelihood (linear models)")
    group.add_argument("--mode", choices=("exact", "lme4"), help="lme4 stops where lme4 does, to reproduce its digits")
    group.add_argument("--se", choices=("hessian", "rx"), help="which standard errors to show")


def _add_posterior(parser: Parser) -> None:
    group = parser.add_argument_group("posterior (--method map, nuts or advi)")
    group.add_argument("--prior", choices=("flat", "normal", "weak"), help="default: flat")
    group.add_argument(
        "--y-range",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        help="range that the response can have, for --prior weak",
    )
    group.add_argument("--draws", type=int, metavar="N", help="draws of each chain (nuts), or of the approximation")
    group.add_argument("--warmup", type=int, metavar="N", help="transitions before the draws (nuts)")
    group.add_argument("--chains", type=int, metavar="N", help="chains (nuts)")
    group.add_argument("--seed", type=int, metavar="N", help="the same seed gives the same draws (default: 1)")


def _add_reading(parser: Parser) -> None:
    group = parser.add_argument_group("reading data")
    group.add_argument(
        "--factor",
        nargs="+",
        action="extend",
        metavar="COLUMN",
        help="columns of numbers that are factors",
    )
    group.add_argument("--sep", type=separator, metavar="CHAR", help="separator: a character, tab or space")
    group.add_argument("--decimal", choices=(".", ","), default=".", help="decimal point (default: %(default)s)")
    group.add_argument(
        "--na", nargs="+", action="extend", metavar="TEXT", help="values that mean missing, besides NA, NaN and nothing"
    )


def _add_output(parser: Parser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument("--json", metavar="FILE", help="write all results; - is standard output, without the text")
    group.add_argument("--html", metavar="FILE", help="write a self-contained page; - is standard output")
    group.add_argument("--quiet", action="store_true", help="print nothing but warnings and errors")


def _add_crosscheck(commands: Any) -> None:
    parser = _command(
        commands,
        "crosscheck",
        "crosschecking",
        "check what other software reported against the exact objective",
        "REPORTED is JSON, as the snippets write it. Options override what it says about the model.\n\n" + _DATA,
        _CROSSCHECK_EXAMPLES,
    )
    parser.add_argument("reported", nargs="?", help="JSON file with the reported results, or -")
    parser.add_argument("data", nargs="?", help="a file, - or data:NAME")
    parser.add_argument("--snippet", metavar="PROGRAM", help="print code that writes such a file: lme4, glmmTMB, ...")
    group = parser.add_argument_group("model, where the file does not say it, or says it wrongly")
    group.add_argument("--formula", help="in lme4's language")
    group.add_argument("--family", help="distribution of the response")
    group.add_argument("--link", help="link function")
    group.add_argument("--n-agq", type=int, metavar="K", help="quadrature points that were used")
    group.add_argument("--reml", action="store_true", default=None, help="restricted likelihood was used")
    group.add_argument("--weights", metavar="EXPR", help="column or expression; for binomial the numbers of trials")
    group.add_argument("--offset", metavar="EXPR", help="column or expression")
    group.add_argument("--zi", metavar="FORMULA", help="zero part")
    group.add_argument("--dispersion", metavar="FORMULA", help="dispersion model")
    _add_reading(parser)
    _add_output(parser)


def _add_datasets(commands: Any) -> None:
    about = "list the data sets that come with refglmm, show or write one"
    parser = _command(commands, "datasets", "shelf", about, examples=_DATASETS_EXAMPLES)
    parser.add_argument("name", nargs="?", help="data set to describe")
    parser.add_argument("--out", metavar="FILE", help="write it as CSV (.tsv: tabs); - is standard output")


def _add_validate(commands: Any) -> None:
    about = "fit published models again and compare every figure"
    parser = _command(commands, "validate", "validating", about)
    parser.add_argument("--verbose", action="store_true", help="show the fits and every figure")
    parser.add_argument("--json", metavar="FILE", help="write every figure; - is standard output, without the text")


def _add_doctor(commands: Any) -> None:
    _command(commands, "doctor", "doctor", "say what this installation is made of and whether it works")
