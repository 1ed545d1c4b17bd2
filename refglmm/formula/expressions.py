"""R expressions as trees: text -> tokens -> tree -> R text again.

Place in the reading order: first module of ``formula``; :mod:`refglmm.formula.grammar` comes next and gives
the trees their meaning as model formulas. Nothing here knows about models or data.

The parser is a precedence climber over R's operator table (``help("Syntax")`` in R), lowest first::

    ~   | ||   & &&   !   == != < > <= >=   + -   * /   %any%   :   unary + -   ^

``^`` groups to the right, comparisons do not chain, everything else groups to the left. Python's spellings
``**``, ``True`` and ``False`` are read as ``^``, ``TRUE`` and ``FALSE``.

:func:`deparse` prints a tree with R's spacing (``I(age^2 + 1)``, ``poly(x, 2, raw = TRUE)``), because that
text is the name of a column. Parentheses are nodes, so a tree that came from text prints back to an
equivalent text.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from refglmm.errors import FormulaError


@dataclass(frozen=True, slots=True)
class Number:
    """A numeric literal; ``integer`` remembers R's suffix L."""

    value: float
    integer: bool = False


@dataclass(frozen=True, slots=True)
class String:
    """A quoted string."""

    value: str


@dataclass(frozen=True, slots=True)
class Constant:
    """One of the reserved words TRUE, FALSE, NULL, NA, NaN, Inf."""

    text: str


@dataclass(frozen=True, slots=True)
class Name:
    """A variable, or ``.``."""

    name: str


@dataclass(frozen=True, slots=True)
class Unary:
    """A prefix operator."""

    op: str
    operand: Node


@dataclass(frozen=True, slots=True)
class Binary:
    """An infix operator."""

    op: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Paren:
    """A pair of round brackets."""

    inner: Node


@dataclass(frozen=True, slots=True)
class Call:
    """A function call; each argument is (name or None, value)."""

    function: str
    args: tuple[tuple[str | None, Node], ...]


Node = Number | String | Constant | Name | Unary | Binary | Paren | Call

