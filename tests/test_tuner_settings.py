"""What the tuner finds to tune in programs, configuration files and command lines, and how it writes other values."""

import ast
import json
import tomllib
from random import Random
from typing import Any

import pytest

from mlgym.agents import configs
from mlgym.agents.places import Place, fit, replaced
from mlgym.agents.settings import settings
from mlgym.agents.trials import Trials, read
from mlgym.records import Brief, Limits, Observation
from mlgym.task import Task, load_tasks


def found(places: list[Place]) -> dict[str, Any]:
    return {place.name: place.range.choices or place.value for place in places}


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("LR = 0.1\nSEED = 3\nPATH = 'x'\nON = True", {"LR": 0.1, "ON": (False, True)}),
        ("A, B = 10, 30\nSTART, END = 0, 1\nfor i in y:\n    total = 0.5", {"A": 10, "B": 30}),
        ("BETAS = (0.9, 0.95)\nSHAPE = (1, 2, 3, 4)\nSHIFT = -0.5", {"BETAS[0]": 0.9, "BETAS[1]": 0.95, "SHIFT": -0.5}),
        ("C = {'a': {'lr': 0.1, 'seed': 2}, 'b': 3}", {"C.a.lr": 0.1, "C.b": 3}),
        ("SIZES = {'full': {'width': 64}, 'mini': {'width': 8}}", {"SIZES.mini.width": 8}),
        ("p.add_argument('--lr', '-l', type=float, default=1e-3)", {"lr": 0.001}),
        ("p.add_argument('--opt', default='sgd', choices=['sgd', 'adam'])", {"opt": ("sgd", "adam")}),
        ("p.add_argument('--fast', action='store_true')\np.add_argument('--seed', default=1)", {"fast": (False, True)}),
        ("p.add_argument('--steps', type=int, default=5)", {}),  # the command gives it
        (
            "@click.option('--act', default='relu', type=click.Choice(['relu', 'elu']))\ndef f(): 0",
            {"act": ("relu", "elu")},
        ),
        ("def main(rate: float = typer.Option(0.3, '--rate'), n_jobs=4): 0", {"rate": 0.3}),
        ("def f(mode: Literal['a', 'b'] = 'a', k=3): return k * 7", {"mode": ("a", "b"), "k": 3}),
        ("class C:\n    width: int = 5\n    kind: Literal['x', 'y'] = 'y'", {"width": 5, "kind": ("x", "y")}),
        ("x = Imputer(strategy='mean', fill_value='missing')", {"strategy": ("mean", "median", "most_frequent")}),
        ("def f():\n    lr = 0.1\n    n = 5\n    return Adam(w, lr=0.2, eps=1e-8, betas=(0.9, 0.99))", None),
        ("num_classes = 10\nInputSize = 3\nholdOut = 0.2\nnumWorkers = 4", {}),
        ("A = 1e300\nB = float('inf')\np.add_argument('--o', default='a', choices=['a', 'a'])", {}),
        ("async def f(k=3):\n    n = 5", {"k": 3}),
        ("no python at all", {}),
    ],
)
def test_settings_of_python(source: str, names: dict[str, Any] | None) -> None:
    if names is None:
        assert [place.value for place in settings(source)] == [0.1, 0.2, 0.9, 0.99]
    else:
        assert found(settings(source, given={"steps"}, hints={"mini"})) == names


