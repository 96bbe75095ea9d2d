"""Finds the bad things: tests groups, and each thing of a group in which there is one."""

SIZE = 3  # things in a group


def pool(n, bad):
    """A generator: `yield things` is a question, its value 1 where a bad one is among them; returned are all `bad`."""
    found = []
    for start in range(0, n, SIZE):
        group = list(range(start, min(start + SIZE, n)))
        if len(found) == bad:
            break
        if (yield group):
            for thing in group:
                if (yield [thing]):
                    found.append(thing)
    return found
