"""MetaMaze: stepped here, played by the policy of the submission."""

from functools import cache

from kinds import policies
from kinds.gymnax_world import GymnaxWorld


@cache
def world():
    """Its actions are four directions."""
    return GymnaxWorld("MetaMaze-misc", actions=4)


def prepare(public, private, *, settings, seed):
    """There is no data, only the luck of the environments."""
    policies.prepare(public, private, settings)


def grade(submission, private, *, settings, split, seed):
    """The mean return of an episode."""
    return policies.grade(world(), submission, private, settings=settings, split=split, seed=seed)
