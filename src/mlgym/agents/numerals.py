"""Every number of a Python file that could be tuned: for programs that give their settings no names."""

import ast
import bisect

from mlgym.agents.places import Place, fit

_NOT_CALLED = ("range", "round", "print", "open", "exit", "seed", "default_rng", "sleep", "reshape")


def numerals(source: str, path: str = "") -> list[Place]:
    """The numbers of assignments, defaults, comparisons and arguments, in order; none where it is no Python.

    Left out: indices, flags (the whole numbers 0 and 1), returned whole numbers, seeds, and arguments of `range` and
    the like.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return []
    finder = _Finder(Spans(source), path)
    finder.visit(tree)
    return sorted(finder.found, key=lambda place: place.start)


class Spans:
    """Where the nodes of a source lie, in bytes."""

    def __init__(self, source: str) -> None:
        self._starts = [0]
        for line in source.encode().splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))

    def of(self, node: ast.expr) -> tuple[int, int]:
        """The first byte of a node and the one after its last."""
        assert node.end_lineno is not None and node.end_col_offset is not None
        return self._starts[node.lineno - 1] + node.col_offset, self._starts[node.end_lineno - 1] + node.end_col_offset

    def line(self, start: int) -> int:
        """The number of the line of a byte, from 1."""
        return bisect.bisect_right(self._starts, start)


class _Finder(ast.NodeVisitor):
    """Collects the numbers; what may not be tuned is not visited."""

    def __init__(self, spans: Spans, path: str) -> None:
        self.found: list[Place] = []
        self._spans, self._path = spans, path
        self._inside = ""  # what the number would be part of: "", "value" or "threshold"
        self._name = ""

    def _within(self, inside: str, *nodes: ast.AST | None, name: str = "") -> None:
        if fit(name, True) is None:
            return
        before, self._inside, self._name = (self._inside, self._name), inside, name
        for node in nodes:
            if node is not None:
                self.visit(node)
        self._inside, self._name = before

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if not self._inside or type(value) not in (int, float) or (type(value) is int and value in (0, 1)):
            return
        assert isinstance(value, int | float)
        found = fit(self._name, value, threshold=self._inside == "threshold")
        if found is not None:
            self.found.append(Place(self._path, node.lineno, self._name, *self._spans.of(node), value, found))

    def visit_Assign(self, node: ast.Assign) -> None:
        self._within("value", node.value, name=named(node.targets[0]))

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._within("value", node.value, name=named(node.target))

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._within("value", node.value)

    def visit_arguments(self, node: ast.arguments) -> None:
        for argument, default in defaults(node):
            self._within("value", default, name=argument.arg)

    def visit_Compare(self, node: ast.Compare) -> None:
        ordered = all(isinstance(op, ast.Lt | ast.LtE | ast.Gt | ast.GtE) for op in node.ops)
        self._within("threshold" if ordered else "", node.left, *node.comparators)

    def visit_Call(self, node: ast.Call) -> None:
        self._within("", node.func)
        if named(node.func).lower() not in _NOT_CALLED:
            self._within("value", *node.args)
            for word in node.keywords:
                self._within("value", word.value, name=word.arg or "")

    def visit_Return(self, node: ast.Return) -> None:
        self._within("" if isinstance(node.value, ast.Constant) else self._inside, node.value)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self.visit(node.value)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Text; the positions of numbers in it are not told truly before Python 3.12."""


def named(node: ast.AST) -> str:
    """The name of a variable, or the last one of a dotted name; empty where there is none."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def defaults(node: ast.arguments) -> list[tuple[ast.arg, ast.expr]]:
    """The arguments of a function that have a default, with it."""
    names = [*node.posonlyargs, *node.args]
    placed = [*zip(names[len(names) - len(node.defaults) :], node.defaults, strict=True)]
    return placed + [
        (argument, value) for argument, value in zip(node.kwonlyargs, node.kw_defaults, strict=True) if value
    ]
