"""The documents of an episode: from above, its steps, texts, model calls and tree; of whole and of broken records."""

import json
import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mlgym.errors import UsageError
from mlgym.importers import import_runs
from mlgym.records import Action, Attempt, EpisodeSpec, Limits, Message, Observation, Reply, Step, ToolCall
from mlgym.rows import Records
from mlgym.runs import open_run
from mlgym.store import Episode
from mlgym.viewer.documents import answer
from mlgym.viewer.lines import Fact
from mlgym.viewer.store import Store
from mlgym.viewer.tree import tree
from mlgym.viewer.windows import Window, window
from tests.recorded_runs import TASK, ask, episode, step

REFERENCE = os.environ.get("MLGYM_REFERENCE", "")
BAD = "\x1b[31m<script>\u202e\x00\u200b"
Document = dict[str, Any]


def documents(store: Store, key: str) -> list[Document]:
    """Every document of an episode that this file is about; each is JSON without anything that a page must not see."""
    about = answer(store, f"e/{key}", {})
    found = [about, answer(store, f"e/{key}/steps", {"count": "200"}), answer(store, f"e/{key}/calls", {})]
    for n in about["line"]["n"][:3] + about["line"]["n"][-2:]:
        found.append(answer(store, f"e/{key}/step/{n}", {}))
        for field in ("action", "observation", "thought"):
            found.append(answer(store, f"e/{key}/text", {"step": str(n), "field": field, "count": "1000"}))
    for n in range(1, about["calls"] + 1)[-2:]:
        found.append(answer(store, f"e/{key}/call/{n}", {}))
    told = json.dumps(found, allow_nan=False, ensure_ascii=False)
    assert not any(bad in told for bad in "\x00\x1b\u202e\u200b\ud800")
    assert {len(column) for column in about["line"].values()} == {about["steps"]}
    return found


def stands(hunks: list[Document], seen: Window) -> bool:
    """Whether the new lines of a difference are those that a window shows."""
    rows = [row for hunk in hunks for row in hunk["lines"] if row[0] != "-"]
    return all(seen.lines[new - seen.first] == "".join(text for _, text in line) for _, _, new, line in rows)


def only(run: Path) -> tuple[Store, str]:
    store = Store([run])
    assert len(store.keys) == 1
    return store, store.keys[0]


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not REFERENCE:
        pytest.skip("MLGYM_REFERENCE names no folder with recorded episodes")
    run = tmp_path_factory.mktemp("imported") / "original"
    assert list(import_runs(Path(REFERENCE) / "episodes", run))
    return run


def test_every_recorded_episode_can_be_read(imported: Path) -> None:
    store = Store([imported])
    kinds, quiet, sizes = set(), 0, 0
    for key in store.keys:
        about, cards, *_ = documents(store, key)
        assert about["problems"] == [] and about["imported"] and about["baseline"]["test"] is not None
        assert [card["n"] for card in cards["steps"]] == about["line"]["n"]
        assert [card["brief"] for card in cards["steps"] if card["tool"] != "edit"] == [
            brief for brief, tool in zip(about["line"]["brief"], about["line"]["tool"], strict=True) if tool != "edit"
        ]
        kinds |= {card[field]["kind"] for card in cards["steps"] for field in ("action", "observation")}
        edits = [card for card in cards["steps"] if card["tool"] in ("edit", "insert") and card["status"] == "ok"]
        assert all(card["action"]["hunks"] for card in edits), key
        recorded = Episode.read(store.folder(key)).steps()
        for card in edits:
            seen = window(recorded[card["n"] - 1].observation.text)
            assert seen and ("(not made)" in card["action"]["title"] or stands(card["action"]["hunks"], seen)), card[
                "n"
            ]
        for card in cards["steps"]:
            quiet += card["observation"]["quiet"] * card["observation"]["size"]
            sizes += card["observation"]["size"]
    assert {"window", "edit", "insert", "command", "validate", "traceback", "refused", "progress", "text"} <= kinds
    assert quiet > sizes / 2  # most of what they saw are windows of files


