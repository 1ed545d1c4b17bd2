"""Model formulas: R text -> response, fixed part, random terms, offsets; and term algebra. No data.

Place in the reading order: after :mod:`refglmm.formula.expressions` (trees), before
:mod:`refglmm.formula.frame`, which joins a formula to data.

What a formula means (Bates et al. 2015, "Fitting linear mixed-effects models using lme4", section 2, and R's
``help("formula")``):

- ``lhs ~ fixed + (expr | group)``; bars stand inside parentheses or inside the name of a covariance structure,
  ``us() diag() cs() ar1() toep() ou() exp() gau() mat() rr() propto() equalto()`` (``exp`` with a bar is a structure).
- a group ``a/b`` stands for ``b:a`` and ``a``; ``a*b`` for ``a``, ``b``, ``a:b``; ``a+b`` for one term each.
- ``(x + f || g)`` is split by *formula term* into ``(1 | g) + (0 + x | g) + (0 + f | g)``.
- a fixed part (and each ``expr``) is a set of terms; a term is a set of variables, stored as a bit mask.
  ``+`` joins, ``-`` removes, ``a:b`` unites every pair, ``a*b = a + b + a:b``, ``a/b = a + b %in% a``,
  ``(..)^k`` is k-fold crossing. Terms are sorted by degree, otherwise they keep the order of appearance.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from refglmm.errors import FormulaError
from refglmm.formula.expressions import (
    Binary,
    Call,
    Constant,
    Name,
    Node,
    Number,
    Paren,
    Unary,
    deparse,
    names_in,
    parse_expression,
    strip_parens,
    walk,
)

#: Covariance structures, and whether their columns share one standard deviation unless ``hom=`` says otherwise.
_DEFAULT_HOM = {
    "us": False,
    "diag": False,
    "cs": False,
    "ar1": True,
    "toep": False,
    "ou": True,
    "exp": True,
    "gau": True,
    "mat": True,
    "rr": False,
    "propto": True,
    "equalto": True,
}
#: Other names of some, as glmmTMB has them: the structure and ``hom``.
_SYNONYMS = {
    "homdiag": ("diag", True),
    "homcs": ("cs", True),
    "homtoep": ("toep", True),
    "hetar1": ("ar1", False),
}
STRUCTURES = (*_DEFAULT_HOM, *_SYNONYMS)
#: Structures that take ``hom=``.
_WITH_HOM = ("diag", "cs", "ar1", "toep")
_DEFAULT_RANK = 2
# A crossing of 14 variables has 16383 terms: nobody means that, and the time doubles with each further one.
_MAX_TERMS = 10_000


@dataclass(frozen=True)
class RandomTerm:
    """One random-effects term after expansion.

    Attributes
    ----------
    expression : str
        R text left of the bar, for example ``"1 + Days"``.
    group : str
        R text of the grouping factor: variables joined by ``:``.
    structure : str
        Name of the covariance structure.
    hom : bool
        One standard deviation shared by all columns.
    rank : int
        Rank of ``rr``; 0 for the others.
    matrix : str
        Name of the known covariance matrix of ``propto`` and ``equalto``; empty for the others.
    split : bool
        True if the term came out of a double bar (not compared: the expanded text does not show it).
    """

    expression: str
    group: str
    structure: str = "us"
    hom: bool = False
    rank: int = 0
    matrix: str = ""
    split: bool = field(default=False, compare=False)

    def __str__(self) -> str:
        inside = f"{self.expression} | {self.group}"
        if self.structure == "us":
            return f"({inside})"
        if self.structure == "rr":
            return f"rr({inside}, d = {self.rank})"
        if self.matrix:
            return f"{self.structure}({inside}, {self.matrix})"
        if self.hom == _DEFAULT_HOM[self.structure]:
            return f"{self.structure}({inside})"
        return f"{self.structure}({inside}, hom = {'TRUE' if self.hom else 'FALSE'})"

    @functools.cached_property
    def group_name(self) -> str:
        """The grouping factor for people: a single name goes without backticks."""
        node = parse_expression(self.group)
        return node.name if isinstance(node, Name) else self.group


@dataclass(frozen=True)
class Formula:
    """A parsed mixed-model formula.

    Attributes
    ----------
    text : str
        What the user wrote (not compared).
    response : str or None
        R text of the left-hand side.
    fixed : str
        R text of the fixed part without bars and offsets; ``"1"`` if nothing else is left.
    random : tuple of RandomTerm
        In formula order, expanded.
    offsets : tuple of str
        R text inside each ``offset(...)``.
    """

    text: str = field(compare=False)
    response: str | None
    fixed: str
    random: tuple[RandomTerm, ...] = ()
    offsets: tuple[str, ...] = ()

    @property
    def expanded(self) -> str:
        """The formula with groups and double bars written out; what a fit stores."""
        pieces = [self.fixed, *(f"offset({o})" for o in self.offsets), *map(str, self.random)]
        left = "" if self.response is None else f"{self.response} "
        return f"{left}~ {' + '.join(pieces)}"

    def __str__(self) -> str:
        return self.expanded

    def without_random(self) -> Formula:
        """Return the formula without its random terms."""
        bare = Formula("", self.response, self.fixed, (), self.offsets)
        return Formula(bare.expanded, self.response, self.fixed, (), self.offsets)

    @functools.cached_property
    def variables(self) -> tuple[str, ...]:
        """Names of all variables used, in order of appearance (``.`` left out)."""
        texts = [self.response, self.fixed, *self.offsets]
        for term in self.random:
            texts += [term.expression, term.group]
        names = (name for text in texts if text is not None for name in names_in(parse_expression(text)))
        return tuple(dict.fromkeys(name for name in names if name != "."))

    @functools.cached_property
    def has_dot(self) -> bool:
        """Whether ``.`` still stands for "all other columns"."""
        return "." in names_in(parse_expression(self.fixed))

    def resolve_dot(self, columns: Iterable[str]) -> Formula:
        """Replace ``.`` in the fixed part.

        Parameters
        ----------
        columns : iterable of str
            Column names of the data. Those of the response, the grouping factors and the offsets are left
            out.

        Returns
        -------
        Formula
            Without ``.``; the same object if there was none.
        """
        if not self.has_dot:
            return self
        texts = [self.response, *self.offsets, *(term.group for term in self.random)]
        taken = {name for text in texts if text is not None for name in names_in(parse_expression(text))}
        left = [name for name in columns if name not in taken]
        if not left:
            raise FormulaError("'.' stands for all other columns, but there are none; write the terms out")
        fixed = deparse(_replace_dot(parse_expression(self.fixed), _sum([Name(name) for name in left])))
        return _formula(parse_expression(fixed), self.text, self.response, self.random, self.offsets)

    def renamed(self, names: Mapping[str, Node]) -> Formula:
        """Put other variables in place of some in the fixed part and left of the bars; groups and offsets stay."""

        def changed(text: str) -> str:
            return deparse(_replace_inside(parse_expression(text), names))

        random = tuple(replace(term, expression=changed(term.expression)) for term in self.random)
        new = replace(self, fixed=changed(self.fixed), random=random)
        return replace(new, text=new.expanded)


def _sum(nodes: list[Node]) -> Node:
    return functools.reduce(lambda a, b: Binary("+", a, b), nodes)


def _replace_dot(node: Node, value: Node) -> Node:
    """Put ``value`` in place of ``.``, in parentheses wherever it is not simply added."""
    pieces: list[tuple[int, Node]] = []
    for sign, piece in _summands(node):
        alone = sign > 0 and piece == Name(".")
        pieces += _summands(value) if alone else [(sign, _replace_inside(piece, {".": Paren(value)}))]
    return _join(pieces)


def _replace_inside(node: Node, values: Mapping[str, Node]) -> Node:
    """Put nodes in place of variables, everywhere."""
    match node:
        case Name(name):
            return values.get(name, node)
        case Binary(op, left, right):
            return Binary(op, _replace_inside(left, values), _replace_inside(right, values))
        case Unary(op, inner):
            return Unary(op, _replace_inside(inner, values))
        case Paren(inner):
            return Paren(_replace_inside(inner, values))
        case Call(function, args):
            return Call(function, tuple((k, _replace_inside(v, values)) for k, v in args))
    return node


# --- splitting a formula into its parts ---------------------------------------------------------------------


def parse(text: str | Formula, *, double_bar: str = "split") -> Formula:
    """Parse a model formula.

    Parameters
    ----------
    text : str
        ``"y ~ x + (1 | g)"``; a :class:`Formula` is returned as it is.
    double_bar : {"split", "diag"}
        ``(x || g)`` becomes one term per formula term, or ``diag(x | g)``.

    Returns
    -------
    Formula
        Expanded; ``.`` is still in it (see :meth:`Formula.resolve_dot`).

    Raises
    ------
    FormulaError
        Naming the piece and, for syntax errors, the position.
    """
    if isinstance(text, Formula):
        return text
    if not isinstance(text, str):
        raise FormulaError(f"a formula is text such as 'y ~ x + (1 | g)', not {type(text).__name__}", formula=text)
    if double_bar not in ("split", "diag"):
        raise FormulaError(f"double_bar must be 'split' or 'diag', not {double_bar!r}", double_bar=double_bar)
    try:
        return _parse(text, double_bar)
    except RecursionError:
        raise FormulaError("the formula is nested too deeply or too long; simplify it") from None


@functools.lru_cache(maxsize=512)
def _parse(text: str, double_bar: str) -> Formula:
    tree = parse_expression(text)
    match tree:
        case Binary("~", left, right):
            response: str | None = _response_text(left)
        case Unary("~", right):
            response = None
        case _:
            raise FormulaError(f"there is no '~' in {text!r}; write 'response ~ terms'", text=text, piece=text)
    if any(isinstance(n, Binary | Unary) and n.op == "~" for n in walk(right)):
        raise FormulaError(f"more than one '~' in {text!r}; a formula has one", text=text, piece="~")
    return _formula(right, text, response, (), (), double_bar)


def update_formula(old: Formula, text: str, *, double_bar: str = "split") -> Formula:
    """Change a formula: ``.`` stands for the old side, as in R's ``update``.

    The fixed part is written out anew as the terms that are left, in their order: ``a * b - a:b`` becomes ``a + b``.

    Parameters
    ----------
    old : Formula
        What ``.`` stands for.
    text : str
        For example ``". ~ . + x - (1 | g)"``. An empty left-hand side keeps the old response.
    double_bar : {"split", "diag"}
        As for :func:`parse`.

    Returns
    -------
    Formula
        The new formula.

    Raises
    ------
    FormulaError
        Also for subtracting a random term or an offset that the old formula does not have.
    """
    tree = parse_expression(text) if isinstance(text, str) else None
    if not isinstance(tree, Binary | Unary) or tree.op != "~":
        raise FormulaError(f"an update is a formula such as '. ~ . + x', not {text!r}", text=text, piece=text)
    right = tree.operand if isinstance(tree, Unary) else tree.right
    response = old.response if isinstance(tree, Unary) else _updated_response(tree.left, old.response)
    fixed = parse_expression(old.fixed)
    parts = _Parts([], [], [], double_bar)
    for sign, piece in _summands(right):
        if sign > 0 and piece == Name("."):
            parts.fixed += _summands(fixed)
            parts.random += old.random
            parts.offsets += old.offsets
        elif sign < 0 and _special(piece):
            parts.remove(piece)
        else:
            parts.collect(_replace_inside(piece, {".": Paren(fixed)}), sign)
    left = "" if response is None else response
    joined = _simplified(_join(parts.fixed or [(1, Number(1.0))]))
    return _formula(joined, f"{left} ~ {deparse(joined)}", response, tuple(parts.random), tuple(parts.offsets))


def _simplified(fixed: Node) -> Node:
    """The terms that a fixed part stands for, as their sum; as it is while a ``.`` stands for unknown columns."""
    if "." in names_in(fixed):
        return fixed
    terms = expand_terms(deparse(fixed))
    if not terms.labels:
        return Number(float(terms.intercept))
    return parse_expression(" + ".join(terms.labels) + ("" if terms.intercept else " - 1"))


def _updated_response(node: Node, old: str | None) -> str:
    if old is not None:
        node = _replace_inside(node, {".": parse_expression(old)})
    return _response_text(node)


def _response_text(node: Node) -> str:
    if any(isinstance(n, Binary | Unary) and n.op == "~" for n in walk(node)):
        raise FormulaError("more than one '~'; a formula has one", piece="~")
    if isinstance(node, Number | Constant) or "." in names_in(node):
        raise FormulaError(f"the response cannot be {deparse(node)}; name a column", piece=deparse(node))
    # Parentheses keep a response such as `a == b` apart from the rest when the formula is printed.
    return deparse(node)


def _formula(
    right: Node,
    text: str,
    response: str | None,
    random: tuple[RandomTerm, ...],
    offsets: tuple[str, ...],
    double_bar: str = "split",
) -> Formula:
    parts = _Parts([], list(random), list(offsets), double_bar)
    parts.collect(right)
    fixed = deparse(_join(parts.fixed)) if parts.fixed else "1"
    if "." not in names_in(parse_expression(fixed)):
        labels = expand_terms(fixed).labels
        if response is not None and response in labels:
            raise FormulaError(
                f"the response {response!r} also stands on the right-hand side; remove it there",
                piece=response,
            )
    return Formula(text, response, fixed, tuple(parts.random), tuple(parts.offsets))


def _summands(node: Node, sign: int = 1) -> Iterator[tuple[int, Node]]:
    """Yield the signed pieces of a sum, left to right."""
    stack: list[tuple[int, Node]] = [(sign, node)]
    while stack:
        sign, node = stack.pop()
        match node:
            case Binary("+" | "-" as op, left, right):
                stack.append((sign if op == "+" else -sign, right))
                stack.append((sign, left))
            case Unary("+" | "-" as op, inner):
                stack.append((sign if op == "+" else -sign, inner))
            case _:
                yield sign, node


def _join(pieces: list[tuple[int, Node]]) -> Node:
    """Write signed pieces as a sum again; the inverse of :func:`_summands`."""

    def guarded(piece: Node, alone: tuple[type, ...]) -> Node:
        weak = isinstance(piece, Binary) and piece.op not in ("*", "/", ":", "^") and piece.op[0] != "%"
        return Paren(piece) if weak or isinstance(piece, alone) else piece

    (sign, first), *rest = pieces
    out = guarded(first, (Unary,)) if sign > 0 else Unary("-", guarded(first, (Unary, Binary)))
    for sign, piece in rest:
        out = Binary("+" if sign > 0 else "-", out, guarded(piece, (Unary,)))
    return out


def _bar(node: Node) -> Binary | None:
    """Return ``expr | group`` if the node is one between parentheses."""
    inner = strip_parens(node) if isinstance(node, Paren) else None
    return inner if isinstance(inner, Binary) and inner.op in ("|", "||") else None


def _is_structure(node: Node) -> bool:
    if not isinstance(node, Call) or not node.args or node.function not in STRUCTURES:
        return False
    first = strip_parens(node.args[0][1])
    return isinstance(first, Binary) and first.op in ("|", "||")


def _special(node: Node) -> bool:
    """Whether a bar or an offset stands at formula level (function arguments are not looked into)."""
    match node:
        case Binary(op, left, right):
            return op in ("|", "||") or _special(left) or _special(right)
        case Paren(inner) | Unary(_, inner):
            return _special(inner)
        case Call("offset", _):
            return True
    return _is_structure(node)


@dataclass
class _Parts:
    """Collects the pieces of a right-hand side."""

    fixed: list[tuple[int, Node]]
    random: list[RandomTerm]
    offsets: list[str]
    double_bar: str

    def collect(self, node: Node, sign: int = 1) -> None:
        for piece_sign, piece in _summands(node, sign):
            if not _special(piece):
                self.fixed.append((piece_sign, piece))
                continue
            if piece_sign < 0:
                raise FormulaError(f"{deparse(piece)} cannot be subtracted; leave it out", piece=deparse(piece))
            self.special(piece)

    def remove(self, piece: Node) -> None:
        """Take out the random terms or offsets that a piece stands for."""
        other = _Parts([], [], [], self.double_bar)
        other.special(piece)
        try:
            for term in other.random:
                self.random.remove(term)
            for offset in other.offsets:
                self.offsets.remove(offset)
        except ValueError:
            raise FormulaError(
                f"{deparse(piece)} cannot be subtracted: the formula does not have it", piece=deparse(piece)
            ) from None

    def special(self, piece: Node) -> None:
        bar = _bar(piece)
        if bar is not None:
            self.random += _random_terms(bar, "us", False, self.double_bar)
        elif isinstance(piece, Call) and piece.function == "offset":
            self.offsets.append(deparse(_only_argument(piece)))
        elif isinstance(piece, Call):
            self.random += _structured(piece)
        elif isinstance(piece, Paren):
            self.collect(piece.inner)
        elif isinstance(piece, Binary) and piece.op in ("|", "||"):
            raise FormulaError(
                f"the bar in {deparse(piece)!r} needs parentheses: write (expr | group)", piece=deparse(piece)
            )
        else:
            raise FormulaError(
                f"random terms and offsets can only be added, not combined as in {deparse(piece)!r}",
                piece=deparse(piece),
            )


def _only_argument(call: Call) -> Node:
    if len(call.args) != 1:
        raise FormulaError(f"{call.function}() takes one argument, as in offset(log(t))", piece=deparse(call))
    return call.args[0][1]


def _structured(call: Call) -> list[RandomTerm]:
    """Expand ``cs(expr | group, hom = TRUE)``."""
    bar = strip_parens(call.args[0][1])
    assert isinstance(bar, Binary)
    text = deparse(call)
    if bar.op == "||":
        raise FormulaError(f"'||' inside {call.function}() has no meaning; use '|' in {text}", piece=text)
    structure, hom = _SYNONYMS.get(call.function, (call.function, _DEFAULT_HOM.get(call.function, False)))
    further = _further_argument(call, text)
    rank, matrix = _DEFAULT_RANK if structure == "rr" else 0, ""
    match further:
        case bool():
            hom = further
        case int():
            rank = further
        case str():
            matrix = further
    return _random_terms(bar, structure, hom, "split", rank=rank, matrix=matrix)


def _further_argument(call: Call, text: str) -> bool | int | str | None:
    """What stands after the bar: ``hom = TRUE``, ``d = 2`` or the name of a matrix, as the structure has it."""
    name = call.function
    key = "hom" if name in _WITH_HOM else "d" if name == "rr" else "V" if name in ("propto", "equalto") else ""
    allowed = {"": "no further argument", "V": "the name of a matrix as second argument"}.get(
        key, f"one further argument, {key}="
    )
    given = call.args[1:]
    if len(given) > 1 or (given and (not key or given[0][0] not in (None, key))) or (key == "V" and not given):
        raise FormulaError(f"{name}(expr | group) takes {allowed}: {text}", piece=text)
    if not given:
        return None
    match key, given[0][1]:
        case "hom", Constant("TRUE" | "FALSE" as truth):
            return truth == "TRUE"
        case "d", Number(d) if d >= 1 and d % 1 == 0:
            return int(d)
        case "V", Name(matrix):
            return matrix
    must = {
        "hom": "be TRUE or FALSE, written out",
        "d": "be a whole number >= 1",
        "V": "be a name (of a matrix in env)",
    }
    raise FormulaError(f"{key}= must {must[key]}: {text}", piece=deparse(given[0][1]))


def _random_terms(
    bar: Binary, structure: str, hom: bool, double_bar: str, *, rank: int = 0, matrix: str = ""
) -> list[RandomTerm]:
    expression, text = deparse(bar.left), deparse(bar)
    if any(isinstance(n, Name) and n.name == "." for n in walk(bar)):
        raise FormulaError(f"'.' has no meaning inside a random term: ({text})", piece=text)
    if _special(bar.left) or _special(bar.right):
        raise FormulaError(f"bars and offsets cannot be nested: ({text})", piece=text)
    terms = expand_terms(expression)
    if not terms.intercept and not terms.masks:
        raise FormulaError(f"no random effects left of the bar in ({text}); remove the term", piece=text)
    expressions, split = [expression], False
    if bar.op == "||" and double_bar == "diag":
        structure = "diag"
    elif bar.op == "||":
        expressions, split = [*(["1"] if terms.intercept else []), *(f"0 + {t}" for t in terms.labels)], True
    groups = [":".join(group) for group in _groups(bar.right)]
    return [RandomTerm(e, group, structure, hom, rank, matrix, split) for e in expressions for group in groups]


def _groups(node: Node) -> list[tuple[str, ...]]:
    """Expand a grouping expression into products of atoms, in lme4's order."""

    def united(*products: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(atom for product in products for atom in product))

    node = strip_parens(node)
    match node:
        case Binary("+", left, right):
            out = _groups(left) + _groups(right)
        case Binary(":" | "%in%", left, right):
            out = [united(a, b) for a in _groups(left) for b in _groups(right)]
        case Binary("*", left, right):
            a, b = _groups(left), _groups(right)
            out = sorted([*a, *b, *(united(x, y) for x in a for y in b)], key=len)
        case Binary("/", left, right):
            outer = _groups(left)
            out = [united(inner, *outer) for inner in _groups(right)] + outer
        case Name() | Call():
            return [(deparse(node),)]
        case Binary(op) if op in ("==", "!=", "<", ">", "<=", ">=", "&", "|"):
            return [(f"({deparse(node)})",)]
        case _:
            raise FormulaError(
                f"{deparse(node)!r} is not a grouping factor; use variables with ':', '/', '*' or '+'",
                piece=deparse(node),
            )
    if len(out) > _MAX_TERMS:
        raise FormulaError(f"the grouping expression stands for more than {_MAX_TERMS} factors; write fewer")
    return list({frozenset(product): product for product in reversed(out)}.values())[::-1]


