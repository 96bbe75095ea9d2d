"""Sorts: small blocks by putting each thing in its place, one look after another, then merges the blocks by pairs."""

BLOCK = 8  # things in a block


def insert(block, thing):
    """Put a thing into a sorted block, looking from its end."""
    at = len(block)
    while at and (yield (thing, block[at - 1])):
        at -= 1
    block.insert(at, thing)


def merge(one, two):
    """The things of two sorted blocks as one."""
    merged = []
    while one and two:
        first = yield (one[0], two[0])
        merged.append((one if first else two).pop(0))
    return merged + one + two


def order(n):
    """A generator: `yield (i, j)` is a question, its value 1 where i comes before j; returned are all, in order."""
    blocks = []
    for start in range(0, n, BLOCK):
        block = []
        for thing in range(start, min(start + BLOCK, n)):
            yield from insert(block, thing)
        blocks.append(block)
    while len(blocks) > 1:
        blocks.append((yield from merge(blocks.pop(0), blocks.pop(0))))
    return blocks[0]