def test_the_numbers_are_those_of_the_tables(imported: Path, tmp_path: Path) -> None:
    shutil.copytree(imported, tmp_path / "all")
    episode(tmp_path / "all", steps=[step(1, "validate", score=0.25), step(2, "submit", status="end")], progress=0.5)
    run, store = open_run(tmp_path / "all"), Store([tmp_path / "all"])
    for folder, key in zip(run.folders, store.keys, strict=True):
        of, about = Records(folder, "all", run.anchors), answer(store, f"e/{key}", {})
        assert about["line"]["money"] == pytest.approx([None if math.isnan(x) else x for x in of.spent])
        tables = open_run(folder).tables()
        steps, attempts, whole = tables["steps"], tables["attempts"], tables["episodes"]
        for name in ("command_s", "grader_s", "validation"):
            assert _floats(about["line"][name]) == pytest.approx(list(steps[name]), nan_ok=True)
        metric = about["metric"]
        for split in ("validation", "test"):
            scores = [(each[split] or {}).get(metric) for each in about["attempts"]]
            assert _floats(scores) == pytest.approx(list(attempts[split]), nan_ok=True)
        assert _floats([each["progress"] for each in about["attempts"]]) == pytest.approx(
            list(attempts["progress"]), nan_ok=True
        )
        assert _floats([about["result"]["progress"], about["baseline"]["test"], about["best_known"]]) == pytest.approx(
            [whole[name][0] for name in ("progress", "baseline_test", "best_known")], nan_ok=True
        )


