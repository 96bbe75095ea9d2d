"""The settings that a Python program names: constants, tables of them, defaults, options of its command line, and the
well-known arguments of libraries."""

import ast
import re
from collections.abc import Collection, Sequence

from mlgym.agents.numerals import Spans, defaults, named
from mlgym.agents.places import Place, Range, Value, fit

# Names that are settings wherever they stand, in calls and in functions too.
_KNOWN = re.compile(
    r"(.*_)?(lr|learning_rate|momentum|weight_decay|dropout|batch_size|epochs|alpha|betas?|gamma|warmup_steps)"
    r"|C|l1_ratio|max_(depth|iter|features|leaf_nodes)|min_(samples_(leaf|split)|child_weight)|n_(estimators|neighbors)"
    r"|n_components|num_leaves|subsample|colsample_bytree|reg_(alpha|lambda)|hidden_(size|dim)|label_smoothing"
    r"|nesterov|amsgrad|fit_intercept|bootstrap|gae_lambda|ent_coef|vf_coef|clip_range|temperature"
)
_ALTERNATIVES = (  # arguments of scikit-learn, and the values that go with the one that is there
    ("strategy", ("mean", "median", "most_frequent")),
    ("criterion", ("gini", "entropy")),
    ("criterion", ("squared_error", "absolute_error", "friedman_mse")),
    ("weights", ("uniform", "distance")),
    ("kernel", ("linear", "rbf", "poly", "sigmoid")),
    ("activation", ("relu", "tanh", "logistic")),
)
_OPTIONS = ("add_argument", "option", "Option", "Argument")  # of argparse, click and typer


