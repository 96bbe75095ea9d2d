"""The numbers of a Python file that can be tuned, and the file with other numbers in their places."""

import ast
from collections.abc import Sequence
from dataclasses import dataclass

Number = int | float
_NOT_FOR_TUNING = ("seed", "random_state", "n_jobs", "verbose", "version")
_NOT_CALLED = ("range", "round", "print", "open", "exit", "seed", "default_rng", "sleep", "reshape")


@dataclass(frozen=True)
class Numeral:
    """A number in a source: its bytes from `start` to `end`, and whether it is a threshold (an operand of `<`)."""

    start: int
    end: int
    value: Number
    threshold: bool


def numerals(source: str) -> list[Numeral]:
    """The numbers of assignments, defaults, comparisons and arguments, in order; none where it is no Python.

    Left out: indices, flags (the whole numbers 0 and 1), returned whole numbers, seeds, and arguments of `range` and
    the like.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return []
    finder = _Finder(source)
    finder.visit(tree)
    return sorted(finder.found, key=lambda numeral: numeral.start)


def replaced(source: str, places: Sequence[Numeral], values: Sequence[Number]) -> str:
    """The source with `values` in the places of its numerals."""
    text = source.encode()
    for place, value in sorted(zip(places, values, strict=True), key=lambda pair: -pair[0].start):
        text = text[: place.start] + written(value).encode() + text[place.end :]
    return text.decode()


def written(value: Number) -> str:
    """A number as Python source: whole numbers stay whole, floats keep five digits and stay floats."""
    if isinstance(value, int):
        return str(value)
    text = f"{value:.5g}"
    return text if any(mark in text for mark in ".en") else text + ".0"


class _Finder(ast.NodeVisitor):
    """Collects the numerals; what may not be tuned is not visited."""

    def __init__(self, source: str) -> None:
        self.found: list[Numeral] = []
        self._source = source.encode()
        self._starts = [0]
        for line in self._source.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))
        self._inside = ""  # what the number would be part of: "", "value" or "threshold"

    def _within(self, inside: str, *nodes: ast.AST | None) -> None:
        before, self._inside = self._inside, inside
        for node in nodes:
            if node is not None:
                self.visit(node)
        self._inside = before

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if not self._inside or type(value) not in (int, float) or (type(value) is int and value in (0, 1)):
            return
        assert isinstance(value, int | float) and node.end_lineno is not None and node.end_col_offset is not None
        start = self._starts[node.lineno - 1] + node.col_offset
        end = self._starts[node.end_lineno - 1] + node.end_col_offset
        self.found.append(Numeral(start, end, value, self._inside == "threshold"))

    def visit_Assign(self, node: ast.Assign) -> None:
        if not any(_named(target) in _NOT_FOR_TUNING for target in node.targets):
            self._within("value", node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if _named(node.target) not in _NOT_FOR_TUNING:
            self._within("value", node.value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._within("value", node.value)

    def visit_arguments(self, node: ast.arguments) -> None:
        names = [argument.arg for argument in (*node.posonlyargs, *node.args)]
        defaults = [*zip(names[len(names) - len(node.defaults) :], node.defaults, strict=True)]
        defaults += [
            (argument.arg, value) for argument, value in zip(node.kwonlyargs, node.kw_defaults, strict=True) if value
        ]
        self._within("value", *(value for name, value in defaults if name not in _NOT_FOR_TUNING))

    def visit_Compare(self, node: ast.Compare) -> None:
        ordered = all(isinstance(op, ast.Lt | ast.LtE | ast.Gt | ast.GtE) for op in node.ops)
        self._within("threshold" if ordered else "", node.left, *node.comparators)

    def visit_Call(self, node: ast.Call) -> None:
        self._within("", node.func)
        if _named(node.func) not in _NOT_CALLED:
            self._within("value", *node.args)
            self._within("value", *(word.value for word in node.keywords if word.arg not in _NOT_FOR_TUNING))

    def visit_Return(self, node: ast.Return) -> None:
        self._within("" if isinstance(node.value, ast.Constant) else self._inside, node.value)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self.visit(node.value)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Text; the positions of numbers in it are not told truly before Python 3.12."""


def _named(node: ast.AST) -> str:
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    return name.lower()