def _floats(values: Sequence[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in values]


def test_an_episode_from_above(tmp_path: Path) -> None:
    steps = [
        step(1, "bash", "x\n", command=f"cat > a.py <<'E'\n{'1' * 400}\nE\npython a.py", thought="Look.", calls=1),
        step(2, "bash", "y\n", command="ls", call="c", calls=2),
        step(3, "bash", "z\n", command="cat > a.py <<'E'\n2\nE", call="c", calls=2),
        step(4, "validate", "Your scores", score=0.5, reward=0.5, calls=2),
        step(5, "submit", "Over.", status="end", calls=3),
    ]
    about, cards, *_ = documents(*only(_made(tmp_path, steps)))
    assert (about["state"], about["live"], about["task"], about["metric"]) == ("done", False, TASK, "skill")
    assert about["title"] and about["instruction"]["size"] > 100 and "9 steps" in about["limits"]["told"]
    assert about["line"]["brief"] == ["write a.py; python a.py", "ls", "write a.py", "validate", "submit"]
    assert about["line"]["validation"] == [None, None, None, 0.5, None]
    assert [card["calls"] for card in cards["steps"]] == [[1, 1], [2, 2], None, None, [3, 3]]
    assert [card["call"] for card in cards["steps"]] == ["", "c", "c", "", ""]
    assert [line[0] for line in cards["steps"][2]["action"]["hunks"][0]["lines"]][:2] == ["-", "+"]
    assert [(one["best"], one["counted"]) for one in about["attempts"]] == [(False, True)]


def _made(place: Path, steps: Sequence[Step], **fields: Any) -> Path:
    episode(place / "run", steps=steps, **fields)
    return place / "run"


def test_steps_come_a_few_at_a_time_and_know_what_was_before(tmp_path: Path) -> None:
    steps = [step(n, "bash", "", command=f"cat > a.py <<'E'\nsame\n{n}\nE") for n in range(1, 161)]
    store, key = only(_made(tmp_path, steps))
    page = answer(store, f"e/{key}/steps", {"from": "150", "count": "3"})
    assert ([card["n"] for card in page["steps"]], page["total"]) == ([150, 151, 152], 160)
    lines = page["steps"][0]["action"]["hunks"][0]["lines"]
    assert ["".join(text for _, text in line[3]) for line in lines if line[0] != "="] == ["149", "150"]
    assert answer(store, f"e/{key}/steps", {"from": "161", "count": "3"})["steps"] == []
    assert answer(store, f"e/{key}/step/150", {})["action"]["spans"][0]  # unfolded it is the command itself
    for path, query in ((f"e/{key}/step/161", {}), (f"e/{key}/text", {"step": "1", "field": "x"})):
        with pytest.raises(UsageError):
            answer(store, path, query)


def test_a_long_text_is_paged(tmp_path: Path) -> None:
    long = "".join(f"line {n}\n" for n in range(50_000))
    store, key = only(_made(tmp_path, [step(1, "bash", long, command="./x")]))
    card = answer(store, f"e/{key}/steps", {})["steps"][0]["observation"]
    assert card["folded"] and (card["size"], card["lines"]) == (len(long) - 1, 50_000)
    assert answer(store, f"e/{key}/step/1", {})["observation"]["text"]["text"] == long[:200_000]
    got, at = "", 0
    while at < len(long):
        part = answer(store, f"e/{key}/text", {"step": "1", "field": "observation", "from": str(at)})
        assert part["size"] == len(long)
        got, at = got + part["text"], at + 100_000
    assert got == long


def test_the_messages_of_a_call_are_those_that_the_model_was_sent(tmp_path: Path) -> None:
    run = _made(tmp_path, [step(n, "bash", "", command="ls", calls=n) for n in range(1, 7)])
    store, key = only(run)
    stored = Episode.read(store.folder(key))
    sent: list[list[Message]] = []
    messages = [Message(role="system", content="Be good."), Message(role="user", content="Begin.")]
    for n in range(6):
        if n == 4:  # the agent has told its history in fewer words
            messages = [messages[0], Message(role="user", content="In short."), *messages[-2:]]
        sent.append(messages)
        messages = ask(stored, messages, f"reply {n}", "ls")
        messages = [*messages, Message(role="tool", content=f"answer {n}", id="ls")]
    for n, wanted in enumerate(sent, 1):
        told = answer(store, f"e/{key}/call/{n}", {})
        assert [(one["role"], one["text"]["text"]) for one in told["messages"]] == [(m.role, m.content) for m in wanted]
        assert told["reply"]["text"]["text"] == f"reply {n - 1}"
        assert told["reply"]["calls"][0]["name"] == "bash"
    assert [one["new"] for one in answer(store, f"e/{key}/call/2", {})["messages"]] == [False, False, True, True]
    rows = answer(store, f"e/{key}/calls", {})["calls"]
    assert [row["step"] for row in rows] == [row["n"] for row in rows]
    assert [(row["messages"], row["new"], row["tokens_in"]) for row in rows][:2] == [(2, 2, 9), (4, 2, 9)]
    assert answer(store, f"e/{key}/calltext", {"call": "3", "field": "5"})["text"] == "answer 1"
    assert answer(store, f"e/{key}/calltext", {"call": "3", "field": "reply"})["text"] == "reply 2"


def test_very_many_messages_are_the_first_and_the_last(tmp_path: Path) -> None:
    store, key = only(_made(tmp_path, [step(1, "submit", status="end", calls=1)]))
    messages = [Message(role="user", content=f"message {n} " + "x" * 900) for n in range(1000)]
    stored = Episode.read(store.folder(key))
    stored.add_call(messages[:999], [], Reply(text="a"))
    stored.add_call(messages, [], Reply(text="b", money=None))
    told = answer(store, f"e/{key}/call/2", {})
    assert [one["place"] for one in told["messages"]] == [0, 1, *range(802, 1000)] and told["total"] == 1000
    assert len(told["messages"][5]["text"]["text"]) == 600 and told["messages"][-1]["text"]["size"] > 900
    more = answer(store, f"e/{key}/call/2", {"from": "100"})
    assert [one["place"] for one in more["messages"]] == list(range(100, 300))


def facts(*told: tuple[str, str, float | None]) -> list[Fact]:
    return [
        Fact(n, tool, marks=tuple(marks.split(",")) if marks else (), validation=None if s is None else {"m": s})
        for n, (tool, marks, s) in enumerate(told, 1)
    ]


def test_a_tree_has_the_stretches_between_what_was_gone_back_to() -> None:
    found = tree(
        facts(
            ("bash", "", None),
            ("bash", "+0,+,-0", None),
            ("validate", "+1,-,+,-1", 0.5),
            ("bash", "-,+,-0", None),
            ("validate", "+2,-,+,-2", 0.7),
            ("bash", "-,-2,+,-2", None),
            ("validate", "+3,-,+,-3", 0.1),
            ("submit", "-", 0.7),
        ),
        "m",
    )
    assert found is not None
    assert [(node["parent"], node["first"], node["last"], node["name"], node["score"]) for node in found["nodes"]] == [
        *((None, 1, 1, "0", None), (0, 2, 3, "1", 0.5), (0, 4, 5, "2", 0.7)),
        *((2, 6, 7, "3", 0.1), (2, 8, 8, "submit", 0.7)),
    ]
    assert found["main"] == [0, 2, 4]


def test_what_is_saved_under_no_name_counts_where_nothing_is_submitted() -> None:
    told = facts(
        ("bash", "", None), ("bash", "+", None), ("bash", "-", None), ("bash", "+,-", None), ("end", "+", None)
    )
    kept = tree([*told[:2], *facts(*[("bash", "", None)] * 2, ("bash", "+x,-x", None))[2:4], *told[2:4]], "m")
    assert kept is not None
    one = tree(facts(("bash", "+", None), ("bash", "-", None), ("bash", "+", None), ("bash", "+a,-a", None)), "m")
    assert one is not None and one["main"] == [1]
    assert tree(facts(("bash", "", None), ("bash", "+a", None), ("validate", "", 0.1)), "m") is None
    assert tree([], "m") is None


def test_hostile_text_in_every_field_is_only_text(tmp_path: Path) -> None:
    made = Step(
        n=1,
        action=Action(tool=BAD, args={BAD: BAD, "command": BAD}, thought=BAD, id=BAD, call=BAD),
        observation=Observation(text=BAD, tool=BAD, hit=BAD, validation={BAD: math.nan}, id=BAD),
        marks=(f"+{BAD}", f"-{BAD}"),
        calls=1,
    )
    last = step(2, "submit", BAD, status="end", calls=2)
    wrong = Attempt(n=1, step=1, kind="validate", files={BAD: "a"}, why=BAD, validation={BAD: math.inf})
    run = _made(tmp_path, [made, last], attempts=(wrong,), notes=(BAD,), why=BAD, hits={BAD: 1}, progress=math.nan)
    store, key = only(run)
    stored = Episode.read(store.folder(key))
    messages = [Message(role="user", content=BAD, calls=(ToolCall(id=BAD, name=BAD, arguments=BAD),), id=BAD)]
    reply = Reply(text=BAD, reasoning=BAD, stop=BAD, model=BAD, upstream=BAD, extra=({BAD: BAD},), money=math.nan)
    stored.add_call(messages, [{"function": {"name": BAD}}], reply)
    documents(store, key)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("result.json", "{"),
        ("result.json", "[]"),
        ("result.json", '{"ended": 3}'),
        ("spec.json", "null"),
        ("spec.json", '{"task": "gone-task", "agent": "tuner", "seed": 3}'),
        ("spec.json", '{"task": "house-price", "version": 99, "agent": "\\ud800", "model": "m"}'),
        ("steps.jsonl", ""),
        ("steps.jsonl", '{"n": 1}\nnot json\n[]\n{"n": "x", "action": 3, "observation": null}\n'),
        ("steps.jsonl", '{"n": 7, "action": {"tool": "bash\\ud83d"}, "observation": {"text": ""}}\n'),
        ("steps.jsonl", '{"action":{"tool":"x"},"observation":{"text":"","validation":7,"money_left":"a"}}\n'),
        ("calls.jsonl", '{"keep": 99, "messages": [3], "reply": {"money": "much"}}\n{\n[]\n{"reply": 3}\n'),
        ("attempts/0000.json", "x"),
    ],
)  # fmt: skip
def test_broken_records_give_documents_that_say_so(tmp_path: Path, name: str, text: str) -> None:
    steps = [
        step(1, "bash", "", command="ls", calls=1),
        step(2, "validate", score=0.5),
        step(3, "submit", status="end"),
    ]
    store, key = only(_made(tmp_path, steps))
    folder = store.folder(key)
    if name.startswith("attempts"):
        (folder / "result.json").unlink()
    (folder / name).write_text(text)
    about, cards, *_ = documents(*only(tmp_path / "run"))
    assert about["problems"] or name in ("calls.jsonl", "steps.jsonl")
    assert cards["total"] == about["steps"] == len(cards["steps"])