def settings(source: str, path: str = "", *, given: Collection[str] = (), hints: Collection[str] = ()) -> list[Place]:
    """The settings in order; none where it is no Python. Options that are `given` on the command line are left out. Of
    tables that are alternatives to each other, those that a word of `hints` names are taken, if there is one.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return []
    finder = _Settings(Spans(source), path, given, hints)
    finder.visit(tree)
    return sorted(finder.found, key=lambda place: place.start)


class _Settings(ast.NodeVisitor):
    def __init__(self, spans: Spans, path: str, given: Collection[str], hints: Collection[str]) -> None:
        self.found: list[Place] = []
        self._spans, self._path, self._given, self._hints = spans, path, given, hints
        self._free = True  # at the top of a file or class, where each name is a setting

    def _add(self, name: str, node: ast.expr, choices: Sequence[Value] = ()) -> None:
        """Take a constant as the setting `name`, with its alternatives where they are known."""
        value = _constant(node)
        if value is None:
            return
        known = tuple(dict.fromkeys(choices))
        found = Range("choice", choices=known) if value in known and len(known) > 1 else fit(name, value)
        nothing = type(value) in (int, float) and value == 0 and not (name.isupper() or _KNOWN.fullmatch(name))
        if found is not None and not nothing and (choices or not isinstance(value, str)):
            self.found.append(Place(self._path, node.lineno, name, *self._spans.of(node), value, found))

    def _assigned(self, name: str, value: ast.expr | None, choices: Sequence[Value] = ()) -> None:
        if value is None:
            return
        if isinstance(value, ast.Dict) and self._free:
            self._table(name, value)
        elif isinstance(value, ast.Tuple | ast.List) and self._settles(name):
            if len(value.elts) <= 3 and not _counting(value.elts):
                for n, each in enumerate(value.elts):
                    self._add(f"{name}[{n}]" if fit(name, True) else name, each)
        elif _constant(value) is not None:
            if self._settles(name):
                self._add(name, value, choices)
        else:
            self.visit(value)

    def _settles(self, name: str) -> bool:
        return self._free or bool(_KNOWN.fullmatch(name))

    def _table(self, name: str, node: ast.Dict) -> None:
        rows = {text: value for key, value in zip(node.keys, node.values, strict=True) if (text := _text(key))}
        shapes = {tuple(map(ast.dump, filter(None, row.keys))) for row in rows.values() if isinstance(row, ast.Dict)}
        alike = len(rows) > 1 and len(shapes) == 1 and all(isinstance(row, ast.Dict) for row in rows.values())
        chosen = [key for key in rows if alike and key in self._hints] or rows
        for key in chosen:
            self._assigned(f"{name}.{key}", rows[key])

    def visit_Assign(self, node: ast.Assign) -> None:
        target, value = node.targets[0], node.value
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
            if not _counting(value.elts):
                for one, each in zip(target.elts, value.elts, strict=True):
                    self._assigned(named(one), each)
        elif len(node.targets) == 1 and named(target):
            self._assigned(named(target), value)
        else:
            self.visit(value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._assigned(named(node.target), node.value, _literal(node.annotation))

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for statement in node.body:
            self.visit(statement)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for decorator in node.decorator_list:
            self.visit(decorator)
        for argument, default in defaults(node.args):
            if isinstance(default, ast.Call) and named(default.func) in _OPTIONS:
                self._option(default, argument.arg, _literal(argument.annotation))
            else:
                self._assigned(argument.arg, default, _literal(argument.annotation))
        self._inner(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.visit_FunctionDef(node)

    def _inner(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.For | ast.While | ast.If | ast.With) -> None:
        """What stands in a function or block: only well-known names are settings there."""
        before, self._free = self._free, False
        for statement in [*node.body, *getattr(node, "orelse", ())]:
            self.visit(statement)
        self._free = before

    visit_For = visit_While = visit_If = visit_With = _inner

    def visit_Call(self, node: ast.Call) -> None:
        if named(node.func) in _OPTIONS:
            self._option(node, "")
            return
        self.visit(node.func)
        for argument in node.args:
            self.visit(argument)
        for word in node.keywords:
            self._keyword(word.arg or "", word.value)

    def _keyword(self, name: str, value: ast.expr) -> None:
        known = _text(value)
        choices = next((which for word, which in _ALTERNATIVES if word == name and known in which), ())
        if choices:
            self._add(name, value, choices)
        elif isinstance(value, ast.Constant | ast.UnaryOp | ast.Tuple):
            if _KNOWN.fullmatch(name):
                self._assigned(name, value)
        else:
            self.visit(value)

    def _option(self, node: ast.Call, name: str, choices: Sequence[Value] = ()) -> None:
        """The default of an option, or the action of a flag."""
        words = {word.arg: word.value for word in node.keywords}
        flags = [text for each in node.args if (text := _text(each))]
        name = next((flag for flag in flags if flag.startswith("--")), name or (flags[0] if flags else ""))
        name = name.partition("/")[0].lstrip("-").replace("-", "_")
        if name in self._given:
            return
        action = words.get("action")
        if action is not None and _text(action) == "store_true" and fit(name, True):
            span, both = self._spans.of(action), Range("choice", choices=(False, True))
            self.found.append(Place(self._path, action.lineno, name, *span, False, both, "flag"))
        default = words.get("default") or next((each for each in node.args if not _text(each)), None)
        if action is None and default is not None:
            self._add(name, default, choices or _listed(words.get("choices")) or _listed(words.get("type")))


def _constant(node: ast.expr) -> Value | None:
    """A number, with its sign, a truth or a text; None for all else."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _constant(node.operand)
        return -value if isinstance(value, int | float) and not isinstance(value, bool) else None
    found = node.value if isinstance(node, ast.Constant) else None
    return found if isinstance(found, bool | int | float | str) else None


def _text(node: ast.AST | None) -> str:
    """The text that a node is; empty where it is none."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _counting(nodes: Sequence[ast.expr]) -> bool:
    """Whether the values are 0, 1, 2 …: names for things, no settings."""
    return [getattr(node, "value", None) for node in nodes] == list(range(len(nodes)))


def _listed(node: ast.AST | None) -> list[Value]:
    """The constants of a list such as argparse's `choices`, or of click's `Choice([...])`."""
    if isinstance(node, ast.Call) and node.args:
        node = node.args[0]
    if not isinstance(node, ast.List | ast.Tuple | ast.Set):
        return []
    return [value for each in node.elts if (value := _constant(each)) is not None]


def _literal(annotation: ast.expr | None) -> list[Value]:
    """What a `Literal[...]` allows."""
    if isinstance(annotation, ast.Subscript) and named(annotation.value) == "Literal":
        inner = annotation.slice
        return _listed(inner if isinstance(inner, ast.Tuple) else ast.Tuple([inner]))
    return []