@functools.lru_cache(maxsize=512)
def group_atoms(group: str) -> tuple[str, ...]:
    """Split the text of a grouping factor (``"b:a"``) into the texts of its variables."""
    atoms: list[str] = []
    node = parse_expression(group)
    while isinstance(node, Binary) and node.op == ":":
        atoms.append(deparse(node.right))
        node = node.left
    return (*reversed([*atoms, deparse(node)]),)


# --- term algebra -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Terms:
    """Terms of a fixed part or of the left side of a bar.

    Attributes
    ----------
    variables : tuple of str
        R text of every variable, in order of appearance; bit i of a mask stands for ``variables[i]``.
    masks : tuple of int
        One per term, sorted by degree.
    intercept : bool
        Whether there is a constant column.
    """

    variables: tuple[str, ...]
    masks: tuple[int, ...]
    intercept: bool

    def members(self, mask: int) -> tuple[int, ...]:
        """Indices of the variables of one term."""
        return _bits(mask)

    @functools.cached_property
    def labels(self) -> tuple[str, ...]:
        """R text of the terms, without the intercept."""
        return tuple(":".join(self.variables[i] for i in self.members(mask)) for mask in self.masks)

    @functools.cached_property
    def used(self) -> tuple[str, ...]:
        """The variables that occur in some term (a subtracted term leaves variables that do not)."""
        union = functools.reduce(lambda a, b: a | b, self.masks, 0)
        return tuple(self.variables[i] for i in self.members(union))