def test_episodes_that_have_not_ended_or_never_began(tmp_path: Path) -> None:
    store, key = only(_made(tmp_path, [step(1, "bash", "", command="ls"), step(2, "validate", score=0.5)]))
    folder = store.folder(key)
    (folder / "result.json").unlink()
    about, *_ = documents(*only(tmp_path / "run"))
    assert (about["result"], about["state"], len(about["attempts"])) == (None, "stopped", 1)
    assert about["baseline"]["validation"] is not None  # the task's own, before the episode's was taken
    (folder / "steps.jsonl").unlink()
    about, cards, *_ = documents(*only(tmp_path / "run"))
    assert (about["steps"], cards["steps"], about["tree"]) == (0, [], None)
    (folder / "steps.jsonl").write_text('{"n": 1, "act')  # being written
    assert documents(*only(tmp_path / "run"))[0]["steps"] == 0


@pytest.mark.parametrize(("reason", "status"), [("error", "error"), ("steps", "end")])
def test_an_end_by_an_error_is_an_error_in_the_line_of_steps(tmp_path: Path, reason: str, status: str) -> None:
    store, key = only(_made(tmp_path, [step(1, "end", status="end", reason=reason)], ended=reason, boundary="agent"))
    assert answer(store, f"e/{key}", {})["line"]["status"] == [status]
    assert store.runs()["runs"][0]["failed"] == 1


