import random
import re

from mlgym.viewer.visible import visible

PARTS = (
    *(
        "\x1b[31m",
        "\x1b[",
        "\x1b]0;title\x07",
        "\x1b]8;;http://x\x1b\\",
        "\x9b1m",
        "\x9d",
        "\x1b",
        "\x07",
        "\x00",
        "\x7f",
    ),
    *("\r", "\n", "\r\n", "\t", "a", "word ", "é", "\u202e", "\u200b", "\ufeff", "\ud800", "\udfff", "\u2028", "\x85"),
    *("\u200d", "\ufe0f", "😀", "❤", "⟨U+202E⟩", "␛", "\x1b(B", "m", "[31m", "]0;", "\\", "\U000e0041", "1"),
)
DANGEROUS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def drawn(rng: random.Random) -> str:
    return "".join(rng.choice(PARTS) for _ in range(rng.randrange(12)))


def test_what_a_terminal_obeys_is_taken_away_and_what_nobody_sees_is_written_out() -> None:
    assert visible("\x1b[1;31mred\x1b[0m \x1b]0;a title\x07done") == "red done"
    assert visible("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\") == "link"
    assert visible("a\x00b\x1b!\x7f\x85") == "a␀b␛!␡⟨U+0085⟩"
    assert visible("abc\u202edef\u200b") == "abc⟨U+202E⟩def⟨U+200B⟩"
    assert visible("\ud83d and \udc00") == "� and �"
    assert visible("kept\tas it\nis, größer 日本") == "kept\tas it\nis, größer 日本"


def test_a_line_written_again_is_as_the_terminal_shows_it() -> None:
    assert visible(" 10%|#   |\r 50%|##  |\r100%|####|\ndone") == "100%|####|\ndone"
    assert visible("abcdef\rxy") == "xycdef"
    assert visible("line\r\nnext\r\n") == "line\nnext\n"
    assert visible("50%\r") == "50%"


def test_signs_that_are_made_of_several_stay_whole() -> None:
    assert visible("⚠️ ✔️ 👩‍💻 ❤️‍🔥 1️⃣") == "⚠️ ✔️ 👩‍💻 ❤️‍🔥 1️⃣"
    assert visible("a\u200db a\ufe0f") == "a⟨U+200D⟩b a⟨U+FE0F⟩"


def test_any_text_is_harmless_afterwards_and_stays_the_same() -> None:
    rng = random.Random(3)
    for _ in range(3000):
        text = drawn(rng)
        shown = visible(text)
        assert visible(shown) == shown, repr(text)
        assert not DANGEROUS.search(shown), repr(text)
        shown.encode()


def test_long_lines_are_read_in_linear_time() -> None:
    for piece in ("\x1b[", "\x9d", "\x1b]0;", "\x1b[3", "a\r", "\u202e", "\x9b;", "\ufe0f", "\u200d"):
        visible(piece * 20_000)
    visible("\x9d" + "\x1b[0" * 60_000)
    visible("A" * 100_000 + "\rb" * 50_000)
