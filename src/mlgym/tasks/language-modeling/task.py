"""Language modeling: tokens of real text in three splits, and their grading. Hidden from the agent.

Two sources. The shards of FineWeb that the original used, of GPT-2's tokens: its validation tokens, the first of the
shard `held_out`, are the test here, and the tokens after them the validation. Or the Brown corpus, whose tokens are
bytes; its documents are dealt to the splits at random, and a byte 0 stands before each.
"""

import json
import random
import re
import tarfile
from pathlib import Path

import numpy as np
from kinds import language_models

END = 0  # the byte before each document


def prepare(public: Path, private: Path, *, settings: dict, seed: int) -> None:
    """Write train.npy and about.json for the agent; validation and test as rows of `length` + 1 tokens."""
    sources, length = settings["sources"], settings["length"]
    if "brown" in sources:
        sizes = np.ones(256, np.uint8)
        parts = dealt(documents(sources["brown"]), settings["documents"], seed)
        train = parts.pop("train")
        np.save(public / "train.npy", train)
    else:
        sizes = token_sizes(Path(sources["vocabulary"]))
        shards = [language_models.read_shard(Path(path)) for name, path in sorted(sources.items()) if "train" in name]
        train = np.lib.format.open_memmap(public / "train.npy", "w+", "<u2", (sum(map(len, shards)),))
        np.concatenate(shards, out=train)
        train.flush()
        held_out, cut = language_models.read_shard(Path(sources["held_out"])), settings["test_tokens"]
        parts = {"test": held_out[:cut], "validation": held_out[cut : cut + settings["validation_tokens"]]}
    for split, part in parts.items():
        language_models.write_split(private, split, part, length, settings["rows"])
    language_models.write_secrets(private, sizes)
    about = {"vocabulary": len(sizes), "length": length, "train_tokens": len(train), "size": settings["size"]}
    (public / "about.json").write_text(json.dumps(about) + "\n")


def grade(submission, private: Path, *, settings: dict, split: str, seed: int) -> dict[str, float]:
    """val_loss in nats a token, perplexity and bits per byte."""
    positions, at_once = settings["positions"], settings["at_once"]
    return language_models.grade(submission, private, split, seed, positions=positions, at_once=at_once)


def token_sizes(vocabulary: Path) -> np.ndarray:
    """The bytes of text that each token of GPT-2's encoder.json stands for, which writes a character for each byte."""
    tokens = json.loads(vocabulary.read_text(encoding="utf-8"))
    sizes = np.zeros(len(tokens), np.uint8)
    for token, number in tokens.items():
        sizes[number] = 0 if token == "<|endoftext|>" else len(token)
    return sizes


def documents(package: str) -> list[bytes]:
    """The texts of the Brown corpus, by name, without their tags."""
    with tarfile.open(package) as tar:
        names = sorted(name for name in tar.getnames() if re.fullmatch(r"package/c[a-r]\d\d", name))
        return [plain(tar.extractfile(name).read().decode()).encode() for name in names]


def plain(tagged: str) -> str:
    """Text as it is commonly written, out of lines of word/tag; an empty line ends a paragraph."""
    paragraphs = []
    for block in re.split(r"\n\s*\n", tagged):
        text = " ".join(word.rpartition("/")[0] for word in block.split())
        text = re.sub(r"([;:?!]) \1", r"\1", text)  # the corpus has these twice
        text = re.sub(r"`` ?| ?''", '"', text)
        text = re.sub(r" ([,.;:?!)\]])", r"\1", text)
        paragraphs.append(re.sub(r"([(\[]) ", r"\1", text))
    return "\n".join(paragraph for paragraph in paragraphs if paragraph) + "\n"


def dealt(texts: list[bytes], counts: dict[str, int], seed: int) -> dict[str, np.ndarray]:
    """The texts in a random order, so many for each split named in `counts` and the rest for train, as bytes."""
    texts = random.Random(seed).sample(texts, len(texts))
    parts = {}
    for split, count in {**counts, "train": len(texts)}.items():
        chosen, texts = texts[:count], texts[count:]
        parts[split] = np.frombuffer(b"".join(bytes([END]) + text for text in chosen), np.uint8)
    return parts
