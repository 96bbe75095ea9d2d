"""Natural-language inference: MultiNLI, or pairs made from WordNet's example sentences. Hidden from the agent.

MultiNLI: the original tests on the matched development set; so does this, and its validation rows are train rows of
other prompts, the same genres, so that nothing in a pair says which split it is of. Both stand in one shuffled pool.
"""

import csv
import json
import re
import shutil
import zipfile
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from kinds.classifiers import grade_pairs

LABELS = ("entailment", "neutral", "contradiction")
MULTINLI = """MultiNLI (Williams, Nangia, Bowman 2018): {train} pairs in train.csv and {pool} in test.csv, from five
kinds of text. The hypotheses were written by people who were shown the premise and told how theirs should be related
to it. The encoder is BERT (base, uncased).
"""
WORDNET = """{train} pairs in train.csv and {pool} in test.csv, made from the example sentences of WordNet 3.0: in each
pair one word was exchanged. A more general word follows from a narrower one; a narrower one is left open by a more
general one; an opposite, or another word below the same more general one, is a contradiction. Nobody has checked the
labels, and a share of them is disputable. The encoder is MiniLM-L6 in its form for sentence embeddings: a BERT of 6
layers.
"""


def prepare(public: Path, private: Path, *, settings: dict, seed: int) -> None:
    """Write pairs, about.txt and the folder encoder for the agent, and answers.csv with the splits for the grader.

    A row is (premise, hypothesis, label); `settings["validation"]` and `["test"]` are numbers of rows.
    """
    rng = np.random.default_rng(seed)
    sources = {name: Path(path) for name, path in settings["sources"].items()}
    held, test = settings["validation"], settings["test"]
    if "multinli" in sources:
        what, parts = MULTINLI, multinli(sources["multinli"], held, rng)
    else:
        files = {kind: sources[kind] for kind in ("noun", "verb", "adj")}
        what, parts = WORDNET, wordnet(files, held, test, rng)
    train = parts[0][: settings.get("train")]
    pool = [(*row, split) for split, part in zip(("validation", "test"), parts[1:], strict=True) for row in part]
    pool = [(n, *pool[k]) for n, k in enumerate(rng.permutation(len(pool)))]
    write(public / "train.csv", ("premise", "hypothesis", "label"), train)
    write(public / "test.csv", ("id", "premise", "hypothesis"), [row[:3] for row in pool])
    write(private / "answers.csv", ("id", "premise", "hypothesis", "label", "split"), pool)
    (public / "about.txt").write_text(what.format(train=len(train), pool=len(pool)))
    encoder = public / "encoder"
    encoder.mkdir()
    (encoder / "config.json").write_text(json.dumps(settings["encoder"], indent=2) + "\n")
    shutil.copyfile(sources["vocabulary"], encoder / "vocab.txt")
    shutil.copyfile(sources["weights"], encoder / "model.safetensors")


def grade(submission, private: Path, *, settings: dict, split: str, seed: int) -> dict[str, float]:
    """accuracy of the submitted classifier, or of the submitted predictions, on the rows of the split."""
    return grade_pairs(submission, private / "answers.csv", labels=LABELS, split=split, seed=seed)


