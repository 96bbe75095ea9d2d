"""A packed run is scrubbed, the same each time, and verified; one changed byte of a score is found."""

import ast
import gzip
import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from mlgym import outcome
from mlgym.cli import app
from mlgym.episode import run_episode
from mlgym.errors import UsageError
from mlgym.importers import import_runs
from mlgym.pack import MANIFEST, pack, words
from mlgym.records import Action, Attempt, EpisodeSpec, Limits, Observation, Reply, Step
from mlgym.scrub import Here, Scrubber
from mlgym.store import Episode, episode_folder
from mlgym.task import load_task
from mlgym.verify import verify
from tests.originals import recorded_run

NOWHERE = Here()
ROOT = Path(__file__).parent.parent
SECRET = "tr\"ès\\ s'ecret/+=%7"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four imported episodes."""
    place = tmp_path_factory.mktemp("packs")
    for number in range(2):
        for model in ("a", "b"):
            steps = [("validate\n", f"1.{number}5"), ("submit\n", "")]
            recorded_run(place / "in", steps, [1.05 + number / 10, 1.25], model=model, run=number)
    list(import_runs(place / "in", place / "run"))
    return place / "run"


@pytest.fixture(scope="module")
def packed(run: Path) -> Path:
    """It in one file."""
    return pack(run, run.with_name("run.gz"), NOWHERE).file


def members(file: Path) -> dict[str, bytes]:
    with tarfile.open(file) as tar:
        return {one.name: tar.extractfile(one).read() for one in tar}  # type: ignore[union-attr]


def repacked(file: Path, change: Callable[[dict[str, bytes]], None], manifest: bool = False) -> Path:
    """The file with other content; with `manifest` its hashes are those of the new content."""
    held = members(file)
    change(held)
    if manifest:
        told = json.loads(held[MANIFEST])
        told["files"] = {name: hashlib.sha256(data).hexdigest() for name, data in held.items() if name != MANIFEST}
        held[MANIFEST] = json.dumps(told).encode()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in held.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    target = file.with_name("changed.gz")
    target.write_bytes(gzip.compress(out.getvalue()))
    return target


def test_the_same_run_gives_the_same_bytes(run: Path, packed: Path, tmp_path: Path) -> None:
    assert pack(run, tmp_path / "again.gz", NOWHERE).file.read_bytes() == packed.read_bytes()
    assert list(members(packed))[-1] == MANIFEST and "tables.json" in members(packed)
    with pytest.raises(UsageError, match="there already"):
        pack(run, tmp_path / "again.gz")
    with pytest.raises(UsageError, match="no episode"):
        pack(tmp_path, tmp_path / "none.gz")
    assert [path.name for path in tmp_path.iterdir()] == ["again.gz"]


def test_it_matches(packed: Path) -> None:
    done = verify(packed)
    assert (done.difference, done.episodes, done.results, done.attempts) == ("", 4, 4, 8)
    ran = CliRunner().invoke(app, ["verify", str(packed)])
    assert ran.exit_code == 0 and ran.output.splitlines()[-1].startswith("MATCH: 4 results from 8 attempts")


SCORES = [
    ("battle-of-sexes/*/0/attempts/0000.json", b"1.05", b"1.06", "step 1 showed"),
    ("battle-of-sexes/*/0/result.json", b"1.25", b"1.35", "result.json has other attempts"),
    ("battle-of-sexes/*/0/steps.jsonl", b'"score":1.05', b'"score":1.15', "step 1 showed"),
    ("battle-of-sexes/*/1/result.json", b'"progress": 0.', b'"progress": 1.', "its progress is"),
    ("tables.json", b'"best_attempt": 1.25', b'"best_attempt": 1.26', "tables.json, episodes (battle-of-sexes"),
    ("protocol.lock", b'"best": 1.44', b'"best": 1.54', "is not what was packed"),
]


@pytest.mark.parametrize("manifest", [False, True])
@pytest.mark.parametrize(("where", "old", "new", "said"), SCORES, ids=lambda value: str(value)[:24])
def test_one_byte_of_one_score(packed: Path, where: str, old: bytes, new: bytes, said: str, manifest: bool) -> None:
    def change(held: dict[str, bytes]) -> None:
        name = next(name for name in held if Path(name).match(where))
        data = held[name]
        assert old in data
        held[name] = data.replace(old, new, 1)

    changed = repacked(packed, change, manifest)
    ran = CliRunner().invoke(app, ["verify", "--no-grade", str(changed)])
    if manifest and where == "protocol.lock":  # nothing that was computed hangs on it
        return
    assert ran.exit_code == 1 and ran.output.startswith("DIFFERENCE: ") and said in ran.output
    assert len(ran.output.splitlines()) == 1


def test_files_that_came_and_went(packed: Path) -> None:
    def add(held: dict[str, bytes]) -> None:
        held["more.txt"] = b"x"

    def drop(held: dict[str, bytes]) -> None:
        for name in [name for name in held if name.startswith("battle-of-sexes/original-a") and "/0/" in name]:
            del held[name]

    assert "was not packed" in verify(repacked(packed, add), grade=False).difference
    assert "3 episodes are there, 4 were packed" in verify(repacked(packed, drop), grade=False).difference
    assert "no MANIFEST.json" in verify(repacked(packed, lambda held: held.pop(MANIFEST) and None)).difference


@settings(max_examples=25)
@given(data=st.data())
def test_a_damaged_file_never_matches(packed: Path, data: st.DataObject) -> None:
    whole = bytearray(packed.read_bytes())
    place = data.draw(st.integers(10, len(whole) - 1))  # before it stand gzip's own words, which say nothing of the run
    if data.draw(st.booleans()):
        whole[place] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del whole[place:]
    damaged = packed.with_name("damaged.gz")
    damaged.write_bytes(whole)
    assert verify(damaged, grade=False).difference


@settings(max_examples=25)
@given(data=st.data())
def test_any_change_of_a_record_is_a_difference(packed: Path, data: st.DataObject) -> None:
    values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.just([]) | st.just({})

    def change(held: dict[str, bytes]) -> None:
        name = data.draw(st.sampled_from([name for name in held if name.endswith(".json") and name != MANIFEST]))
        told = json.loads(held[name])
        place: Any = told
        while True:
            key = data.draw(st.sampled_from([*place] if isinstance(place, dict) else range(len(place))))
            if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
                break
            place = place[key]
        before, place[key] = place[key], data.draw(values)
        assume(before != place[key])
        held[name] = json.dumps(told).encode()

    manifest = data.draw(st.booleans())  # with it, what nothing hangs on may be changed
    done = verify(repacked(packed, change, manifest), grade=False)
    assert len(done.difference.splitlines()) == 1 or (manifest and not done.difference)


@pytest.mark.parametrize("name", ["../out", "/etc/out", "a/../../out"])
def test_a_member_never_leaves_the_folder(tmp_path: Path, packed: Path, name: str) -> None:
    done = verify(repacked(packed, lambda held: held.update({name: b"x"})))
    assert "does not stay in the folder" in done.difference and not list(tmp_path.iterdir())


def test_a_run_with_broken_records(run: Path, tmp_path: Path) -> None:
    broken = tmp_path / "run"
    shutil.copytree(run, broken)
    next(broken.glob("*/*/0/spec.json")).write_text("[1]")
    assert pack(broken, tmp_path / "run.gz", NOWHERE).episodes == 4
    for lock in ("[]", "{", '{"task_protocol": 1}'):
        (broken / "protocol.lock").write_text(lock)
        with pytest.raises(UsageError, match="is no lock that can be read"):
            pack(broken, tmp_path / "again.gz", NOWHERE)


@pytest.mark.parametrize("lock", ["[]", '{"task_protocol": {"tasks": [1]}}', '{"task_protocol": 1}'])
def test_a_lock_of_another_form_is_a_difference(packed: Path, lock: str) -> None:
    changed = repacked(packed, lambda held: held.update({"protocol.lock": lock.encode()}), manifest=True)
    assert verify(changed, grade=False).difference


def test_the_home_of_nobody_is_no_task(packed: Path) -> None:
    def change(held: dict[str, bytes]) -> None:
        name = next(name for name in held if name.endswith("spec.json"))
        held[name] = json.dumps({**json.loads(held[name]), "task": "~nobody-at-all/x", "imported": ""}).encode()

    assert verify(repacked(packed, change, manifest=True), grade=False).difference


def test_what_follows_the_last_file_is_bounded(packed: Path) -> None:
    more = packed.with_name("more.gz")
    more.write_bytes(packed.read_bytes() + gzip.compress(bytes(1 << 20), 1) * 70)
    assert "follow its last file" in verify(more, grade=False).difference


def test_what_is_no_pack(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    for data in (b"", b"no", gzip.compress(b"no"), gzip.compress(b"")):
        path.write_bytes(data)
        assert verify(path).difference


def test_scores_are_computed_again_from_the_files(tmp_path: Path) -> None:
    spec = EpisodeSpec(task="battle-of-sexes", agent="nop", limits=Limits(steps=3))
    run_episode(spec, episode_folder(tmp_path / "run", spec))
    file = pack(tmp_path / "run", tmp_path / "run.gz", NOWHERE).file
    done = verify(file)
    assert done.difference == "" and done.regraded == 2 and not done.not_regraded

    def forge(held: dict[str, bytes]) -> None:
        """Another score everywhere it stands."""
        attempt = json.loads(next(data for name, data in held.items() if name.endswith("attempts/0000.json")))
        old = json.dumps(attempt["validation"]["score"]).encode()
        for name, data in held.items():
            held[name] = data.replace(old, b"1.2")

    def unsay(held: dict[str, bytes]) -> None:
        """And nothing of who has graded it."""
        forge(held)
        for name, data in held.items():
            if name.endswith(("0000.json", "result.json")):
                told = json.loads(data)
                for attempt in told.get("attempts", [told]):
                    attempt["provenance"] = None
                held[name] = json.dumps(told).encode()

    assert "graded now it has another score" in str(verify(repacked(file, unsay, manifest=True)).not_regraded)
    found = verify(repacked(file, forge, manifest=True)).difference
    assert "attempt 0 has 1.2 on validation, graded again" in found


def test_results_of_a_task_that_is_only_there(tmp_path: Path) -> None:
    task = load_task(ROOT / "examples" / "guess")
    spec = EpisodeSpec(task=str(task.folder), agent="nop")
    store = Episode.open(episode_folder(tmp_path / "run", spec), spec)
    store.add_attempt(
        Attempt(n=0, step=1, kind="end", valid=True, validation={"closeness": 0.5}, test={"closeness": 0.6})
    )
    store.add_step(Step(n=1, action=Action(tool="submit"), observation=Observation(text=""), attempt=0))
    told = outcome.result(store.attempts(), task, progress=lambda _: None, ended="submitted", steps=1)
    store.finish(told)
    store.close()
    file = pack(tmp_path / "run", tmp_path / "run.gz", NOWHERE).file
    assert str(ROOT).encode() not in b"".join(members(file).values())
    done = verify(repacked(file, lambda held: held.update({})))
    assert (done.difference, done.results, done.not_regraded) == ("", 1, {"its files are not there": 1})

    def forge(held: dict[str, bytes]) -> None:
        for name, data in held.items():
            held[name] = data.replace(b'"selected": {\n  "closeness": 0.6', b'"selected": {\n  "closeness": 0.7')

    assert "its selected is" in verify(repacked(file, forge, manifest=True)).difference


def planted(run: Path, text: str) -> Path:
    """An episode of ours that has the text in all of its records and files."""
    spec = EpisodeSpec(task="battle-of-sexes", agent="react", model="openai/x", base_url="http://gpu7.lab:8000/v1")
    folder = episode_folder(run, spec)
    store = Episode.open(folder, spec)
    action = Action(tool="bash", args={"command": f"curl -H '{text}'", text: "x"}, thought=text)
    store.add_step(Step(n=1, action=action, observation=Observation(text=f"\n{text}\n")))
    store.add_call([], [], Reply(text=text))
    for name in ("a.py", "a.bin"):
        path = folder / name
        path.write_bytes(f"key = '{text}'\n".encode() + b"\xff\x00" * name.endswith("bin"))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        path.rename(store.file(digest))
        store.add_attempt(Attempt(n=int(name == "a.bin"), step=1, kind="validate", files={name: digest}))
    store.close()
    return run


def test_what_is_planted_is_replaced_everywhere(tmp_path: Path) -> None:
    here = Here({"MY_API_KEY": SECRET}, ("/data/people/ada",), ("ada-l",), ("gpu7.lab", "gpu7"))
    texts = [SECRET, "sk-ant-api03-" + "aB3_" * 10, "/data/people/ada/x.py", "ada-l", "GPU7.lab"]
    run = planted(tmp_path / "run", " ".join(texts))
    done = pack(run, tmp_path / "run.gz", here)
    everything = b"\n".join(members(done.file).values())
    plain = everything.decode("latin-1") + json.dumps(json.loads(members(done.file)[MANIFEST]))
    for text in (SECRET, json.dumps(SECRET)[1:-1], json.dumps(SECRET, ensure_ascii=False)[1:-1], *texts, "gpu7"):
        assert text.encode() not in everything and text not in plain, text
    assert [why for why in done.left_out.values()] == ["it is no text and holds something that is to be replaced"]
    assert {"the value of the variable MY_API_KEY", "a key of Anthropic", "a home folder", "a user name"} <= {
        *done.replaced
    }
    assert verify(done.file, grade=False).difference == ""


def test_the_address_of_a_server_is_replaced_wherever_it_stands(tmp_path: Path) -> None:
    said = "Nothing is served at HTTP://gpu7.lab:8000/v1; gpu7.lab:22 and http://localhost:1/v1 are there"
    run = planted(tmp_path / "run", said)
    agents = [{"agent": "react", "base_url": url} for url in ("http://10.1.2.3/v1", "http://localhost:1/v1")]
    (run / "run.json").write_text(json.dumps({"grid": {"agents": agents, "ray_address": "10.4.5.6:6379"}}))
    everything = b"\n".join(members(pack(run, tmp_path / "run.gz", NOWHERE).file).values())
    assert not [text for text in (b"gpu7", b"10.1.2.3", b"10.4.5.6") if text in everything]
    assert "Nothing is served at «address»; «address»:22 and http://localhost:1/v1".encode() in everything


ALNUM = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=40, max_size=48)
KEYS = st.one_of(
    *(
        ALNUM.map(lambda text, before=before: before + text)  # type: ignore[misc]
        for before in (
            "sk-ant-api03-", "sk-or-v1-", "sk-proj-", "hf_", "AIza", "ya29.", "gsk_", "xai-", "pplx-", "nvapi-", "r8_",
            "tgp_v1_", "fw_", "csk-", "sk_live_", "ghp_", "github_pat_", "glpat-", "xoxb-", "npm_", "pypi-AgEIcHlwaS",
        )
    ),
    ALNUM.map(lambda text: "sk-7" + text),
    ALNUM.map(lambda text: "AKIA" + text[:16].upper()),
    ALNUM.map(lambda text: f"eyJ{text}.eyJ{text}.{text}"),
    ALNUM.map(lambda text: f"-----BEGIN RSA PRIVATE KEY-----\n{text}\n-----END RSA PRIVATE KEY-----"),
)  # fmt: skip
FREE = st.text(min_size=8, max_size=20).filter(lambda text: text == text.strip() and "\0" not in text)
NAME = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=3, max_size=12).filter(
    lambda text: text.strip("-") == text and text not in words() and text not in ("agent", "sandbox", "root", "nobody")
    and text not in ("secret", "home", "user", "host", "folder")
)  # fmt: skip
AROUND = st.sampled_from(["", " ", "\n", "'", '"', "=", "/", ":", "(", "\\", "\t", "é", "%20", "\x1b[31m"])
WAYS: list[Callable[[str], str]] = [
    lambda text: text,
    lambda text: json.dumps({"command": text}),
    lambda text: json.dumps({"arguments": json.dumps({"command": text})}),
    lambda text: json.dumps({"arguments": json.dumps({"command": text}, ensure_ascii=False)}, ensure_ascii=False),
    lambda text: repr([text]),
]


def read_back(text: str) -> Iterator[str]:
    """A text and what one gets by reading it as JSON or Python, again and again."""
    yield text
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(text)
        except (ValueError, SyntaxError):
            continue
        inner = [*found, *found.values()] if isinstance(found, dict) else found if isinstance(found, list) else []
        for each in inner:
            yield from read_back(each) if isinstance(each, str) else ()


def survives(scrubber: Scrubber, what: str, text: str) -> bool:
    """Whether it is found in a scrubbed text, JSON line or file, or in what one gets by reading the escapes back."""
    record = scrubber.lines(json.dumps({"a": text, text: "x"}).encode() + b"\n").decode().removesuffix("\n")
    files = [scrubber.file(data) for data in (text.encode(), b"\xff\0" + text.encode(), text.encode("utf-16"))]
    left = [scrubber.text(text), record, *((data or b"").decode(errors="replace") for data in files)]
    return any(what in one for each in left for one in read_back(each))


@settings(max_examples=70)
@given(key=KEYS, before=AROUND, after=AROUND, way=st.sampled_from(WAYS))
def test_a_key_never_survives(key: str, before: str, after: str, way: Callable[[str], str]) -> None:
    assert not survives(Scrubber(NOWHERE), key, way(f"x {before}{key}{after} y"))


@settings(max_examples=70)
@given(value=FREE, before=st.text(max_size=5), after=st.text(max_size=5), way=st.sampled_from(WAYS))
def test_a_secret_variable_never_survives(value: str, before: str, after: str, way: Callable[[str], str]) -> None:
    assert not survives(Scrubber(Here({"SOME_TOKEN": value}), words()), value, way(f"{before}{value}{after}"))


@settings(max_examples=70)
@given(name=NAME, kind=st.sampled_from(["user", "host", "home"]), around=AROUND, way=st.sampled_from(WAYS))
def test_a_name_never_survives(name: str, kind: str, around: str, way: Callable[[str], str]) -> None:
    here = {"user": Here(users=(name,)), "host": Here(hosts=(name,)), "home": Here(homes=(f"/data/{name}",))}[kind]
    what = f"/data/{name}" if kind == "home" else name
    assert not survives(Scrubber(here, words()), what, way(f"x {around}{what}{around} y"))


@pytest.mark.parametrize(
    "name", ["OPENAI_API_KEY", "HF_TOKEN", "DB_PASSWORD", "AWS_SECRET_ACCESS_KEY", "MY_PAT", "X_AUTH"]
)
def test_variables_that_look_like_secrets(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "abcdef-123")
    assert "abcdef-123" not in Scrubber(Here.now()).text("it is abcdef-123.")


@pytest.mark.parametrize("name", ["TOKENIZERS_PARALLELISM", "MAX_TOKENS", "KEYBOARD", "MONKEY", "PATH", "COMPASS"])
def test_variables_that_do_not(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "abcdef-123")
    assert "abcdef-123" in Scrubber(Here.now()).text("it is abcdef-123.")


@pytest.mark.parametrize(
    "text",
    [
        "task-specific-hyperparameters-and-more", "risk-adjusted-returns-of-2023-and-2024", "tokenizer.pad_token = x",
        "/home/agent/workspace/a.py", "root_dir = './data/root'", '{"score": 1.5, "seed": 0}', "https://example.org/a:b@c",
        "0123456789abcdef" * 4,
    ],
)  # fmt: skip
def test_what_is_left_alone(text: str) -> None:
    scrubber = Scrubber(Here({}, ("/root",), ("root", "agent"), ("localhost",)), words())
    assert scrubber.text(text) == text and not scrubber.replaced


def test_a_password_without_a_user_never_survives() -> None:
    for text in ("redis://:hunter2@db:6379/0", "https://ada:hunter2@db/x"):
        assert "hunter2" not in Scrubber(NOWHERE).text(text)


def test_the_folders_of_every_system_are_left_alone() -> None:
    scrubber = Scrubber(Here(folders=("/", "/tmp", "/data/run")))
    assert scrubber.text("/ a/b, /tmp/x, /data/run/x") == "/ a/b, /tmp/x, «folder»/x"


def test_a_letter_that_is_another_in_small_is_no_way_out() -> None:
    value = "abc\N{KELVIN SIGN}def-12"  # in small letters a k, in JSON an escape
    assert not survives(Scrubber(Here({"SOME_TOKEN": value})), value, json.dumps({"a": value}))


def test_names_that_are_words_of_the_records_are_left_and_said() -> None:
    scrubber = Scrubber(Here({"A_TOKEN": "validation"}, (), ("seed",), ("steps",)), words())
    data = b'{"seed": 0, "steps": 1, "validation": 2}'
    assert scrubber.json(data) is data and len(scrubber.left) == 3
