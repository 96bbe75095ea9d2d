"""The command line as a user calls it: verbs, one-sentence errors, a model behind a local server."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlgym.store import Episode, episodes
from tests.servers import OpenAIServer

ROOT = Path(__file__).parent.parent
GUESS = str(ROOT / "examples" / "guess")
BLOTTO = "def row_strategy(history):\n    return [20, 20, 20, 20, 20, 20]\n"


def mlgym(*args: object, cwd: Path | None = None, **env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "mlgym", *map(str, args)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "200", **env},
        stdin=subprocess.DEVNULL,
    )


def test_help_names_every_verb() -> None:
    verbs = [
        line.split()[1] for line in mlgym("--help").stdout.splitlines() if line.startswith("│ ") and line[2].isalpha()
    ]
    assert verbs[:2] == ["run", "demo"]
    assert {*verbs} >= {"show", "doctor", "prepare", "check", "grade", "tasks"}


def test_tasks_lists_the_four() -> None:
    listed = {row["name"] for row in json.loads(mlgym("tasks", "--json").stdout)}
    assert listed >= {"house-price", "battle-of-sexes", "prisoners-dilemma", "blotto"}
    assert "battle-of-sexes" in mlgym("tasks").stdout


def test_a_run_is_shown_stored_and_read_again(tmp_path: Path, backend: str) -> None:
    args = ("run", GUESS, "-a", "oracle", "--sandbox", backend)
    ran = mlgym(*args, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    for part in ("step 1", "oracle", "submitted", "isolation", "+GUESS = 42", "mlgym show"):
        assert part in ran.stdout
    again = mlgym(*args, "-q", cwd=tmp_path)
    assert again.returncode == 0 and "step 1" not in again.stdout
    assert "validate" in mlgym("show", cwd=tmp_path).stdout
    assert "+GUESS = 42" in mlgym("show", "last", "--diff", cwd=tmp_path).stdout
    assert mlgym("show", "last", "--files", "out", cwd=tmp_path).returncode == 0
    assert "42" in (tmp_path / "out" / "guess.py").read_text()


def test_several_seeds_at_once(tmp_path: Path, backend: str) -> None:
    ran = mlgym("run", GUESS, "-a", "tuner?trials=3", "-k", 3, "-n", 2, "-o", "r", "--sandbox", backend, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert len(list(episodes(tmp_path / "r"))) == 3


def test_grade_a_folder(tmp_path: Path, backend: str) -> None:
    (tmp_path / "guess.txt").write_text("41")
    graded = mlgym("grade", GUESS, tmp_path, "--sandbox", backend)
    assert graded.returncode == 0 and '"closeness": 0.5' in graded.stdout
    (tmp_path / "guess.txt").write_text("many")
    graded = mlgym("grade", GUESS, tmp_path, "--sandbox", backend)
    assert graded.returncode == 1 and "number" in graded.stdout


def test_check_passes_and_fails_where_it_should(tmp_path: Path, backend: str) -> None:
    good = mlgym("check", GUESS, "--sandbox", backend)
    assert good.returncode == 0, good.stdout + good.stderr
    bad = tmp_path / "guess"
    subprocess.run(["cp", "-r", GUESS, bad], check=True)
    toml = bad / "task.toml"
    toml.write_text(toml.read_text().replace("0.03333333333333333", "0.5"))
    wrong = mlgym("check", bad, "--sandbox", backend)
    assert wrong.returncode != 0 and "FAIL guess: baseline validation" in wrong.stdout


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["run", "blotta"], "blotto"),
        (["run", "/nowhere"], "/nowhere"),
        (["run", "blotto", "-a", "nobody"], "react"),
        (["run", "blotto", "-a", "react"], "model"),
        (["run", "blotto", "-m", "openai/x"], "OPENAI_API_KEY"),
        (["run", "blotto", "-m", "nobody/x"], "nobody"),
        (["run", "blotto", "-M", "temperature"], "key=value"),
        (["run", "blotto", "--feedback", "train"], "validation"),
        (["run", "blotto", "--sandbox", "chroot"], "bubblewrap"),
        (["run", "blotto", "--tools", "new"], "classic"),
        (["show", "nothing"], "nothing"),
        (["show"], "run"),
        (["runn"], "runn"),
        (["run"], "TASK"),
    ],
)
def test_bad_input_is_one_sentence_and_a_code(args: list[str], said: str, tmp_path: Path) -> None:
    ran = mlgym(*args, cwd=tmp_path, OPENAI_API_KEY="")
    assert ran.returncode not in (0, 1), ran.stdout + ran.stderr
    assert said.lower() in ran.stderr.lower()
    assert len(ran.stderr.strip().splitlines()) == 1 and "Traceback" not in ran.stderr + ran.stdout


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    assert "Traceback" in mlgym("run", "blotta", "--debug", cwd=tmp_path).stderr


@pytest.mark.parametrize("refuse", ["", "vllm"])
def test_a_model_drives_blotto_by_tools_and_by_text(tmp_path: Path, backend: str, refuse: str) -> None:
    native = [
        {"text": "Look.", "calls": [("bash", {"command": "cat strategy.py"})]},
        {"text": "Write.", "calls": [("create", {"path": "strategy.py", "content": BLOTTO}), ("validate", {})]},
        {"text": "Done.", "calls": [("submit", {})]},
    ]
    text = [
        "Look.\n```\ncat strategy.py\n```",
        f"Write.\n```\ncat > strategy.py <<'E'\n{BLOTTO}E\n```",
        "Measure.\n```\nvalidate\n```",
        "Done.\n```\nsubmit\n```",
    ]
    with OpenAIServer(text if refuse else native, refuse_tools=refuse) as server:
        args = ("run", "blotto", "-m", "openai/x", "--base-url", server.url, "-M", "temperature=0.2", "-o", "r")
        ran = mlgym(*args, "--sandbox", backend, cwd=tmp_path)
        assert ran.returncode == 0, ran.stderr + ran.stdout
        assert all(request["body"]["temperature"] == 0.2 for request in server.requests)
        assert not any("max_tokens" in request["body"] for request in server.requests)
    [folder] = episodes(tmp_path / "r")
    store = Episode.read(folder)
    result = store.result
    assert result and result.ended == "submitted" and result.final and result.final["score"] > -0.248
    did = [step.action.args.get("text") or step.action.tool for step in store.steps()]
    assert did[-2:] == ["validate", "submit"] and len(did) == 4
    assert result.cost.calls == len(store.replies()) and result.cost.tokens_in > 0
    assert "2,000,000 tokens" in ran.stdout


def test_offline_makes_no_connection_and_says_what_to_do(tmp_path: Path) -> None:
    ran = mlgym("prepare", "house-price", MLGYM_OFFLINE="1", MLGYM_CACHE=str(tmp_path))
    assert ran.returncode == 1 and "mlgym prepare" in ran.stderr and "Traceback" not in ran.stderr


@pytest.mark.root
@pytest.mark.network
def test_a_prepared_task_needs_no_network(tmp_path: Path) -> None:
    assert mlgym("prepare", "battle-of-sexes").returncode == 0
    alone = ["unshare", "--net", sys.executable, "-m", "mlgym", "run", "battle-of-sexes", "-a", "nop", "-o", "r"]
    env = {**os.environ, "MLGYM_OFFLINE": "1"}
    ran = subprocess.run(alone, env=env, capture_output=True, text=True, cwd=tmp_path, stdin=subprocess.DEVNULL)
    assert ran.returncode == 0 and "submitted" in ran.stdout, ran.stderr


@pytest.mark.slow
@pytest.mark.parametrize("several", [1, 2])
def test_an_interrupt_stops_at_once_and_the_same_command_goes_on(tmp_path: Path, several: int) -> None:
    script = tmp_path / "script.json"
    calls = [
        {"calls": [{"name": "bash", "arguments": {"command": "echo 41 > guess.txt"}}]},
        {"calls": [{"name": "submit"}]},
    ]
    script.write_text(json.dumps(calls))
    args = ("run", GUESS, "-m", f"scripted/{script}", "-k", several, "-n", several, "-o", "r", "-M")
    slow = subprocess.Popen(
        [sys.executable, "-m", "mlgym", *map(str, args), "delay_s=3"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 30
    while len(list(tmp_path.glob("r/*/*/*/calls.jsonl"))) < several and time.monotonic() < deadline:
        time.sleep(0.05)
    began = time.monotonic()
    slow.send_signal(signal.SIGINT)
    _, stderr = slow.communicate(timeout=30)
    assert slow.returncode == 130 and "the same command goes on" in stderr and "Traceback" not in stderr
    assert time.monotonic() - began < 6
    assert not list(tmp_path.glob("r/*/*/*/result.json"))
    again = mlgym(*args, "delay_s=3", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert [Episode.read(folder).result.ended for folder in episodes(tmp_path / "r")] == ["submitted"] * several  # type: ignore[union-attr]


def test_a_broken_episode_is_an_exit_code(tmp_path: Path) -> None:
    (tmp_path / "script.json").write_text("[]")
    ran = mlgym("run", GUESS, "-m", "scripted/script.json", "-q", cwd=tmp_path)
    assert ran.returncode == 1 and "the same command tries again" in ran.stdout
    assert len(ran.stdout.strip().splitlines()) == 1


def test_a_mistyped_option_leaves_the_folder_usable(tmp_path: Path) -> None:
    assert mlgym("run", GUESS, "-a", "nop", "--tools", "moden", "-o", "r", cwd=tmp_path).returncode == 2
    assert mlgym("run", GUESS, "-a", "nop", "-o", "r", cwd=tmp_path).returncode == 0


def test_a_folder_of_the_same_name_does_not_stand_in_for_a_shipped_task(tmp_path: Path) -> None:
    (tmp_path / "blotto").mkdir()
    ran = mlgym("run", "blotto", "-a", "nop", "-o", "r", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr


def test_a_bulk_run_and_a_made_task_without_its_difficulty_are_told_apart_from_nothing(tmp_path: Path) -> None:
    (tmp_path / "bulk" / "shard-0000").mkdir(parents=True)
    for name in ("plan.json", "shard-0000/run.json"):
        (tmp_path / "bulk" / name).write_text("{}")
    for verb in ("show", "status"):
        assert "its runs are its shards, such as bulk/shard-0000." in mlgym(verb, "bulk", cwd=tmp_path).stderr
    assert "as in grammar-s17-d0.4; " in mlgym("check", "grammar-s7", cwd=tmp_path).stderr
