"""A recipe is read, changed, refused in a sentence; and its tasks are those that may be trained on."""

from pathlib import Path

import pytest

from mlgym.errors import UsageError
from mlgym.rl.recipe import SHIPPED, Recipe, changes, read_recipe

SMALL = 'policy = "models/a"\ntasks = ["duel-s0..9-d0.2", "own/task"]\nweights = {"own/task" = 2.0}\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text)
    return path


def test_paths_are_meant_from_the_files_folder(tmp_path: Path) -> None:
    recipe = read_recipe(written(tmp_path, SMALL + '[warmup]\nchats = "chats.jsonl"\n'))
    assert recipe.policy == str(tmp_path / "models/a")
    assert recipe.tasks == ("duel-s0..9-d0.2", str(tmp_path / "own/task"))
    assert recipe.weights == {str(tmp_path / "own/task"): 2.0}
    assert recipe.warmup and recipe.warmup.chats == str(tmp_path / "chats.jsonl")


def test_values_are_laid_over_the_file(tmp_path: Path) -> None:
    told = changes(["lr=2e-3", "options.clip=0.1", "options.kl=0.01", "algorithm=expert", 'tasks=["maze-s1-d0"]'])
    recipe = read_recipe(written(tmp_path, 'tasks = ["duel-s0..9-d0.2"]\noptions = {clip = 0.3}\n'), told)
    assert (recipe.lr, recipe.algorithm, recipe.tasks) == (0.002, "expert", ("maze-s1-d0",))
    assert recipe.options == {"clip": 0.1, "kl": 0.01}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "recipe.toml: the key 'tasks' is missing"),
        ("tasks = []", "tasks: tuple should have at least 1 item"),
        ('tasks = ["a"]\nlern = 1', r"unknown key 'lern' \(did you mean 'lr'\?\)|unknown key 'lern'"),
        ('tasks = ["a"]\nlr = -1', "lr: should be greater than 0, but is -1"),
        ('tasks = "a"', r'tasks: should be a list such as \["name"\], but is .a.\.'),
        ('tasks = ["a"]\nrows = 12', r"recipe.toml: rows \(12\) should be a multiple of group \(8\)\.$"),
        ('tasks = ["a"]\nweights = {b = 1.0}', "weights should be those of its tasks, and 'b' is none"),
        ('tasks = ["a"]\n[warmup]\nsteps = 3', "warmup: should have a teacher or a file of chats, and not both"),
        ('tasks = ["a"]\ntiny = {hidden = 20}', "tiny.hidden: should be a multiple of 16"),
        ("tasks = [", "recipe.toml: "),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        read_recipe(written(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_what_is_no_change_is_refused() -> None:
    with pytest.raises(UsageError, match="key=value"):
        changes(["lr"])
    with pytest.raises(UsageError, match=r"There is no recipe gone: .*duel"):
        read_recipe("gone")


def test_the_benchmarks_own_tasks_are_for_evaluation_only() -> None:
    held = {"sets": {"benchmark": ["battle-of-sexes"]}}
    Recipe.model_validate_json('{"tasks": ["duel-s0..9-d0.2"]}').with_changes({"evaluation": held}).check()
    own = Recipe.model_validate_json('{"tasks": ["duel-s0..9-d0.2", "games"]}')
    with pytest.raises(UsageError, match="'battle-of-sexes' is for evaluation"):
        own.check()
    own.check(include_eval=True)
    with pytest.raises(UsageError, match="There is no task 'nothing'"):
        own.with_changes({"tasks": ["nothing"]}).check()


def test_a_suites_weight_is_that_of_each_of_its_tasks() -> None:
    recipe = Recipe.model_validate_json('{"tasks": ["games", "duel-s1-d0"], "weights": {"games": 3.0}}')
    assert recipe.drawn().chances() == pytest.approx(
        {"battle-of-sexes": 0.3, "prisoners-dilemma": 0.3, "blotto": 0.3, "duel-s1-d0": 0.1}
    )


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_recipes_are_whole(path: Path) -> None:
    read_recipe(path.stem).check()
