"""A plain solver of 3-SAT: decide a variable, follow what must follow, go back where that fails (DPLL, 1962).

A formula is a list of clauses, a clause a list of literals, of which one must hold; a literal is the number of a
variable, negative where the variable must be false. A heuristic makes the decisions; all else is fixed.
"""

import operator
from collections.abc import Callable

Clauses = list[list[int]]
Heuristic = Callable[[Clauses, dict[int, bool], dict[int, int], list[tuple[int, bool, int]], int], tuple[int, bool]]


class Solver:
    """Decides one formula; what `decisions` holds afterwards is what the heuristic chose, in order, as literals."""

    def __init__(self, formula: Clauses, heuristic_fn: Heuristic) -> None:
        self.formula = [list(clause) for clause in formula]
        self.heuristic_fn = heuristic_fn
        self.variables = {abs(literal) for clause in self.formula for literal in clause}
        self.assignments: dict[int, bool] = {}
        self.conflict_count = dict.fromkeys(sorted(self.variables), 0)
        self.assignment_history: list[tuple[int, bool, int]] = []  # variable, value, level
        self.decisions: list[int] = []

    def solve(self) -> bool:
        """Whether the formula can be satisfied; if so, `assignments` does it, whatever values the others get."""
        return self._search(self.formula, 0)

    def _search(self, clauses: Clauses, level: int) -> bool:
        if not clauses:
            return True
        literal = self._decide(clauses, level)
        before = len(self.assignment_history)
        for choice in (literal, -literal):
            left = self._assign(clauses, choice, level)
            if left is not None and self._search(left, level + 1):
                return True
            for variable, _, _ in self.assignment_history[before:]:
                del self.assignments[variable]
            del self.assignment_history[before:]
        return False

    def _decide(self, clauses: Clauses, level: int) -> int:
        """Ask the heuristic; raises ValueError for what is no decision."""
        answer = self.heuristic_fn(clauses, self.assignments, self.conflict_count, self.assignment_history, level)
        try:
            variable, value = answer
            variable = operator.index(variable)
            fits = variable in self.variables and value in (True, False)
        except (TypeError, ValueError):
            fits = False
        if not fits:
            raise ValueError(f"heuristic_fn returned {repr(answer)[:80]} instead of a variable and True or False")
        if variable in self.assignments:
            raise ValueError(f"heuristic_fn chose variable {variable}, which is assigned already")
        self.decisions.append(variable if value else -variable)
        return self.decisions[-1]

    def _assign(self, clauses: Clauses, literal: int, level: int) -> Clauses | None:
        """The clauses left open when the literal holds, and with it all that follows; None if a clause fails.

        Open clauses have lost the literals that are false; one that has a single literal left makes that follow.
        """
        following = [literal]
        while following:
            literal = following.pop()
            variable = abs(literal)
            if variable in self.assignments:
                continue
            self.assignments[variable] = literal > 0
            self.assignment_history.append((variable, literal > 0, level))
            left = []
            for clause in clauses:
                if literal in clause:
                    continue
                if -literal in clause:
                    clause = [other for other in clause if other != -literal]
                    if not clause:
                        self._count_conflict()
                        return None
                    if len(clause) == 1:
                        following.append(clause[0])
                left.append(clause)
            clauses = left
        return clauses

    def _count_conflict(self) -> None:
        """Count the conflict for the variables of the first clause that has failed."""
        for clause in self.formula:
            if all(self.assignments.get(abs(literal)) == (literal < 0) for literal in clause):
                for literal in clause:
                    self.conflict_count[abs(literal)] += 1
                return
