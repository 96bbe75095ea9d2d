"""Names and options in text."""

from pathlib import Path

import pytest

from mlgym import names
from mlgym.errors import UsageError


def test_options_are_json_where_they_parse() -> None:
    assert names.split("react?window=5&strict=true&mode=fast") == (
        "react",
        {"window": 5, "strict": True, "mode": "fast"},
    )
    assert names.split("nop") == ("nop", {})


def test_a_broken_option_is_named() -> None:
    with pytest.raises(UsageError, match="window"):
        names.split("react?window")


def test_a_nickname_and_an_import_path_resolve() -> None:
    assert names.resolve("better", {"better": "mlgym.records:better"}, "function") is names.resolve(
        "mlgym.records:better", {}, "function"
    )


@pytest.mark.parametrize("name", ["nothing", "mlgym.records:nothing", "mlgym.nothing:x"])
def test_an_unknown_name_is_one_sentence(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        names.resolve(name, {"react": "x:y"}, "agent")
    assert "\n" not in str(caught.value) and name.split(":")[0].split(".")[-1] in str(caught.value)


@pytest.mark.parametrize(("spec", "line"), [("command", ""), ("command ", ""), ("command a -b", "a -b")])
def test_all_that_follows_command_is_its_line(spec: str, line: str) -> None:
    assert names.split(spec) == ("command", {"line": line})


def test_a_module_of_the_current_folder_is_hinted_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as without:
        names.resolve("lies_here:agent", {}, "agent")
    (tmp_path / "lies_here.py").touch()
    with pytest.raises(UsageError, match=r"once PYTHONPATH=\. is set"):
        names.resolve("lies_here:agent", {}, "agent")
    assert "PYTHONPATH" not in str(without.value)


def test_a_failure_of_a_users_function_names_its_line() -> None:
    def odd(text: str) -> int:
        return int(text)

    assert names.called("teacher", "mine:odd", odd, "7") == 7
    with pytest.raises(UsageError, match=r"^The teacher 'mine:odd' failed in test_names.py, line \d+: ValueError: inv"):
        names.called("teacher", "mine:odd", odd, "x")


def test_where_nothing_is_known_nothing_is_listed() -> None:
    with pytest.raises(UsageError, match=r"^There is no script 'x'; give package.module:attribute.$"):
        names.resolve("x", {}, "script")
