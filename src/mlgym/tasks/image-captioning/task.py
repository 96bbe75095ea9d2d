"""Captions of images: COCO 2014, or emoji and their names. Hidden from the agent.

COCO: training images are train2014, the unlabelled pool is drawn from val2014, and every image has about five captions.
Emoji: rendered pictures; the caption is made of Unicode's group, name and skin tone. The skin tones of one emoji stay
together in one split.
"""

import csv
import io
import json
import re
import shutil
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from kinds.captions import grade_captions

COCO = """COCO 2014 (Lin and others 2014): {train} photographs of train2014 with {captions} captions by people,
and {pool} of val2014. All were squeezed to squares. The encoder is a ResNet-50 that was trained on ImageNet.
"""
EMOJI = """{train} pictures in train.zip and {pool} in test.zip: Microsoft's Fluent emoji (3D). A caption is made of
Unicode's group and name of the emoji, and the skin tone where it is no neutral one. All skin tones of an emoji
are on one side. The encoder is an EfficientNet-Lite0 that was trained on ImageNet.
"""
TONES = {"1f3fb": "light", "1f3fc": "medium light", "1f3fd": "medium", "1f3fe": "medium dark", "1f3ff": "dark"}


def prepare(public: Path, private: Path, *, settings: dict, seed: int) -> None:
    """Write the images, captions and the encoder for the agent, and answers.csv, with splits, for the grader.

    The parts are lists of (how to read the image, its captions).
    """
    rng = np.random.default_rng(seed)
    sources = {name: Path(path) for name, path in settings["sources"].items()}
    make = emoji if "pictures" in sources else coco
    parts = make(sources, settings, rng)
    size = settings["pixels"]
    train = store(public / "train.zip", parts["train"], size)
    captions = [(n, text) for n, texts in train for text in texts]
    write(public / "train.csv", ("id", "caption"), captions)
    pool = [(image, (split, *texts)) for split in ("validation", "test") for image, texts in parts[split]]
    pool = store(public / "test.zip", [pool[n] for n in rng.permutation(len(pool))], size)
    write(public / "test.csv", ("id",), [(n,) for n, _ in pool])
    rows = [(n, text, split) for n, (split, *texts) in pool for text in texts]
    write(private / "answers.csv", ("id", "caption", "split"), rows)
    about = EMOJI if make is emoji else COCO
    (public / "about.txt").write_text(about.format(train=len(train), captions=len(captions), pool=len(pool)))
    encoder = public / "encoder"
    encoder.mkdir()
    if make is emoji:
        shutil.copyfile(sources["efficientnet-lite0"], encoder / "efficientnet-lite0.pth")
    else:
        (encoder / "config.json").write_text(json.dumps(settings["encoder"]) + "\n")
        shutil.copyfile(sources["weights"], encoder / "model.safetensors")


def grade(submission, private: Path, *, settings: dict, split: str, seed: int) -> dict[str, float]:
    """bleu and cider of captions.csv on the images of the split."""
    return grade_captions(submission.path("captions.csv"), private / "answers.csv", split=split)


def write(path: Path, header: tuple, rows: list) -> None:
    """A csv file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def store(path: Path, items: list, size: int) -> list:
    """Pack the images as 0.jpg, 1.jpg, … of size × size pixels; returns (number, captions)."""
    from PIL import Image

    def small(item: tuple) -> bytes:
        image = Image.open(io.BytesIO(item[0]()))
        if image.mode != "RGB":  # transparent ones stand on white
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA")).convert("RGB")
        out = io.BytesIO()
        image.resize((size, size), Image.Resampling.BICUBIC).save(out, "JPEG", quality=92)
        return out.getvalue()

    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive, ThreadPoolExecutor() as threads:
        for start in range(0, len(items), 1000):  # so that no more than these are held at once
            for n, data in enumerate(threads.map(small, items[start : start + 1000]), start):
                archive.writestr(zipfile.ZipInfo(f"{n}.jpg"), data)
    return [(n, texts) for n, (_, texts) in enumerate(items)]


def coco(sources: dict[str, Path], settings: dict, rng) -> dict[str, list]:
    """Train from train2014; validation and test drawn from val2014. Zip files or unpacked folders."""

    def reader(source: Path):
        """A function from a file's name to its bytes."""
        if source.is_dir():
            places = {path.name: path for path in source.rglob("*.*")}
            return lambda name: places[name].read_bytes()
        archive = zipfile.ZipFile(source)  # its reads are guarded by a lock of its own
        places = {Path(name).name: name for name in archive.namelist()}
        return lambda name: archive.read(places[name])

    def items(part: str) -> list:
        about = json.loads(reader(sources["annotations"])(f"captions_{part}.json"))
        captions: dict[int, list] = {}
        for row in about["annotations"]:
            captions.setdefault(row["image_id"], []).append(" ".join(row["caption"].split()))
        read = reader(sources[part])
        names = {row["id"]: row["file_name"] for row in about["images"]}
        return [(lambda name=names[key]: read(name), texts) for key, texts in sorted(captions.items())]

    train, pool = items("train2014"), items("val2014")
    pool = [pool[n] for n in rng.permutation(len(pool))]
    held, test = settings["validation"], settings["test"]
    return {"train": train, "validation": pool[:held], "test": pool[held : held + test]}


def emoji(sources: dict[str, Path], settings: dict, rng) -> dict[str, list]:
    """Pictures and captions, split by emoji; flags are left out: a country's name cannot be learned from others'."""
    with tarfile.open(sources["names"]) as archive:
        about = json.load(archive.extractfile("package/data-by-emoji.json"))
    names = {code(f"{ord(char):x}" for char in key): row for key, row in about.items() if row["group"] != "Flags"}
    families: dict[tuple, list] = {}
    with tarfile.open(sources["pictures"]) as archive:
        for member in archive:
            if not member.name.endswith(".webp"):
                continue
            codes = Path(member.name).stem.split("-")
            tones = {part for part in codes if part in TONES}
            base = code(part for part in codes if part not in TONES)
            if base in names and len(tones) < 2:  # two people of two tones have captions too long to be worth it
                data = archive.extractfile(member).read()
                text = caption(names[base], *(TONES[tone] for tone in tones))
                families.setdefault(base, []).append((lambda data=data: data, (text,)))
    order = sorted(families)
    parts: dict[str, list] = {"test": [], "validation": [], "train": []}
    for n in rng.permutation(len(order)):
        part = next((name for name in ("test", "validation") if len(parts[name]) < settings[name]), "train")
        parts[part] += families[order[n]]
    parts["train"] = [parts["train"][n] for n in rng.permutation(len(parts["train"]))][: settings.get("train")]
    return parts


def code(parts) -> tuple:
    """Code points without the mark that asks for a picture, which the two packages use differently."""
    return tuple(part for part in parts if part != "fe0f")


def caption(row: dict, tone: str = "") -> str:
    """Such as "people and body: woman scientist, medium dark skin tone", in lower case."""
    text = f"{row['group'].replace('&', 'and')}: {row['name']}" + (f", {tone} skin tone" if tone else "")
    return re.sub(r"\s+", " ", text.lower().replace("’", "'"))