@functools.lru_cache(maxsize=1024)
def _bits(mask: int) -> tuple[int, ...]:
    """Positions of the ones of a mask, ascending."""
    out = []
    while mask:
        lowest = mask & -mask
        out.append(lowest.bit_length() - 1)
        mask ^= lowest
    return tuple(out)


@functools.lru_cache(maxsize=512)
def expand_terms(text: str) -> Terms:
    """Expand the text of a fixed part into terms.

    Parameters
    ----------
    text : str
        R text such as ``"(a + b)^2 - a"``; no bars, no ``.``.

    Returns
    -------
    Terms
        Sorted by degree, then by order of appearance.
    """
    algebra = _Algebra()
    masks = algebra.encode(parse_expression(text), 1)
    ordered = tuple(sorted(masks, key=int.bit_count))
    return Terms(tuple(algebra.variables), ordered, algebra.intercept)


def _unique(masks: Iterable[int]) -> list[int]:
    out = list(dict.fromkeys(masks))
    if len(out) > _MAX_TERMS:
        raise FormulaError(f"the formula stands for more than {_MAX_TERMS} terms; write fewer")
    return out


class _Algebra:
    """Turns a tree into bit masks; collects variables and the intercept on the way."""

    def __init__(self) -> None:
        self.variables: dict[str, int] = {}
        self.intercept = True

    def encode(self, node: Node, sign: int) -> list[int]:
        masks: dict[int, None] = {}
        for piece_sign, piece in _summands(node, sign):
            new = self.product(piece, piece_sign)
            # `sign` is the parity of the whole: below a minus, removing and adding change places only for
            # the intercept, because the caller removes whatever list comes back.
            if piece_sign * sign > 0:
                masks.update(dict.fromkeys(new))
            else:
                for mask in new:
                    masks.pop(mask, None)
        return _unique(masks)

    def product(self, node: Node, sign: int) -> list[int]:
        match node:
            case Number(value) if value in (0.0, 1.0):
                self.intercept = (value == 1.0) == (sign > 0)
                return []
            case Paren(inner):
                return self.encode(inner, sign)
            case Binary("^", left, right):
                return self.power(self.encode(left, sign), right)
            case Binary("*" | ":" | "/" | "%in%" as op, left, right):
                return self.combine(op, self.encode(left, sign), self.encode(right, sign))
            case Number() | Constant() | Binary("~") | Unary("~"):
                raise FormulaError(f"{deparse(node)} is not a model term; name a variable", piece=deparse(node))
            case Name() | Call() | Binary() | Unary():
                index = self.variables.setdefault(deparse(node), len(self.variables))
                return [1 << index]
        raise FormulaError(f"{deparse(node)} is not a model term; name a variable", piece=deparse(node))

    def combine(self, op: str, left: list[int], right: list[int]) -> list[int]:
        if len(left) * len(right) > 100 * _MAX_TERMS:
            raise FormulaError(f"the formula stands for more than {_MAX_TERMS} terms; write fewer")
        whole_left, whole_right = (functools.reduce(lambda a, b: a | b, x, 0) for x in (left, right))
        rules: dict[str, Callable[[], Iterable[int]]] = {
            ":": lambda: (a | b for a in left for b in right),
            "*": lambda: (*left, *right, *(a | b for a in left for b in right)),
            "/": lambda: (*left, *(whole_left | b for b in right)),
            "%in%": lambda: (a | whole_right for a in left),
        }
        return _unique(rules[op]())

    def power(self, left: list[int], right: Node) -> list[int]:
        exponent = strip_parens(right)
        if not isinstance(exponent, Number) or exponent.value < 1 or exponent.value % 1:
            raise FormulaError(
                f"'^{deparse(right)}' outside a function is crossing and needs a whole number >= 1; "
                "write I(x^2) for a power",
                piece=deparse(right),
            )
        out = left
        for _ in range(int(min(exponent.value, len(left))) - 1):  # more factors than terms add nothing
            out = _unique([*out, *self.combine(":", out, left)])
        return out


def expand_atoms(texts: Iterable[str]) -> tuple[str, ...]:
    """Variables (in R's sense) of several fixed parts, each once."""
    return tuple(dict.fromkeys(v for text in texts for v in expand_terms(text).used))