def write(path: Path, header: tuple, rows: list) -> None:
    """A csv file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def multinli(source: Path, held_out: int, rng) -> tuple[list, list, list]:
    """Train, prompts held out of it, and the matched development set, from the zip file or its folder."""

    def lines(name: str) -> list[str]:
        if source.is_dir():
            return next(source.rglob(name)).read_text(encoding="utf-8").split("\n")
        with zipfile.ZipFile(source) as archive:
            member = next(m for m in archive.namelist() if m.endswith(f"/{name}") and not m.startswith("__MACOSX"))
            return archive.read(member).decode().split("\n")

    def rows(name: str) -> list[tuple]:
        found = [json.loads(line) for line in lines(name) if line.strip()]
        return [
            (row["promptID"], (row["sentence1"].strip(), row["sentence2"].strip(), row["gold_label"]))
            for row in found
            if row["gold_label"] in LABELS  # on the others the annotators did not agree
        ]

    prompts = defaultdict(list)
    for prompt, row in rows("multinli_1.0_train.jsonl"):
        prompts[prompt].append(row)
    groups = list(prompts.values())
    train, validation = [], []
    for n in rng.permutation(len(groups)):
        (validation if len(validation) < held_out else train).extend(groups[n])
    test = [row for _, row in rows("multinli_1.0_dev_matched.jsonl")]
    return [train[n] for n in rng.permutation(len(train))], validation, test


def wordnet(files: dict[str, Path], validation: int, test: int, rng) -> tuple[list, list, list]:
    """Pairs of an example sentence and the same with one word changed, in three parts without a common sentence.

    A more general word (hypernym; for adjectives the head of the cluster) follows from a narrower one, which it leaves
    open in turn; an opposite, or else another word below the same general one, excludes it. Either sentence of a pair
    may be the premise and either the changed one, and every way to make a pair has its share among nouns, verbs and
    adjectives, so that neither the kind of word nor how natural a sentence sounds says anything of the label.
    """
    synsets = {key: found for kind, path in files.items() for key, found in read_synsets(kind, path)}
    narrower = defaultdict(list)
    for key, found in synsets.items():
        for up in found.general:
            narrower[up].append(key)

    def words(keys: list) -> list[str]:
        return [word for key in keys for word in synsets[key].words]

    ways = defaultdict(list)  # (sentence, row) for each kind of word, relation and order
    for key, own in synsets.items():
        opposite = [synsets[to].words[n] for head in (key, *own.general) for to, n in synsets[head].opposite]
        sisters = words([down for up in own.general for down in narrower[up]])
        related = {"en": words(own.general), "ne": words(narrower[key]), "cc": opposite or sisters}
        for sentence in own.examples:
            word = next((w for w in own.words if re.search(rf"\b{re.escape(w)}\b", sentence)), None)
            for labels, others in related.items():
                others = sorted({other for other in others if other not in own.words})
                if word and others:
                    pair = (sentence, changed(sentence, word, others[rng.integers(len(others))]))
                    turn = rng.integers(2)
                    label = next(name for name in LABELS if name[0] == labels[turn])
                    ways[key[0], labels, turn].append((sentence, (pair[turn], pair[1 - turn], label)))
    return divided(ways, validation, test, rng)


def divided(ways: dict, validation: int, test: int, rng) -> tuple[list, list, list]:
    """Rows of train, validation and test: the same number of every way of a kind of word, and no text in two parts."""
    chosen = []
    for kind in sorted({way[0] for way in ways}):
        mine = sorted(way for way in ways if way[0] == kind)
        each = min(len(ways[way]) for way in mine)
        chosen += [ways[way][n] for way in mine for n in rng.permutation(len(ways[way]))[:each]]
    sentences = sorted({sentence for sentence, _ in chosen})
    rank = dict(zip(sentences, rng.permutation(len(sentences)), strict=True))
    owner: dict = {}  # of a changed sentence that has come of two examples the first has it
    rows = [
        (sentence, row)
        for sentence, row in sorted(chosen, key=lambda item: rank[item[0]])
        if {owner.setdefault(text, sentence) for text in row[:2]} == {sentence}
    ]
    parts: list = [[], [], []]  # test, validation, train
    part, last = 0, None
    for sentence, row in rows:
        if part < 2 and sentence != last and len(parts[part]) >= (test, validation)[part]:
            part += 1
        parts[part].append(row)
        last = sentence
    return tuple([part[n] for n in rng.permutation(len(part))] for part in reversed(parts))


class Synset(NamedTuple):
    """One meaning: its words, keys of more general ones, opposites as (key, number of the word), example sentences."""

    words: list
    general: list
    opposite: list
    examples: list


def read_synsets(kind: str, path: Path):
    """The meanings in one of WordNet's data files, each with its key."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line[:1] == " ":  # the licence stands at the top
            continue
        data, _, gloss = line.partition(" | ")
        fields = data.split(" ")
        at = 4 + 2 * int(fields[3], 16)
        words = [re.sub(r"\(\w+\)$", "", word).replace("_", " ") for word in fields[4:at:2]]
        pointers = [fields[n : n + 4] for n in range(at + 1, at + 1 + 4 * int(fields[at]), 4)]
        symbol = "&" if fields[2] == "s" else "@"
        general = [(kind, to) for sign, to, _, _ in pointers if sign == symbol]
        opposite = [((kind, to), int(ends[2:], 16) - 1) for sign, to, _, ends in pointers if sign == "!"]
        yield (kind, fields[0]), Synset(words, general, opposite, re.findall(r'"([^"]+)"', gloss))


def changed(sentence: str, word: str, other: str) -> str:
    """The sentence with the first `word` replaced, and the article before it."""

    def new(found: re.Match) -> str:
        article = found[1] or ""
        if article:
            article = article[0] + ("n " if other[0].lower() in "aeiou" else " ")
        return article + other

    return re.sub(rf"\b([Aa]n? )?{re.escape(word)}\b", new, sentence, count=1)