@pytest.mark.parametrize(
    ("name", "value", "kind", "low", "high"),
    [
        ("lr", 0.01, "log", 1e-5, 0.1),
        ("LEARNING_RATE", 1e-7, "log", 1e-7 / 3, 0.1),
        ("ALPHA", 0.1, "log", 0.001, 10),
        ("C", 1.0, "log", 0.01, 100),
        ("max_grad_norm", 0.5, "log", 0.05, 5),
        ("weight_decay", 0.0, "linear", 0, 0.1),
        ("GAMMA", 0.99, "below_one", 0.001, 0.1),
        ("momentum", 0.0, "linear", 0, 0.99),
        ("dropout_rate", 0.5, "linear", 0, 0.8),
        ("CHANCE", 0.25, "share", 0, 1),
        ("SCALE", 20.0, "log", 2, 200),
        ("EPOCHS", 10, "whole", 2, 40),
        ("BATCH", 64, "power", 16, 256),
        ("LAYERS", 4, "whole", 1, 16),
        ("MAX_DEPTH", 20, "whole", 2, 160),
    ],
)
def test_ranges_go_by_name_and_size(name: str, value: float, kind: str, low: float, high: float) -> None:
    there = fit(name, value)
    assert there is not None and there.kind == kind
    assert (there.low, there.high) == pytest.approx((low, high))


@pytest.mark.parametrize("name", ["seed", "random_state", "port", "data_dir", "numClasses", "in_channels", "HELD_OUT"])
def test_what_is_not_for_tuning(name: str) -> None:
    assert fit(name, 5) is None and fit(name, 0.5) is None and fit(name, True) is None


YAML = "# lr: 0.5\nmodel:\n  lr: 1e-3   # of Adam\n  seed: 4\n  layers: 2\n  name: cnn\n- {drop: 0.5, big: true}\n"
JSON = '{"lr": 0.001, "deep": {"units": 64, "bias": true}, "name": "a: 3", "seed": 1}'
TOML = '[train]\nlr = 0.001 # step\nepochs = 5\nshuffle = false\nfile = "a"\n'
INI = "[train]\n; lr = 3\nlr=0.01\nrounds = 7\n"


@pytest.mark.parametrize(
    ("path", "source", "names"),
    [
        ("a.yaml", YAML, {"lr": 0.001, "layers": 2, "drop": 0.5, "big": (False, True)}),
        ("a.json", JSON, {"lr": 0.001, "units": 64, "bias": (False, True)}),
        ("a.toml", TOML, {"lr": 0.001, "epochs": 5, "shuffle": (False, True)}),
        ("a.ini", INI, {"lr": 0.01, "rounds": 7}),
    ],
)
def test_settings_of_configuration_files(path: str, source: str, names: dict[str, Any]) -> None:
    places = configs.entries(source, path)
    assert found(places) == names
    others: list[Any] = [place.range.moved(place.value, Random(1)) for place in places]
    changed = replaced(source, places, others)
    again = configs.entries(changed, path)
    assert [place.value for place in again] == pytest.approx(others, rel=1e-4)
    assert replaced(changed, again, [place.value for place in again]) == changed
    if path.endswith("json"):
        assert json.loads(changed)["name"] == "a: 3"
    if path.endswith("toml"):
        assert tomllib.loads(changed)["train"]["shuffle"] is True


def test_small_numbers_are_floats_in_yaml_too() -> None:
    yaml = pytest.importorskip("yaml")
    places = configs.entries("lr: 0.5", "a.yaml")
    assert yaml.safe_load(replaced("lr: 0.5", places, [3e-7])) == {"lr": 3e-7}


def test_settings_of_a_command_line() -> None:
    command = (
        "NUM_THREADS=1 python t.py --steps 400 --lr=1e-3 -n 3 --seed 5 --config conf/a.yaml big=true data.width=8 x-4"
    )
    places = configs.options(command)
    assert found(places) == {"steps": 400, "lr": 0.001, "n": 3, "big": (False, True), "data.width": 8}
    assert configs.given(command) == {"steps", "lr", "n", "seed", "config"}
    assert configs.named(command) == ["conf/a.yaml"]
    changed = replaced(command, places, [500, 0.01, 4, False, 9])
    assert "--steps 500 --lr=0.01 -n 4 --seed 5" in changed and changed.endswith("big=false data.width=9 x-4")


