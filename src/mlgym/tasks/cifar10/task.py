"""CIFAR-10, or in its place `emoji9`: small pictures of emoji, the class being the group. Hidden from the agent."""

import io
import json
import pickle
import tarfile
from pathlib import Path

import numpy as np
from kinds import images

SIZE = 32
CIFAR = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
GROUPS = [
    "Smileys & Emotion",
    "People & Body",
    "Animals & Nature",
    "Food & Drink",
    "Travel & Places",
    "Activities",
    "Objects",
    "Symbols",
    "Flags",
]
WOMAN, MAN, PERSON, JOINER, SIGNS = "1f469", "1f468", "1f9d1", "200d", ("2640", "2642")


def prepare(public, private, *, settings, seed):
    """`train`, `validation` and `test` say how many pictures each has; of emoji9, `styles` how each emoji is drawn."""
    rng, sources = np.random.default_rng(seed), settings["sources"]
    if "cifar10" in sources:
        rest, test = (part.shuffled(rng) for part in cifar(Path(sources["cifar10"])))
        parts = rest.rows(slice(settings["validation"], None)), rest, test
    else:
        parts = emoji(sources, settings["styles"], settings["shares"], rng)
    sizes = (settings["train"], settings["validation"], settings["test"])
    parts = [part.rows(slice(size)) for part, size in zip(parts, sizes, strict=True)]
    images.publish(public, private, *parts, classes(settings), rng)


def grade(submission, private, *, settings, split, seed):
    """Accuracy."""
    return images.grade(submission, private, split, len(classes(settings)))


def classes(settings):
    """The names of the classes."""
    return GROUPS if "styles" in settings else CIFAR


class Arrays(pickle.Unpickler):
    """Reads pickles of numpy arrays, numbers, texts and lists; whatever else a pickle asks for is refused.

    CIFAR's batches were pickled by Python 2, whose texts are read as latin-1.
    """

    def find_class(self, module, name):
        """Only what an array is rebuilt from."""
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return getattr(np, name)
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return np._core.multiarray._reconstruct
        raise pickle.UnpicklingError(f"a CIFAR batch holds a {module}.{name}, which is not part of an array")


def cifar(source):
    """The training and the test pictures, from the archive or the folder cifar-10-batches-py that it unpacks to."""
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    if source.is_dir():
        blobs = [(source / name).read_bytes() for name in names]
    else:
        with tarfile.open(source) as archive:
            blobs = [archive.extractfile(f"cifar-10-batches-py/{name}").read() for name in names]
    batches = [Arrays(io.BytesIO(blob), encoding="latin1").load() for blob in blobs]
    parts = [
        images.Labelled(
            batch["data"].reshape(-1, 3, SIZE, SIZE).transpose(0, 2, 3, 1), np.array(batch["labels"], np.uint8)
        )
        for batch in batches
    ]
    return images.Labelled(*map(np.concatenate, zip(*parts[:5], strict=True))), parts[5]


def emoji(sources, styles, shares, rng):
    """Training, validation and test pictures; all drawings of an emoji, and of its women and men, are in one of them.

    `shares` are those of validation and test among the emoji.
    """
    about = json.loads(members(sources["names"], "data-by-emoji.json")["data-by-emoji.json"])
    groups = {plain(f"{ord(c):04x}" for c in text): GROUPS.index(entry["group"]) for text, entry in about.items()}
    drawn = [(key, drawing) for style in styles for key, drawing in drawings(sources[style]).items() if key in groups]
    pictures = np.stack([picture(drawing) for _, drawing in drawn])
    first = np.sort(np.unique(pictures, axis=0, return_index=True)[1])  # some flags are those of other countries
    keys = [drawn[number][0] for number in first]
    families = sorted({family(key) for key in keys})
    place = dict(zip(families, rng.permutation(len(families)) / len(families), strict=True))
    where = np.array([place[family(key)] for key in keys])
    every = images.Labelled(pictures[first], np.array([groups[key] for key in keys], np.uint8))
    cuts = np.searchsorted(np.cumsum(shares), where, side="right")
    validation, test, train = (every.rows(cuts == part).shuffled(rng) for part in range(3))
    return train, validation, test


def plain(codes):
    """Code points without the marks that only ask for colour: style packages differ in them."""
    return "-".join(code for code in codes if code != "fe0f")


def family(key):
    """The emoji with no woman or man: they are drawn much alike."""
    codes = [PERSON if code in (WOMAN, MAN) else code for code in key.split("-") if code not in SIGNS]
    return "-".join(codes).removesuffix(f"-{JOINER}")


def drawings(package):
    """Code points -> a webp picture or an SVG text, from a package of pictures by code points or of an icon set."""
    found = members(package, "assets/")
    if found:
        return {plain(Path(name).stem.split("-")): data for name, data in found.items()}
    icons, codes = (json.loads(members(package, name)[name]) for name in ("icons.json", "chars.json"))
    width, height = icons.get("width", 16), icons.get("height", 16)
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    head = f'<svg {spaces} viewBox="0 0 {width} {height}">'
    bodies = {name: icon["body"] for name, icon in icons["icons"].items()}
    return {plain(code.split("-")): f"{head}{bodies[name]}</svg>" for code, name in codes.items() if name in bodies}


def members(package, start):
    """The files of an npm package whose names begin so: name -> bytes."""
    with tarfile.open(package) as archive:
        names = [name.removeprefix("package/") for name in archive.getnames()]
        return {name: archive.extractfile(f"package/{name}").read() for name in names if name.startswith(start)}


def picture(drawing):
    """Pixels, (SIZE, SIZE, 3), on white."""
    from PIL import Image

    if isinstance(drawing, str):
        import resvg_py

        drawing = resvg_py.svg_to_bytes(svg_string=drawing, width=2 * SIZE, skip_system_fonts=True)
    image = Image.open(io.BytesIO(bytes(drawing))).convert("RGBA")
    image = image.resize((SIZE, SIZE), Image.Resampling.BOX)
    return np.array(Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB"))
