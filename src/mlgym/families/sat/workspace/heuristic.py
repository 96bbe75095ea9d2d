"""The heuristic of the solver: change `heuristic_fn`; its name, its arguments and its answer must stay."""

import random

SEED = 10
CHANCE_OF_TRUE = 0.5  # how often the chosen variable is tried as True first
CHANCE_OF_COUNTING = 0.1  # how often a variable of the most open clauses is chosen, instead of any


def heuristic_fn(clauses, assignments, conflict_count, assignment_history, level):
    """Choose what to decide next: return a variable that has no value yet, and the value to try first.

    clauses: the clauses still open, lists of 1 to 3 literals (5: variable 5 is True, -5: it is False) of which one must
        hold; literals that are false are left out, clauses that hold as well
    assignments: {variable: True or False} for all that have a value
    conflict_count: {variable: how often it was in a clause that failed}, for all variables of the formula
    assignment_history: [(variable, value, level), ...] in the order of assignment
    level: the number of decisions that stand above this one
    """
    rng = random.Random(SEED + 1000 * len(assignment_history) + level)
    free = [variable for variable in conflict_count if variable not in assignments]
    chosen = rng.choice(free)
    if rng.random() < CHANCE_OF_COUNTING:
        counts = dict.fromkeys(free, 0)
        for clause in clauses:
            for literal in clause:
                counts[abs(literal)] += 1
        chosen = max(free, key=counts.get)
    return chosen, rng.random() < CHANCE_OF_TRUE