CONSTANTS = {"TRUE", "FALSE", "NULL", "NA", "NaN", "Inf"}
_SPELLINGS = {"True": "TRUE", "False": "FALSE"}
# Binding strength of the infix operators; prefix + and - bind at UNARY, prefix ! at NOT, prefix ~ at 1.
_BINDING = {"~": 1, "|": 2, "||": 2, "&": 3, "&&": 3, "+": 6, "-": 6, "*": 7, "/": 7, ":": 9, "^": 11}
_COMPARISON = 5
_BINDING.update(dict.fromkeys(("==", "!=", "<", ">", "<=", ">="), _COMPARISON))
_NOT, _SPECIAL, _UNARY = 4, 8, 10
_TIGHT = {"/", "^", ":", "%%", "%/%"}  # printed by R without spaces
# Deeper nesting than this is not a model; the limit keeps every recursion below Python's own.
_MAX_DEPTH = 60

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?L?(?![\w.]))
    |(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    |(?P<quoted>`(?:[^`\\]|\\.)+`)
    |(?P<name>(?:[^\W\d]|\.(?![0-9]))[\w.]*)
    |(?P<op>\*\*|\|\||&&|==|!=|<=|>=|%[^%\s]*%|[-+*/^:|&!<>~(),=])""",
    re.VERBOSE | re.DOTALL,
)
_SYNTACTIC = re.compile(r"(?:[^\W\d]|\.(?![0-9]))[\w.]*")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    position: int


def _unescape(body: str) -> str:
    return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), body, flags=re.DOTALL)


def _tokens(text: str) -> list[_Token]:
    out, position = [], 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise FormulaError(
                f"cannot read {text[position : position + 12]!r} at position {position} of {_shown(text)}; "
                "write unusual names between backticks",
                text=text,
                position=position,
                piece=text[position],
            )
        kind, piece = str(match.lastgroup), match[0]
        if kind != "space":
            out.append(_Token(kind, "^" if piece == "**" else piece, position))
        position = match.end()
    out.append(_Token("end", "", len(text)))
    return out


def _shown(text: str) -> str:
    return repr(text if len(text) <= 120 else text[:117] + "...")


class _Parser:
    """Precedence climbing over one token list."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = _tokens(text)
        self.at = 0
        self.depth = 0

    def fail(self, token: _Token, what: str) -> FormulaError:
        where = "at the end" if token.kind == "end" else f"at position {token.position}"
        return FormulaError(
            f"{what} {where} of {_shown(self.text)}",
            text=self.text,
            position=token.position,
            piece=token.text,
        )

    def next(self) -> _Token:
        token = self.tokens[self.at]
        self.at += 1
        return token

    def expect(self, text: str) -> None:
        token = self.next()
        if token.kind != "op" or token.text != text:
            found = "nothing" if token.kind == "end" else repr(token.text)
            raise self.fail(token, f"expected {text!r} but found {found}")

    def binding(self, token: _Token) -> int:
        if token.kind != "op":
            return 0
        return _SPECIAL if token.text[0] == "%" else _BINDING.get(token.text, 0)

    def expression(self, minimum: int) -> Node:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise self.fail(self.tokens[self.at], "nested too deeply; simplify the formula")
        left = self.prefix()
        while (strength := self.binding(self.tokens[self.at])) >= minimum and strength:
            op = self.next().text
            right = self.expression(strength if op == "^" else strength + 1)
            left = Binary(op, left, right)
            if strength == _COMPARISON and self.binding(self.tokens[self.at]) == _COMPARISON:
                raise self.fail(self.tokens[self.at], "comparisons cannot be chained; use '&'")
        self.depth -= 1
        return left

    def prefix(self) -> Node:
        token = self.next()
        match token.kind:
            case "number":
                return Number(float(token.text.rstrip("L")), token.text.endswith("L"))
            case "string":
                return String(_unescape(token.text[1:-1]))
            case "name" | "quoted":
                return self.name_or_call(token)
            case "op" if token.text == "(":
                inner = self.expression(1)
                self.expect(")")
                return Paren(inner)
            case "op" if token.text in "+-":
                return Unary(token.text, self.expression(_UNARY))
            case "op" if token.text == "!":
                return Unary("!", self.expression(_NOT))
            case "op" if token.text == "~":
                return Unary("~", self.expression(2))
        found = "something is missing" if token.kind == "end" else f"unexpected {token.text!r}"
        raise self.fail(token, found)

    def name_or_call(self, token: _Token) -> Node:
        quoted = token.kind == "quoted"
        name = _unescape(token.text[1:-1]) if quoted else _SPELLINGS.get(token.text, token.text)
        if self.tokens[self.at].kind == "op" and self.tokens[self.at].text == "(":
            self.at += 1
            return Call(name, self.arguments())
        return Constant(name) if name in CONSTANTS and not quoted else Name(name)

    def arguments(self) -> tuple[tuple[str | None, Node], ...]:
        out: list[tuple[str | None, Node]] = []
        if self.tokens[self.at].text == ")" and self.tokens[self.at].kind == "op":
            self.at += 1
            return ()
        while True:
            label = None
            first, second = self.tokens[self.at], self.tokens[min(self.at + 1, len(self.tokens) - 1)]
            if first.kind in ("name", "quoted") and second.kind == "op" and second.text == "=":
                label = _unescape(first.text[1:-1]) if first.kind == "quoted" else first.text
                self.at += 2
            out.append((label, self.expression(2)))
            token = self.next()
            if token.kind != "op" or token.text not in (",", ")"):
                raise self.fail(token, "expected ',' or ')' in a function call")
            if token.text == ")":
                return tuple(out)


@functools.lru_cache(maxsize=1024)  # trees are immutable; the same few texts are asked for again and again
def parse_expression(text: str) -> Node:
    """Parse R text into a tree.

    Parameters
    ----------
    text : str
        One R expression, or a formula (``~`` is the weakest operator).

    Returns
    -------
    Node
        The tree; parentheses are kept as nodes.

    Raises
    ------
    FormulaError
        With facts ``text``, ``position`` and ``piece``.
    """
    parser = _Parser(text)
    node = parser.expression(1)
    token = parser.next()
    if token.kind != "end":
        raise parser.fail(token, f"unexpected {token.text!r}")
    return node


def number_text(value: float, integer: bool = False) -> str:
    """Print a number as R deparses it: 15 digits, fixed notation unless scientific is shorter."""
    if value != value or value in (float("inf"), float("-inf")):
        return "NaN" if value != value else ("Inf" if value > 0 else "-Inf")
    mantissa, exponent = f"{value:.14e}".split("e")
    mantissa = mantissa.rstrip("0").rstrip(".")
    scientific = f"{mantissa}e{int(exponent):+03d}"
    digits = max(0, len(mantissa.lstrip("-").replace(".", "")) - 1 - int(exponent))
    # Beyond 1e16 the fixed form cannot be the shorter one; not formatting it avoids 300-digit strings.
    fixed = f"{value:.{digits}f}" if abs(int(exponent)) < 17 else scientific
    return (fixed if len(fixed) <= len(scientific) else scientific) + ("L" if integer else "")


def name_text(name: str) -> str:
    """Print a variable name, between backticks when R's syntax needs them."""
    if _SYNTACTIC.fullmatch(name) and name not in CONSTANTS and name not in _SPELLINGS:
        return name
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def _string_text(value: str) -> str:
    for plain, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\t", "\\t"), ("\r", "\\r")):
        value = value.replace(plain, escaped)
    return f'"{value}"'


def deparse(node: Node) -> str:
    """Print a tree as R would.

    Parameters
    ----------
    node : Node
        A tree from :func:`parse_expression`.

    Returns
    -------
    str
        Text that parses to the same tree.
    """
    tail: list[str] = []
    while isinstance(node, Binary):  # long sums lean to the left: walk them without recursion
        op = node.op if node.op in _TIGHT else f" {node.op} "
        tail.append(op + deparse(node.right))
        node = node.left
    return _deparse_head(node) + "".join(reversed(tail))


def _deparse_head(node: Node) -> str:
    match node:
        case Number(value, integer):
            return number_text(value, integer)
        case String(value):
            return _string_text(value)
        case Constant(text):
            return text
        case Name(name):
            return name_text(name)
        case Paren(inner):
            return f"({deparse(inner)})"
        case Unary(op, operand):
            return op + deparse(operand)
        case Call(function, args):
            parts = (deparse(v) if k is None else f"{name_text(k)} = {deparse(v)}" for k, v in args)
            return f"{name_text(function)}({', '.join(parts)})"
    raise TypeError(f"not an expression node: {node!r}")


def walk(node: Node) -> Iterator[Node]:
    """Yield the node and everything below it, left to right."""
    stack = [node]
    while stack:
        node = stack.pop()
        yield node
        match node:
            case Binary(_, left, right):
                stack += [right, left]
            case Unary(_, inner) | Paren(inner):
                stack.append(inner)
            case Call(_, args):
                stack += [value for _, value in reversed(args)]


def names_in(node: Node) -> tuple[str, ...]:
    """Return the variables that an expression uses, in order of first appearance."""
    return tuple(dict.fromkeys(n.name for n in walk(node) if isinstance(n, Name)))


def strip_parens(node: Node) -> Node:
    """Remove the outer parentheses."""
    while isinstance(node, Paren):
        node = node.inner
    return node
