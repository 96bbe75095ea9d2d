"""Short clauses weigh most, and a variable that is wanted both ways cuts most (MOMS, after Freeman 1995).

Where two literals are left, either value makes something follow: both counts large means that both branches shrink.
"""

WEIGHT = (0, 0, 5, 1)  # of a clause, by its length
BOTH = 3  # what the product of both counts is worth, against their sum


def heuristic_fn(clauses, assignments, conflict_count, assignment_history, level):
    """The variable with the largest weight of the clauses that it is in; first the value that satisfies more."""
    counts = dict.fromkeys(conflict_count, 0) | dict.fromkeys([-variable for variable in conflict_count], 0)
    for clause in clauses:
        weight = WEIGHT[len(clause)]
        for literal in clause:
            counts[literal] += weight
    best, most = 0, -1
    for variable in conflict_count:
        yes, no = counts[variable], counts[-variable]
        score = BOTH * yes * no + yes + no
        if score > most and variable not in assignments:
            best, most = variable, score
    return best, counts[best] >= counts[-best]
