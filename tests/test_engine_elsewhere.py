"""The rollout engine with its environments at a server and on a Ray cluster."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlgym.errors import UsageError
from mlgym.rl import Engine, Row, ScriptedPolicy
from mlgym.store import Episode, episodes

GUESS = Path(__file__).parent.parent / "examples" / "guess"
REPLIES = ["echo 42 > guess.txt", "validate", "sleep 60"]
ON_RAY = """
import json, sys
from mlgym.rl import Engine, Row, ScriptedPolicy
replies = json.loads(sys.argv[2])
engine = Engine(ScriptedPolicy([*replies[:2], "submit"]), environments="ray://local", protocol="plain", deadline=60)
for _ in range(2):
    for each in engine.rollout([Row(sys.argv[1], 1), Row(sys.argv[1], 2)]):
        print(each.model_dump_json(include={"seed", "status", "progress", "reward", "turns", "why"}), flush=True)
    engine.policy, engine.deadline = ScriptedPolicy(replies), 8
engine.close()
"""


@pytest.mark.slow
def test_environments_on_a_cluster(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'mlgym-env[ray]'")
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", ON_RAY, str(GUESS), json.dumps(REPLIES)],
        capture_output=True,
        text=True,
        timeout=110,
        env={**os.environ, "MLGYM_RUNTIME": str(tmp_path)},
    )
    assert ran.returncode == 0, ran.stderr
    found = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [each["seed"] for each in found] == [1, 2, 1, 2]
    assert [each["status"] for each in found] == ["submitted", "submitted", "timeout", "timeout"]
    assert [each["progress"] for each in found] == [1.0] * 4
    assert [each["turns"][-1]["stop"] for each in found] == ["stop", "stop", "deadline", "deadline"]


@pytest.mark.slow
def test_environments_at_a_server(tmp_path: Path) -> None:
    pytest.importorskip("uvicorn", reason="the server is not installed: pip install 'mlgym-env[serve]'")
    from mlgym.serve import Bounds, Offer, served

    with served(Offer([str(GUESS), "duel"], include_eval=True), bounds=Bounds(sessions=2, answer_s=0.5)) as server:
        engine = Engine(ScriptedPolicy([*REPLIES[:2], "submit"]), environments=server.address, protocol="plain")
        assert engine.parallel == 2
        found = engine.rollout([Row("guess", seed) for seed in (3, 1, 2)])
        assert [each.seed for each in found] == [3, 1, 2]
        assert {(each.status, each.progress) for each in found} == {("submitted", 1.0)}
        here = Engine(ScriptedPolicy([*REPLIES[:2], "submit"]), protocol="plain").rollout([Row(str(GUESS), 3)])[0]
        assert (found[0].ids, found[0].reward, found[0].parts) == (here.ids, here.reward, here.parts)
        made = Engine(
            ScriptedPolicy(["validate", "submit"]),
            environments=server.address,
            protocol="plain",
            store=tmp_path,
            every=1,
        )
        (duel,) = made.rollout([Row("duel-s3-d0.5")])
        (folder,) = episodes(tmp_path)
        stored = Episode.read(folder)
        assert stored.result is not None and stored.result.progress == duel.progress
        assert [attempt.kind for attempt in stored.attempts()] == ["validate", "submit"]
        assert sum(step.reward or 0.0 for step in stored.steps()) == pytest.approx(duel.reward)
        began = time.monotonic()
        late = Engine(ScriptedPolicy(REPLIES), environments=server.address, protocol="plain", deadline=6.0)
        (one,) = late.rollout([Row("guess")])
        assert time.monotonic() - began < 40
        assert (one.status, one.progress, one.turns[-1].stop) == ("timeout", 1.0, "deadline")


def test_where_there_is_nothing_it_says_so() -> None:
    for wrong, why in (("8", "ray://auto, not '8'"), ("ftp://x", "not 'ftp://x'")):
        with pytest.raises(UsageError, match=why):
            Engine(ScriptedPolicy(["ls"]), environments=wrong)
    with pytest.raises(UsageError, match="at least one environment"):
        Engine(ScriptedPolicy(["ls"]), environments=0)