def test_flags_and_choices_are_written_as_they_stand_there() -> None:
    source = "p.add_argument('--fast', action='store_true')\np.add_argument('--o', default='a', choices=['a', 'b'])\n"
    changed = replaced(source, settings(source), [True, "b"])
    assert changed == source.replace("'store_true'", '"store_false"').replace("default='a'", 'default="b"')


def shipped() -> list[Task]:
    return [
        task for task in load_tasks(["mini", "tiny", "extras", "mlgym"]) if task.baseline.files and not task.without
    ]


def space(task: Task) -> Trials:
    brief = Brief(
        task=task.name,
        title=task.title,
        instruction=task.told,
        tools=(),
        limits=Limits(),
        metric=task.metric,
        direction=task.direction,
        baseline={"command": task.baseline.command, "files": list(task.baseline.files), "scores": {}},
        seed=0,
        machine={},
    )
    flow = read(brief)
    asked = next(flow).args["text"]
    mark = asked.partition("echo ")[2].partition(" ")[0]
    texts = [(task.workspace / path).read_text() for path in task.baseline.files]
    text = "".join(f"{text}{mark} {len(text.encode())}\n" for text in texts)
    with pytest.raises(StopIteration) as ended:
        flow.send(Observation(text=text))
    trials = ended.value.value
    assert isinstance(trials, Trials)
    return trials


EXPECTED = {  # some of what a person would tune in each
    "house-price": {"ALPHA", "LOG_PRICE"},
    "titanic": {"MAX_DEPTH", "MIN_LEAF"},
    "fashion-mnist": {"EPOCHS", "BATCH_SIZE", "LEARNING_RATE", "MOMENTUM"},
    "cifar10": {"EPOCHS", "BATCH_SIZE", "LEARNING_RATE", "MOMENTUM"},
    "image-captioning": {"EPOCHS", "LEARNING_RATE", "HIDDEN"},
    "mnli": {"EPOCHS", "LEARNING_RATE", "BATCH"},
    "language-modeling": {"MATRIX_RATE", "OTHER_RATE", "WARM_UP"},
    "breakout": {"steps", "width", "LEARNING_RATE", "GAMMA", "GREEDY"},
    "meta-maze": {"steps", "width", "LEARNING_RATE", "GAMMA", "GREEDY"},
    "mountain-car": {"LEARNING_RATE", "LAYERS", "steps"},
    "battle-of-sexes": {"REPEAT_OPPONENT", "REPEAT_OWN", "PLAY_ONE"},
    "prisoners-dilemma": {"FIRST_DEFECTS", "AFTER_DEFECTION.defect"},
    "blotto": {"MAX_DRAWS", "SMALLEST", "LARGEST"},
    "3sat": {"CHANCE_OF_TRUE"},
}


@pytest.mark.parametrize("task", shipped(), ids=lambda task: task.name)
def test_every_shipped_baseline_has_a_sensible_space(task: Task) -> None:
    trials = space(task)
    names = {place.name for place in trials.places}
    assert EXPECTED[task.folder.name] <= names and len(names) <= 21
    assert not [name for name in names if fit(name, True) is None]
    rng = Random(0)
    for _ in range(20):
        values = trials.propose(trials.start, rng)
        assert values != trials.start and trials.difference(values) != trials.difference(trials.start)
        for path, text in trials.files.items():
            here = [n for n, place in enumerate(trials.places) if place.path == path]
            ast.parse(replaced(text, [trials.places[n] for n in here], [values[n] for n in here]))


def test_what_the_task_says_is_a_rule() -> None:
    (blotto,) = load_tasks(["blotto"])
    assert {place.name for place in space(blotto).places} == {"MAX_DRAWS", "SMALLEST", "LARGEST"}


def test_a_language_model_takes_the_size_of_its_task() -> None:
    (mini,) = load_tasks(["language-modeling-mini"])
    names = {place.name for place in space(mini).places}
    assert "SIZES.mini.width" in names and "SIZES.full.width" not in names
