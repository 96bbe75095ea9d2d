"""Give two fields away and hold the other four: a spread at random seldom has 30 soldiers on three of them."""


def row_strategy(history):
    """The same spread always: the opponent cannot learn."""
    return [30, 30, 30, 30, 0, 0]
