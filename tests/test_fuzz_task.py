"""`task.toml` of any form: it loads, or one sentence says what is wrong with it."""

import shutil
from pathlib import Path

import pytest
from fuzz import fuzz
from hypothesis import strategies as st

from mlgym.errors import UsageError
from mlgym.task import SHIPPED, Task, load_task

EXAMPLE = Path(__file__).parent.parent / "examples" / "guess"
TEXTS = [path.read_text() for path in sorted(SHIPPED.glob("*/task.toml"))]
LINES = sorted({line for text in TEXTS for line in text.splitlines() if line.strip() and len(line) < 200})
KEYS = sorted({line.split("=")[0].strip() for line in LINES if "=" in line and line[0].isalpha()})
ODD = [
    *("nan", "inf", "-inf", "1e400", "0", "-1", "true", "1979-05-27", "07:32:00", "99999999999999999999999"),
    *("''", "'\\u0000'", '"\\u0000"', '"\\ud800"', "'../x'", "'/etc'", "'~'", "'x'", "'jax'", "['']", "[1, 'a']"),
    *(
        "[]",
        "{}",
        "[[]]",
        "[{}]",
        "{a={}}",
        "{ validation = 1 }",
        "{ validation = 'a', test = [] }",
        "['a==1', 'a==1']",
    ),
]
VALUE = st.sampled_from(ODD) | st.text(max_size=6).map(repr) | st.floats().map(str)
TABLES = [
    "submission",
    "baseline",
    "limits",
    "anchors",
    "settings",
    "variant",
    "variant.a",
    "variant.b.anchors",
    "name",
    "x",
]
TABLE = st.sampled_from(TABLES).flatmap(lambda name: st.sampled_from([f"[{name}]", f"[[{name}]]"]))
LINE = (
    st.builds(lambda key, value: f"{key} = {value}", st.sampled_from([*KEYS, "over", "name", "folder"]), VALUE)
    | TABLE
    | st.sampled_from(LINES)
    | st.text(max_size=20)
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with all that a task has beside its task.toml."""
    return shutil.copytree(EXAMPLE, tmp_path / "guess")


def loads_or_says(place: Path, text: bytes) -> None:
    """The property that every text has."""
    (place / "task.toml").write_bytes(text)
    for name in ("guess", "guess-a", "guess-b"):
        try:
            task = load_task(place.with_name(name))
        except UsageError as error:
            assert str(error) and "\n" not in str(error), str(error)
            str(error).encode()
        else:
            assert isinstance(task, Task) and Task.model_validate_json(task.model_dump_json()) == task
            assert task.told and task.episode_limits.steps


@fuzz(60, lines=st.lists(LINE, max_size=12))
def test_any_lines(place: Path, lines: list[str]) -> None:
    loads_or_says(place, "\n".join(lines).encode(errors="replace"))


@fuzz(80, data=st.data())
def test_lines_changed_in_a_real_one(place: Path, data: st.DataObject) -> None:
    """Lines lost, moved, or with other values."""
    lines = (EXAMPLE / "task.toml").read_text().splitlines()
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(lines) - 1))
        if "=" in lines[at] and data.draw(st.booleans()):
            lines[at] = lines[at].partition("=")[0] + "= " + data.draw(VALUE)
        else:
            lines[at : at + data.draw(st.integers(0, 1))] = [data.draw(LINE)]
    loads_or_says(place, "\n".join(lines).encode(errors="replace"))


@fuzz(50, data=st.data())
def test_bytes_changed_in_a_real_one(place: Path, data: st.DataObject) -> None:
    text = bytearray(data.draw(st.sampled_from([(EXAMPLE / "task.toml").read_text(), *TEXTS])).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    loads_or_says(place, bytes(text))


@pytest.mark.parametrize("depth", [50, 5000])
@pytest.mark.parametrize("form", ["x = {}{}", "settings = {{ a = {}{} }}"])
def test_deep_nesting(place: Path, form: str, depth: int) -> None:
    loads_or_says(place, form.format("[" * depth, "]" * depth).encode() + (EXAMPLE / "task.toml").read_bytes())
