"""Runs as data to learn from: what each format says, what is left out, and what the folder holds."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from mlgym.agents.watch import Watch
from mlgym.cli.exporting import run as export_run
from mlgym.errors import UsageError
from mlgym.exporters import FORMATS, Exported, Given, Options, export
from mlgym.exporters.dialogue import line
from mlgym.records import Message
from mlgym.store import Episode
from mlgym.task import load_task
from tests.recorded_runs import TASK, ask, episode, step, trajectory


def exported(out: Path, *sources: Path, format: str = "chat", filter: dict[str, Any] | None = None, **more: Any) -> Any:
    """The rows of an export, all splits after one another."""
    told = {"format": format, "validation": 0, "filter": {"alike": 1, "suspicious": True, **(filter or {})}, **more}
    export_run(sources, out, told, print)
    return rows(out)


def rows(out: Path) -> list[Any]:
    files = sorted((out / "data").glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def said(row: dict[str, Any]) -> list[str]:
    """The messages in short: who, and the command or the text."""
    return [
        f"{m['role']}: {m['tool_calls'][0]['function']['arguments'].get('command', '')}"
        if "tool_calls" in m
        else f"{m['role']}: {m['content']}"
        for m in row["messages"]
    ]


def test_an_episode_without_a_model_is_a_chat_with_tools(tmp_path: Path) -> None:
    episode(tmp_path / "run")
    (row,) = exported(tmp_path / "out", tmp_path / "run")
    assert [m["role"] for m in row["messages"]] == ["system", "user"] + ["assistant", "tool"] * 4
    assert said(row)[2:5] == ["assistant: ls", "tool: write.py\n", "assistant: echo tuner 0 > strategy.txt"]
    call, answer = row["messages"][2]["tool_calls"][0], row["messages"][3]
    assert call["type"] == "function" and call["id"] == answer["tool_call_id"]
    assert row["messages"][1]["content"].startswith("# Duel") and "duel" not in row["messages"][0]["content"]
    assert row["train"] == [m["role"] == "assistant" for m in row["messages"]]
    assert [tool["function"]["name"] for tool in json.loads(row["tools"])][:2] == ["bash", "view"]
    assert (row["id"], row["task"], row["progress"]) == (f"run/{TASK}/tuner/0", TASK, 0.5)


def test_what_was_not_understood_does_not_train(tmp_path: Path) -> None:
    steps = [
        step(1, "none", "There was no command.", status="format", reply="I think."),
        step(2, "nosuch", "There is no such tool.", status="format"),
        step(3, "submit", "Over.", status="end"),
        step(4, "end", reason="submitted"),
    ]
    episode(tmp_path / "run", steps=steps)
    (row,) = exported(tmp_path / "out", tmp_path / "run")
    assert said(row)[2:4] == ["assistant: I think.", "user: There was no command."]
    assert row["train"] == [False] * 6 + [True, False]


def test_parallel_calls_are_one_reply(tmp_path: Path) -> None:
    steps = [
        step(1, "bash", "a", command="ls a", call="reply-1", thought="Both."),
        step(2, "bash", "b", command="ls b", call="reply-1"),
        step(3, "submit", "Over."),
    ]
    episode(tmp_path / "run", steps=steps)
    (row,) = exported(tmp_path / "out", tmp_path / "run")
    assert [m["role"] for m in row["messages"][2:]] == ["assistant", "tool", "tool", "assistant", "tool"]
    assert [call["id"] for call in row["messages"][2]["tool_calls"]] == ["call_1", "call_2"]


def test_text_and_plain_commands(tmp_path: Path) -> None:
    episode(tmp_path / "run")
    (row,) = exported(tmp_path / "text", tmp_path / "run", protocol="text")
    assert row["messages"][2]["content"] == "Look.\n\n```\nls\n```" and row["tools"] is None
    assert row["messages"][-2]["content"] == "```\nsubmit\n```"
    (row,) = exported(tmp_path / "plain", tmp_path / "run", protocol="plain")
    assert said(row)[2:4] == ["assistant: ls", "user: write.py\n"]
    episode(tmp_path / "run", seed=1, steps=[step(1, "create", "", path="a", text="b"), step(2, "submit")])
    exported(tmp_path / "left", tmp_path / "run", protocol="text")
    assert "no form as text" in json.loads((tmp_path / "left" / "card.json").read_text())["left_out"]


def searched() -> list[Any]:
    """A search: 2 and 4 begin where 1 ended, 6 where 4 ended; 6 is submitted."""
    return [
        step(1, "bash", "starter", command="cat"),
        step(2, "bash", "a", command="try a", marks=["+0", "+", "-0"]),
        step(3, "validate", "0.1", score=0.1, reward=0.1, marks=["+1", "-", "+", "-1"]),
        step(4, "bash", "b", command="try b", marks=["-", "+", "-0"]),
        step(5, "validate", "0.4", score=0.4, reward=0.3, marks=["+2", "-", "+", "-2"]),
        step(6, "bash", "c", command="try c", marks=["-", "+", "-2"]),
        step(7, "submit", "Over.", reward=0.2),
    ]


def test_a_search_is_the_line_to_its_end(tmp_path: Path) -> None:
    episode(tmp_path / "run", agent="tree", steps=searched())
    (row,) = exported(tmp_path / "out", tmp_path / "run")
    assert said(row)[2::2] == [f"assistant: {c}" for c in ("cat", "try b", "", "try c", "")]


def test_a_search_that_was_stopped_ends_where_it_counts(tmp_path: Path) -> None:
    steps = [*searched()[:6], step(7, "end", reason="steps")]
    episode(tmp_path / "run", agent="tree", steps=steps)
    (row,) = exported(tmp_path / "out", tmp_path / "run")
    assert said(row)[2::2] == ["assistant: cat"]  # a branch was not gone back from: the state before it counts


def test_the_agents_own_apparatus_is_taken_out(tmp_path: Path) -> None:
    """What the watcher of the tuner adds, as it is now; a run that it stopped stays, and does not train."""
    watched = Watch().command('python train.py --text "it\'s"', 9.5)
    told = '\n[watched] {"seconds": 0.1, "reports": [], "stopped": "%s"}\n'
    marked = "cat a.py; echo END-OF-FILE-ab12 $(wc -c < a.py)"
    steps = [
        step(1, "bash", "x = 1\nEND-OF-FILE-ab12 6\n", command=marked),
        step(2, "bash", "loss 1\n" + told % "", command=f"echo 1 > a\n{watched}"),
        step(3, "bash", "loss 2\n" + told % "behind", command=watched),
        step(4, "submit", "Over."),
    ]
    episode(tmp_path / "run", steps=steps)
    (row,) = exported(tmp_path / "out", tmp_path / "run")
    assert said(row)[2:6] == [
        "assistant: cat a.py",
        "tool: x = 1\n",
        'assistant: echo 1 > a\npython train.py --text "it\'s"',
        "tool: loss 1\n",
    ]
    assert said(row)[6] == f"assistant: {watched}" and row["train"][2::2] == [True, True, False, True]


@drawn(st.lists(st.lists(st.sampled_from(["+a", "-a", "+b", "-b", "+", "-"]), max_size=3), min_size=1, max_size=12))
def test_the_line_is_what_a_state_came_from(marks: list[list[str]]) -> None:
    saved: dict[str, list[int]] = {}
    state: list[int] = []
    kept, steps = list[list[str]](), []
    for place, each in enumerate(marks):
        kept.append([])
        for mark in each:
            if mark[0] == "+":
                saved[mark[1:]] = state
            elif mark[1:] in saved:
                state = saved[mark[1:]]
            else:
                continue  # there is nothing to go back to
            kept[-1].append(mark)
        state = [*state, place]
        steps.append(step(place + 1, "bash", command=str(place), marks=kept[-1]))
    assert line(steps) == state


def test_forks_of_a_search_are_preferences(tmp_path: Path) -> None:
    episode(tmp_path / "run", agent="tree", steps=searched())
    (row,) = exported(tmp_path / "out", tmp_path / "run", format="preferences")
    assert row["kind"] == "fork" and (row["chosen_progress"], row["rejected_progress"]) == (0.4, 0.1)
    assert [m["role"] for m in row["prompt"]] == ["system", "user", "assistant", "tool"]
    chosen, rejected = (row[key][0]["tool_calls"][0]["function"]["arguments"] for key in ("chosen", "rejected"))
    assert (chosen, rejected) == ({"command": "try b"}, {"command": "try a"})
    with pytest.raises(UsageError, match="Nothing is left"):
        exported(tmp_path / "none", tmp_path / "run", format="preferences", margin=0.31)


def test_episodes_of_a_task_are_preferences_beyond_margin_and_noise(tmp_path: Path) -> None:
    for seed, progress in enumerate((0.1, 0.9, 0.5, 0.52)):
        episode(tmp_path / "run", seed=seed, progress=progress)
    episode(tmp_path / "run", task="duel-s1-d0.2", progress=0.0)
    found = exported(tmp_path / "out", tmp_path / "run", format="preferences", margin=0.05)
    assert [(row["chosen_progress"], row["rejected_progress"]) for row in found] == [(0.9, 0.1)]
    assert found[0]["prompt"][1]["content"].startswith("# Duel") and found[0]["chosen"][0]["role"] == "assistant"


def test_labels(tmp_path: Path) -> None:
    episode(tmp_path / "run", progress=0.4)
    episode(tmp_path / "run", seed=1, progress=0.0)
    assert [row["label"] for row in exported(tmp_path / "kto", tmp_path / "run", format="kto")] == [True, False]
    episode(tmp_path / "tree", agent="tree", steps=searched())
    (row,) = exported(tmp_path / "steps", tmp_path / "tree", format="steps")
    assert row["labels"] == [False, False, True, False, True, False, True]
    assert row["values"] == [0, 0, 0.1, 0.1, 0.4, 0.4, 0.4] and row["parents"] == [-1, 0, 1, 0, 3, 3, 5]
    assert row["returns"][0] == pytest.approx(0.6) and row["returns"][-1] == pytest.approx(0.2)


def test_prompts_are_given_once(tmp_path: Path) -> None:
    for agent in ("tuner", "random"):
        episode(tmp_path / "run", agent=agent)
    (row,) = exported(tmp_path / "out", tmp_path / "run", format="prompts")
    assert (row["task"], row["seed"], [m["role"] for m in row["prompt"]]) == (TASK, 0, ["system", "user"])


def test_sharegpt_has_calls_in_tags(tmp_path: Path) -> None:
    episode(tmp_path / "run")
    (row,) = exported(tmp_path / "out", tmp_path / "run", format="sharegpt")
    turns = row["conversations"]
    assert [turn["from"] for turn in turns[:4]] == ["system", "human", "gpt", "tool"]
    assert turns[2]["value"].startswith("Look.\n<tool_call>\n{") and [turn["weight"] for turn in turns[:4]] == [
        0,
        0,
        1,
        0,
    ]


def test_a_model_has_its_own_conversations(tmp_path: Path) -> None:
    """A history that the agent shortens begins another conversation, in which only what is new trains."""
    steps = [
        step(1, "bash", "one", command="ls 1", calls=1),
        step(2, "bash", "two", command="ls 2", calls=3),
        step(3, "submit", "Over.", calls=4),
    ]
    folder = episode(tmp_path / "run", agent="react", steps=steps, spec={"model": "scripted/x"})
    store = Episode(folder)
    talk = [Message(role="system", content="s"), Message(role="user", content="u")]
    talk = [*ask(store, talk, "first", "ls 1"), Message(role="tool", content="one", id="ls 1")]
    talk = [*ask(store, talk, "I think."), Message(role="user", content="Do something.")]
    talk = [*ask(store, talk, "second", "ls 2"), Message(role="tool", content="two", id="ls 2")]
    talk[3] = Message(role="tool", content="(short)", id="ls 1")
    ask(store, talk, "Submit.")
    first, second = exported(tmp_path / "out", tmp_path / "run")
    assert (first["part"], second["part"]) == (0, 1)
    own = [
        (m["content"], t) for m, t in zip(first["messages"], first["train"], strict=True) if m["role"] == "assistant"
    ]
    assert own == [("first", True), ("I think.", False), ("second", True)]
    own = [(m["content"], t) for m, t in zip(second["messages"], second["train"], strict=True)]
    assert own[2:4] == [("first", False), ("(short)", False)] and [c for c, t in own if t] == ["Submit."]
    (whole,) = exported(tmp_path / "one", tmp_path / "run", dialogue="steps")
    assert said(whole)[2] == "assistant: ls 1"


def test_atif_has_the_tokens_of_a_trajectory(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(trajectory().model_dump_json() + "\n")
    (row,) = exported(tmp_path / "out", path, format="atif")
    assert (row["schema_version"], [s["step_id"] for s in row["steps"]]) == ("ATIF-v1.8", [1, 2, 3])
    metrics = row["steps"][2]["metrics"]
    assert metrics["prompt_token_ids"] == [1, 2, 3, 4, 9] and metrics["completion_token_ids"] == [5]
    assert metrics["logprobs"] == [-1.0] and row["steps"][1]["observation"]["results"] == [{"content": "write.py"}]
    episode(tmp_path / "run")
    (row,) = exported(tmp_path / "two", tmp_path / "run", format="atif")
    own = row["steps"][2]
    assert own["tool_calls"][0]["tool_call_id"] == own["observation"]["results"][0]["source_call_id"]
    assert own["llm_call_count"] == 0 and "metrics" not in own


def test_trajectories_pass_through(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    good, lost = trajectory(), trajectory(reward=None, status="not_scored")
    bad = trajectory(status="tampered", reward=-1.0)
    path.write_text("".join(each.model_dump_json() + "\n" for each in (good, lost, bad)))
    (row,) = exported(tmp_path / "out", path, format="trajectories")
    assert type(good).model_validate_json(json.dumps(row)) == good
    assert json.loads((tmp_path / "out" / "card.json").read_text())["left_out"] == {"not scored": 1, "tampered": 1}
    path.write_text(path.read_text() + trajectory(task="blotto").model_dump_json() + "\n")
    (row,) = exported(tmp_path / "chat", path)
    assert row["train"] == [False, True, False, True]


def test_what_is_left_out(tmp_path: Path) -> None:
    run = tmp_path / "run"
    episode(run, seed=0, progress=0.7)
    episode(run, seed=1, progress=None, scored=False, boundary="grader", why="lost")
    episode(run, seed=2, isolation="partial")
    episode(run, agent="oracle", oracle=True)
    episode(run, seed=3, feedback="test", spec={"feedback": "test"})
    episode(run, seed=4, progress=0.1)
    episode(run, task="blotto")
    canary = load_task("blotto").canary
    episode(run, seed=5, progress=0.6, steps=[step(1, "bash", canary, command="cat"), step(2, "submit")])
    wrong = episode(run, seed=7, progress=0.6)
    broken = episode(run, seed=8)
    (broken / "result.json").write_text("{")
    told = Options.model_validate({"format": "chat", "filter": {"min_progress": 0.2, "alike": 1}, "validation": 0})
    given = Given(lambda _: [], lambda folder: ["tampering tried: so it looks"] if folder == wrong else [])
    export([run], tmp_path / "out", told, given)
    assert [row["id"] for row in rows(tmp_path / "out")] == [f"run/{TASK}/tuner/0"]
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card["left_out"] == {
        "a task for evaluation": 1,
        "below the least progress": 1,
        "cannot be read": 1,
        "carries a canary": 1,
        "isolation": 1,
        "not scored": 1,
        "oracle": 1,
        "saw test scores": 1,
        "suspicious by audit": 1,
    }
    assert str(broken) in card["examples"]["cannot be read"]
    everything = {"isolation": "none", "evaluation": True, "canary": True, "suspicious": True}
    assert len(exported(tmp_path / "all", run, filter=everything)) == 6


@pytest.mark.parametrize(
    "seen",
    [
        lambda id: [id.upper()],
        lambda id: [" ".join(id)],
        lambda id: ["".join(chr(ord(sign) + 0xFEE0) for sign in id)],  # in full width
        lambda id: [id[:17] + "\N{ZERO WIDTH SPACE}" + id[17:]],
        lambda id: [id[:20], id[20:]],
    ],
)
def test_a_canary_is_found_however_it_is_written(tmp_path: Path, seen: Callable[[str], list[str]]) -> None:
    id = load_task("blotto").canary.split()[2].rstrip(":")
    steps = [step(n, "view", text) for n, text in enumerate(seen(id), 1)]
    episode(tmp_path / "run", steps=[*steps, step(9, "submit")])
    with pytest.raises(UsageError, match="carries a canary"):
        exported(tmp_path / "out", tmp_path / "run", dialogue="steps")


def test_trajectories_on_the_benchmark_are_left_out_too(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    names = ("blotto", "cifar10-mini~budget=0.5", TASK)
    path.write_text("".join(trajectory(task=name).model_dump_json() + "\n" for name in names))
    assert [row["task"] for row in exported(tmp_path / "out", path)] == [TASK]
    assert len(exported(tmp_path / "all", path, filter={"evaluation": True})) == 3


@pytest.mark.parametrize("format", ["trajectories", "atif"])
def test_only_a_secret_in_its_texts_costs_a_trajectory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    monkeypatch.setenv("MY_SECRET", "tr0ub4dor-and-3")
    path = tmp_path / "t.jsonl"
    said = (Message(role="user", content="Begin."), Message(role="assistant", content="echo tr0ub4dor-and-3"))
    found = trajectory(messages=said), trajectory(model="tr0ub4dor-and-3")
    path.write_text("".join(each.model_dump_json() + "\n" for each in found))
    (row,) = (json.dumps(each) for each in exported(tmp_path / "out", path, format=format))
    assert "tr0ub4dor" not in row and "[3, 4" in row


def test_no_text_of_a_stranger_is_markup_of_the_card(tmp_path: Path) -> None:
    hostile = "a|b\r\n# head\n<script>x</script> ![i](http://h/) `c` \\|"
    path = tmp_path / "t.jsonl"
    bad = trajectory(status="tampered", why=hostile), trajectory(model=hostile)
    path.write_text("".join(each.model_dump_json() + "\n" for each in bad))
    exported(tmp_path / "out", path)
    lines = [line for line in (tmp_path / "out" / "README.md").read_text().splitlines() if "head" in line]
    assert len(lines) == 2 and all("\\<script\\>" in line and "\\!\\[i\\]" in line for line in lines)
    assert all(re.sub(r"\\.", "", line).count("|") == 3 + (line == lines[0]) for line in lines)


def test_words_of_a_held_out_task(tmp_path: Path) -> None:
    starter = next(load_task("house-price").workspace.glob("*.py")).read_text()
    episode(tmp_path / "run", steps=[step(1, "bash", "", command=f"cat > a.py <<'E'\n{starter}\nE"), step(2, "submit")])
    episode(tmp_path / "run", seed=1)
    for seed, form in enumerate(("{}:{}", "{:6}\t{}"), 2):  # as tools show it
        shown = "\n".join(form.format(number, line) for number, line in enumerate(starter.splitlines(), 1))
        episode(tmp_path / "run", seed=seed, steps=[step(1, "view", shown), step(2, "submit")])
    found = exported(tmp_path / "out", tmp_path / "run")
    assert [row["seed"] for row in found] == [1]
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert "house-price" in card["examples"]["overlaps a held-out task"]
    assert len(exported(tmp_path / "all", tmp_path / "run", filter={"overlap": 0})) == 4


def test_the_best_of_each_task_and_no_duplicates(tmp_path: Path) -> None:
    words = " ".join(str(number * number) for number in range(300))
    for seed, (more, progress) in enumerate((("", 0.1), (" 7", 0.2), (" other words, all of them", 0.3))):
        command = f"echo {words if seed < 2 else ''}{more * (1 if seed < 2 else 50)}"
        episode(
            tmp_path / "run",
            seed=seed,
            progress=progress,
            steps=[step(1, "bash", "", command=command), step(2, "submit")],
        )
    found = exported(tmp_path / "dup", tmp_path / "run", filter={"alike": 0.9})
    assert [row["seed"] for row in found] == [1, 2]
    assert [row["seed"] for row in exported(tmp_path / "best", tmp_path / "run", filter={"best": 1})] == [2]


def test_the_split_is_by_task(tmp_path: Path) -> None:
    for seed in range(8):
        for difficulty in ("0.2", "0.4"):
            episode(tmp_path / "run", task=f"duel-s{seed}-d{difficulty}")
    exported(tmp_path / "out", tmp_path / "run", validation=0.5)
    found = splits(tmp_path / "out")
    assert len(found) == 16 and set(found.values()) == {"train", "validation"}
    assert all(found[f"duel-s{n}-d0.2"] == found[f"duel-s{n}-d0.4"] for n in range(8))
    about = json.loads((tmp_path / "out" / "card.json").read_text())["made_from"]["tasks"]["duel-s…-d…"]
    assert about["train"] + about["validation"] == about["episodes"] == 16


def splits(out: Path) -> dict[str, str]:
    """The split of each task."""
    return {
        json.loads(line)["task"]: path.name.split("-")[0]
        for path in (out / "data").iterdir()
        for line in path.read_text().splitlines()
    }


def test_a_trajectory_is_in_the_split_of_the_episodes_of_its_task(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(trajectory(task="examples/guess").model_dump_json() + "\n")
    [row] = exported(tmp_path / "out", path, hold_out=["guess"])
    assert row["task"] == "guess" and splits(tmp_path / "out") == {"guess": "validation"}


def test_a_changed_task_is_in_the_split_of_what_it_was_changed_from(tmp_path: Path) -> None:
    for seed in range(8):
        for change in ("", "~budget=0.5"):
            episode(tmp_path / "run", task=f"duel-s{seed}-d0.2{change}")
    exported(tmp_path / "out", tmp_path / "run", validation=0.5)
    found = splits(tmp_path / "out")
    assert len(found) == 16 and set(found.values()) == {"train", "validation"}
    assert all(found[f"duel-s{n}-d0.2"] == found[f"duel-s{n}-d0.2~budget=0.5"] for n in range(8))


def test_families_and_tasks_can_be_held_out(tmp_path: Path) -> None:
    for task in ("duel-s1-d0.2", "duel-s2-d0.2", "maze-s1-d0.2", "maze-s1-d0.2~budget=0.5"):
        episode(tmp_path / "run", task=task)
    exported(tmp_path / "out", tmp_path / "run", hold_out=["maze", "duel-s2-d0.2"])
    assert [task for task, split in splits(tmp_path / "out").items() if split == "train"] == ["duel-s1-d0.2"]
    assert "validation has what is made from maze, duel-s2-d0.2" in (tmp_path / "out" / "README.md").read_text()
    with pytest.raises(UsageError, match="no task and no family 'mase' among these episodes"):
        exported(tmp_path / "other", tmp_path / "run", hold_out=["mase"])


def test_secrets_do_not_leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET", "tr0ub4dor-and-3")
    episode(tmp_path / "run", steps=[step(1, "bash", "tr0ub4dor-and-3", command="env"), step(2, "submit")])
    for name in FORMATS:
        if name not in ("trajectories", "preferences"):
            text = json.dumps(exported(tmp_path / name, tmp_path / "run", format=name))
            assert "tr0ub4dor" not in text
    path = tmp_path / "t.jsonl"
    told = trajectory(messages=(Message(role="user", content="tr0ub4dor-and-3"),))
    path.write_text("".join(each.model_dump_json() + "\n" for each in (trajectory(), told)))
    (row,) = exported(tmp_path / "tokens", path, format="trajectories")
    assert row["why"] == "" and "a secret in its tokens" in (tmp_path / "tokens" / "README.md").read_text()
    assert json.loads((tmp_path / "tokens" / "card.json").read_text())["made_from"]["episodes"] == 1


def test_a_users_name_does_not_break_the_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "assistant")
    episode(tmp_path / "run")
    (row,) = exported(tmp_path / "out", tmp_path / "run")
    assert {m["role"] for m in row["messages"]} == {"system", "user", "assistant", "tool"}


def test_the_same_again_and_nothing_in_half(tmp_path: Path) -> None:
    for seed in range(3):
        episode(tmp_path / "run", seed=seed)
    for out in ("one", "two"):
        exported(tmp_path / out, tmp_path / "run")
    files = [
        {p.relative_to(tmp_path / o): p.read_bytes() for p in (tmp_path / o).glob("data/*")} for o in ("one", "two")
    ]
    assert files[0] == files[1]
    with pytest.raises(UsageError, match="is there already"):
        exported(tmp_path / "one", tmp_path / "run")

    def stop(value: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export([tmp_path / "run"], tmp_path / "three", Options(format="chat"), Given(lambda _: [], clean=stop))
    assert {path.name for path in tmp_path.iterdir()} == {"run", "one", "two"}


def test_mistakes_are_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no episode in"):
        exported(tmp_path / "out", tmp_path)
    with pytest.raises(UsageError, match=r"filter\.alike"):
        exported(tmp_path / "out", tmp_path, filter={"alike": 0.3})
    episode(tmp_path / "run", task="blotto")
    with pytest.raises(UsageError, match=r"a task for evaluation: 1\).*--include-eval"):
        exported(tmp_path / "out", tmp_path / "run")
    with pytest.raises(UsageError, match="format: should be 'chat'"):
        exported(tmp_path / "out", tmp_path / "run", format="nosuch")
    (tmp_path / "t.jsonl").write_text("{}\n")
    with pytest.raises(UsageError, match="this line is no trajectory"):
        exported(tmp_path / "out", tmp_path / "t.jsonl")


def test_parquet_keeps_mixed_arguments(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    episode(tmp_path / "run")
    for name in FORMATS:
        if name not in ("trajectories", "preferences"):
            told = {"format": name, "to": "parquet", "validation": 0, "filter": {"suspicious": True}}
            done: Exported = export_run([tmp_path / "run"], tmp_path / name, told, print)
            assert done.rows == {"train": 1}
    table = pq.read_table(tmp_path / "chat" / "data" / "train-00000.parquet")
    (row,) = table.to_pylist()
    assert json.loads(row["messages"][2]["tool_calls"][0]["function"]["arguments"]) == {"command": "ls"}
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    calls = features["messages"]["feature"]["tool_calls"]["feature"]
    assert calls["function"]["arguments"] == {"_type": "Json"}
    assert "        - name: arguments\n          dtype: json" in (tmp_path / "chat" / "README.md").read_text()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_memory_does_not_grow_with_the_tasks(tmp_path: Path) -> None:
    """Eight times the tasks, the same memory: the peak of a process of its own."""
    first = episode(tmp_path / "first")
    for tasks in (30, 240):
        for number in range(tasks):
            for seed in range(4):
                name = f"duel-s{number}-d0.2"
                target = tmp_path / f"{tasks}" / name / "tuner" / str(seed)
                shutil.copytree(first, target)
                spec = json.loads((target / "spec.json").read_text())
                (target / "spec.json").write_text(json.dumps({**spec, "task": name, "seed": seed}))
    code = (
        "import resource, sys; from pathlib import Path; from mlgym.cli.exporting import run;"
        "told = {'format': 'chat', 'to': 'parquet', 'filter': {'suspicious': True, 'alike': 1}};"
        "run([Path(sys.argv[1])], Path(sys.argv[1] + '-out'), told, print);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = []
    for tasks in (30, 240):
        ran = subprocess.run([sys.executable, "-c", code, str(tmp_path / f"{tasks}")], capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        peaks.append(int(ran.stdout.split()[-1]) / 1e3)
    assert peaks[1] - peaks[0] < 12, peaks  # MB
