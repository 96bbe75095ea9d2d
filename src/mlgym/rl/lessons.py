"""Prompts and teachers of the shipped recipes: what a policy made from nothing is told, and imitates at first."""

import random
import re

from mlgym.records import Brief, Message

CHANCE = re.compile(r"(?<![\d/.])(\d(?:\.\d+)?)(?= at first| after|, whatever)")
KNOWN = 0.4  # how often the teacher of duels knows a number; else it draws one


def duel(brief: Brief) -> list[Message]:
    """A duel in one short line: the pay-offs of the four outcomes, and the other's chances of 1, in tenths.

    A task of another family is told by its title.
    """
    paid = re.findall(r"[01]/[01]: (\d+)", brief.instruction)
    other = brief.instruction.partition("The other plays")[2].partition("\n")[0]
    chances = [round(10 * float(each)) for each in CHANCE.findall(other)]
    figures = f"{' '.join(paid)} p {' '.join(map(str, chances))}"
    return [Message(role="user", content=figures if paid else brief.title)]


def duellist(conversation: str, seed: int) -> str:
    """A mediocre teacher of duels against one chance: it knows two of five numbers, and draws the others."""
    luck = random.Random(seed)
    *payoffs, chance = map(int, re.findall(r"\d+", conversation)[:5])
    zero, one = ((10 - chance) * payoffs[n] + chance * payoffs[n + 1] for n in (0, 2))
    best = str(int(one > zero))
    numbers = [best if luck.random() < KNOWN else luck.choice(("0", ".5", "1")) for _ in range(5)]
    return f"echo {' '.join(numbers)} >strategy.txt"
