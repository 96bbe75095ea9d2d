"""Names and options in text."""

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