def test_what_was_lost_and_what_a_policy_did_can_be_read(tmp_path: Path) -> None:
    steps = [step(1, "bash", "", command="ls", reward=None)]
    lost = {"scored": False, "boundary": "sandbox", "why": "The sandbox was lost.", "ended": "error", "attempts": ()}
    about, *_ = documents(*only(_made(tmp_path / "a", steps, progress=None, **lost)))
    assert about["state"] == "missing" and about["result"]["why"] == lost["why"] and about["attempts"] == []
    rollout = {"model": "policy", "sampling": {"temperature": 1.0, "version": 7}}
    store, key = only(_made(tmp_path / "b", [step(1, "", "?", text="<tool>ls", calls=1)], agent="policy", spec=rollout))
    Episode.read(store.folder(key)).add_call([Message(role="user", content="Begin.")], [], Reply(text="<tool>ls"))
    about, cards, *_ = documents(store, key)
    assert about["method"] == "policy policy temperature=1.0 version=7" and about["calls"] == 1
    assert cards["steps"][0]["brief"] == "<tool>ls" and cards["steps"][0]["action"]["kind"] == "command"


@pytest.mark.slow
def test_a_real_search_is_a_tree_and_its_changes_are_differences(tmp_path: Path) -> None:
    from mlgym.episode import run_episode
    from mlgym.store import episode_folder

    limits = Limits(steps=14)
    spec = EpisodeSpec(task="battle-of-sexes", agent="tree?drafts=2", sandbox="auto", limits=limits)
    run_episode(spec, episode_folder(tmp_path / "run", spec))
    store, key = only(tmp_path / "run")
    about, cards, *_ = documents(store, key)
    assert about["state"] == "done" and about["tree"] and len(about["tree"]["nodes"]) >= 6
    path = [about["tree"]["nodes"][id] for id in about["tree"]["main"]]
    assert path[-1]["last"] == about["steps"]
    wrote = [card for card in cards["steps"] if card["brief"].startswith("write strategy.py")]
    assert len(wrote) >= 5 and all(card["action"]["hunks"] for card in wrote)
