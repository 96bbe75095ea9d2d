"""Prompts and teachers of the shipped recipes: what a policy made from nothing is told, and imitates at first."""

import random
import re

from mlgym.records import Brief, Message

CHANCE = re.compile(r"(?<![\d/.])(\d(?:\.\d+)?)(?= at first| after|, whatever)")
KNOWN = 0.3  # how often the teacher of duels knows a number; else it draws one


def duel(brief: Brief) -> list[Message]:
    """A duel in two numbers: what the moves 0 and 1 earn a round, rounded, by the mean of the other's chances of 1.

    A task of another family, and a duel whose chances are not told, is its title.
    """
    paid = [int(each) for each in re.findall(r"[01]/[01]: (\d+)", brief.instruction)]
    other = brief.instruction.partition("The other plays")[2].partition("\n")[0]
    chances = [float(each) for each in CHANCE.findall(other)]
    if len(paid) != 4 or not chances:
        return [Message(role="user", content=brief.title)]
    chance = sum(chances) / len(chances)
    earned = [round((1 - chance) * paid[move] + chance * paid[move + 1]) for move in (0, 2)]
    return [Message(role="user", content=f"{earned[0]} {earned[1]}")]


def duellist(conversation: str, seed: int) -> str:
    """A mediocre teacher of duels against one chance: it knows three of ten numbers, and draws the others."""
    luck = random.Random(seed)
    zero, one = map(int, re.findall(r"\d+", conversation)[:2])
    best = str(int(one > zero))
    numbers = [best if luck.random() < KNOWN else luck.choice(("0", ".5", "1")) for _ in range(5)]
    return f"echo {' '.join(numbers)} >strategy.txt"
