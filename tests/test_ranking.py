"""BM25: the published formula, and what follows from it."""

import math

import pytest

from mlgym.ranking import bm25, words


def test_words_are_those_of_any_script_in_lower_case() -> None:
    assert words("Größe, x_1 = 3.5 — ÉTÉ 学习率!") == ["grösse", "x", "1", "3.5", "été", "学习率"]


def test_the_scores_are_those_of_the_formula() -> None:
    scores = bm25("red fox", ["the red fox", "a red red house by the sea", "nothing"])
    # 3 documents of 3, 7 and 1 words, 11/3 on average; `red` in two of them, `fox` in one
    red, fox = math.log(1 + 1.5 / 2.5), math.log(1 + 2.5 / 1.5)
    first, second = 1.2 * (0.25 + 0.75 * 3 / (11 / 3)), 1.2 * (0.25 + 0.75 * 7 / (11 / 3))
    assert scores == pytest.approx([(red + fox) * 2.2 / (1 + first), red * 2 * 2.2 / (2 + second), 0.0])


@pytest.mark.parametrize(("query", "documents"), [("", ["a"]), ("a", []), ("a", ["", ""]), ("b", ["a", ""])])
def test_what_has_no_word_in_common_scores_nothing(query: str, documents: list[str]) -> None:
    assert bm25(query, documents) == [0.0] * len(documents)


def test_a_word_that_all_documents_have_still_counts() -> None:
    assert all(score > 0 for score in bm25("note", ["note one", "note two"]))


def test_a_word_repeated_in_the_query_counts_once() -> None:
    assert bm25("fox fox", ["fox", "hen"]) == bm25("fox", ["fox", "hen"])


def test_a_query_of_millions_of_words_is_answered_at_once() -> None:
    query = "fox " + " ".join(f"{n}" for n in range(1_000_000))
    assert bm25(query, ["the red fox", "nothing"] * 2_000)[:2] == bm25("fox", ["the red fox", "nothing"] * 2_000)[:2]
