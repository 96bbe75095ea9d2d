"""What an action or an observation is recognised as, and how much of it is shown at once."""

import json
import random
from collections.abc import Sequence
from typing import Any

import pytest

from mlgym.records import Action, Observation, Step
from mlgym.viewer import differences, ink
from mlgym.viewer.acted import acted
from mlgym.viewer.brief import brief
from mlgym.viewer.commands import gist, parts, reads
from mlgym.viewer.known import Known
from mlgym.viewer.seen import Scale, observation
from mlgym.viewer.windows import window

HOSTILE = (
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "\u202eabc", "\x1b[31m\x1b]0;x\x07", "\x00",
    "\ud800",
    "[File: x (9 lines total)]\n1:a\n", "Traceback (most recent call last):\n", "{", "[" * 5000, "@@ -1 +1 @@\n",
    "100%|##|\r", "<<EOF", "'" * 500, '"""', "\\" * 500, "((((" * 400, "$((" * 300, "f'{" * 300, "#!" + "a" * 3000,
    "0x" + "1" * 3000, "epoch 1\n" * 50, "python -c '", "{'a':" * 300, "- a:\n" * 100, "|\n" * 300,
)  # fmt: skip


def step(tool: str, seen: str = "", status: Any = "ok", *, n: int = 1, marks: Sequence[str] = (), **args: Any) -> Step:
    return Step(
        n=n, action=Action(tool=tool, args=args), observation=Observation(text=seen, status=status), marks=tuple(marks)
    )


def texts(spans: ink.Spans) -> str:
    return "\n".join("".join(text for _, text in line) for line in spans)


def applied(old: str, hunks: differences.Hunks, first: int = 1) -> str:
    """`old` with the hunks on it."""
    lines, out, at = old.split("\n") if old else [], list[str](), first
    for hunk in hunks:
        out += lines[at - first : hunk["old"] - first]
        at = hunk["old"]
        for sign, before, _, spans in hunk["lines"]:
            text = "".join(part for _, part in spans)
            if sign != "+":
                assert before == at and lines[at - first] == text
                at += 1
            if sign != "-":
                out.append(text)
    return "\n".join([*out, *lines[at - first :]])


def shown_after(*steps: Step) -> dict[str, Any]:
    """The last step's action, shown with what the steps before it taught."""
    known = Known()
    for each in steps[:-1]:
        known.enter(each)
        known.take(each)
    known.enter(steps[-1])
    return acted(steps[-1], known)


def changed(shown: dict[str, Any]) -> list[str]:
    return [
        f"{sign}{old or new} {''.join(text for _, text in line)}"
        for hunk in shown["hunks"]
        for sign, old, new, line in hunk["lines"]
        if sign != "="
    ]


def test_code_is_coloured_by_the_name_of_its_file_and_nothing_is_lost() -> None:
    code = 'import os\n\n\ndef f(x):\n    """Says."""\n    return 1 + len(x)  # why\n'
    spans = ink.inked(code, ink.language("/home/agent/workspace/train.py"))
    assert texts(spans) == code
    kinds = {text: kind for line in spans for kind, text in line}
    assert (kinds["import"], kinds["f"], kinds["len"], kinds["1"], kinds["# why"]) == ("k", "f", "b", "n", "c")
    assert ink.language("a/Makefile") == "make" and ink.language("notes.txt") == ink.language("py") == ""


def test_what_would_take_a_lexer_long_stays_plain() -> None:
    long = "x = 1\n" + "(" * 5000 + "\ny = 2"
    assert texts(ink.inked(long, "python")) == long
    assert ink.inked(long, "python")[0][0] != ["", "x = 1"] and ink.inked(long, "python")[2] == [["", "y = 2"]]


@pytest.mark.parametrize("lexer", sorted(ink._LEXERS))
def test_hostile_code_keeps_every_character(lexer: str) -> None:
    rng = random.Random(lexer)
    for _ in range(3):
        text = "".join(rng.choice(HOSTILE[8:]) for _ in range(12))
        assert texts(ink.inked(text, lexer)) == text


def test_hunks_laid_on_the_old_text_give_the_new_one() -> None:
    rng = random.Random(0)
    words = ["", "a", "b", "    return x", "else:", "c"]
    for n in range(300):
        size = rng.choice([0, 3, 30, 300 if n % 20 == 0 else 40])
        old = [rng.choice([*words, f"line {k}"]) for k in range(size)]
        new = [line for line in old if rng.random() > 0.1]
        for _ in range(rng.randrange(6)):
            new.insert(rng.randrange(len(new) + 1), rng.choice([*words, f"new {rng.random()}"]))
        first = rng.choice([1, 17])
        before, after, end = "\n".join(old), "\n".join(new), rng.choice(["", "\n"])
        hunks = differences.between(before + end, after + end, "", first)
        assert applied(before, hunks, first) == after and bool(hunks) == (before != after)


def test_large_texts_are_compared_around_the_lines_that_both_have_once() -> None:
    old = [f"value {n} = {n}" for n in range(20_000)]
    new = [*old[:50], "put here", *old[50:9_000], *old[9_100:], "the end"]
    hunks = differences.between("\n".join(old), "\n".join(new))
    counts = [sum(line[0] == sign for hunk in hunks for line in hunk["lines"]) for sign in "+-"]
    assert counts == [2, 100]
    differences.between("a\n" * 20_000, "\n".join(f"b{n}\na" for n in range(10_000)))


def test_the_output_of_diff_is_read_as_a_difference() -> None:
    head = "diff --git a/x.py b/x.py\nindex 1..2 100644\n--- a/x.py\n+++ b/x.py\n"
    text = head + "@@ -3,2 +3,3 @@ def f():\n a\n-b\n+c\n+d\n"
    shown = observation(step("bash", text, command="git diff"), Scale())
    assert shown["kind"] == "diff" and changed(shown) == ["-4 b", "+4 c", "+5 d"]
    patch = "*** Begin Patch\n*** Update File: x.py\n@@\n-b\n+c\n*** End Patch"
    assert [line[:3] for line in differences.read(patch)[0]["lines"][3:5]] == [["-", None, None], ["+", None, None]]


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("ls", "ls"),
        ("cd /workspace && python train.py --lr 3", "python train.py --lr 3"),
        (
            "cat > src/a.py <<'EOF'\nimport x\nEOF\npython src/a.py | tail -5",
            "write src/a.py; python src/a.py | tail -5",
        ),
        ('python -c "\nimport torch\nprint(torch.__version__)\n" 2>&1', "python -c print(torch.__version__)"),
        ("python - <<'E'\n" + "x = 1\n" * 20 + "E", "python - … (20 lines)"),
        ("set -e\nexport A=1\n# first\nmake", "make"),
        ("cat >> log.txt <<E\nx\nE", "add to log.txt"),
        ("", ""),
    ],
)
def test_a_command_is_told_by_what_it_writes_and_runs(command: str, told: str) -> None:
    assert gist(command) == told
    assert "".join(part.text for part in parts(command)) == command


def test_each_part_of_a_command_has_its_own_colours() -> None:
    command = "cat > a.py <<'EOF'\ndef f(): pass\nEOF\nls -la\n"
    shown = acted(step("bash", command=command), Known())
    assert texts(shown["spans"]) == command.rstrip("\n") and shown["title"] == "a.py"
    assert ["k", "def"] in shown["spans"][1]
    assert (reads("cat a.py"), reads("head -n 5 b.yaml"), reads("cat a.py b.py"), reads("python a.py")) == (
        *("a.py", "b.yaml", ""),
        "",
    )


def test_a_window_is_quiet_code_with_its_place() -> None:
    rows = "(9 more lines above)\n10:import os\n11:x = 1\n(50 more lines below)"
    text = f"[File: /home/agent/workspace/train.py (61 lines total)]\n{rows}"
    shown = observation(step("open", text, path="train.py"), Scale())
    assert (shown["kind"], shown["quiet"], shown["first"]) == ("window", True, 10)
    assert shown["title"] == "train.py, lines 10 to 11 of 61" and texts(shown["spans"]) == "import os\nx = 1"
    assert observation(step("bash", text, command="./x"), Scale())["kind"] == "text"  # nothing hides behind its looks
    whole = window("[File: a (2 lines total)]\n1:x\n2:y\nThe file was changed.")
    assert whole and whole.whole and whole.below == "The file was changed."
    assert window("He said [File: a (2 lines total)]\n1:x") is None


def test_the_classic_edit_is_a_difference_against_the_window_before_it() -> None:
    before = "[File: /w/workspace/a.py (5 lines total)]\n1:a\n2:b\n3:c\n4:d\n5:e"
    look = step("open", before, path="a.py")
    shown = shown_after(look, step("edit", "", lines="2:3", text="B\nC\nX\n"))
    assert shown["kind"] == "edit" and changed(shown) == ["-2 b", "-3 c", "+2 B", "+3 C", "+4 X"]
    refused = shown_after(look, step("edit", "no", "error", lines="2:2", text="B\n"))
    assert refused["title"].endswith("(not made)") and changed(refused) == ["-2 b", "+2 B"]
    locked = shown_after(look, step("edit", before, lines="2:2", text="B\n"))
    assert locked["title"].endswith("(not made)")  # the file looks as before
    blind = shown_after(step("edit", "", lines="2:3", text="B\n"))
    assert blind["hunks"] is None and blind["text"]["text"] == "B"
    assert changed(shown_after(look, step("edit", "", lines="4:9", text=""))) == ["-4 d", "-5 e"]
    put = shown_after(look, step("insert", "", line="5", text="f\n"))
    assert changed(put) == ["+6 f"]


def test_str_replace_and_insert_are_numbered_by_what_they_have_shown() -> None:
    seen = "[File: /w/workspace/a.py (30 lines total)]\n(5 more lines above)\n" + "\n".join(
        f"{n}:{'y = 2' if n == 10 else f'l{n}'}" for n in range(6, 15)
    )
    shown = shown_after(step("str_replace", seen, path="a.py", old="x = 1", new="y = 2"))
    assert changed(shown) == ["-10 x = 1", "+10 y = 2"]
    failed = shown_after(step("str_replace", "not there", "error", path="a.py", old="q", new="r"))
    assert changed(failed) == ["-None q", "+None r"] and failed["title"] == "a.py (not made)"
    put = "[File: /w/workspace/a.py (4 lines total)]\n1:a\n2:NEW\n3:b\n4:c"
    assert changed(shown_after(step("insert", put, path="a.py", line=1, text="NEW"))) == ["+2 NEW"]


def test_a_file_written_again_is_a_difference_where_the_old_text_is_known() -> None:
    first = step("bash", command="cat > a.py <<'E'\none\ntwo\nE\n")
    again = step("bash", command="cat > a.py <<'E'\none\nTWO\nE\npython a.py", n=3)
    assert changed(shown_after(first, step("bash", command="python a.py"), again)) == ["-2 two", "+2 TWO"]
    assert shown_after(first, again)["folded"]  # the command itself comes when it is unfolded
    for unknown in (
        "sed -i s/one/1/ a.py",
        "git checkout .",
        "ls && mv b.py a.py",
        "cd elsewhere",
        "python b.py > a.py",
    ):
        assert shown_after(first, step("bash", command=unknown), again)["hunks"] is None, unknown
    for kept in ("X=1 timeout 9 python a.py > log.txt 2>&1", "cat a.py | head -3", "cp a.py b.py", "rm -f b.py c*"):
        assert shown_after(first, step("bash", command=kept), again)["hunks"], kept
    made = step("create", "Wrote /w/workspace/a.py (1 lines).", path="/w/workspace/a.py", content="one\n2\n")
    assert changed(shown_after(first, made)) == ["-2 two", "+2 2"]


def test_what_is_known_goes_back_with_the_state() -> None:
    def write(text: str, n: int, *marks: str) -> Step:
        return step("bash", n=n, marks=marks, command=f"cat > a.py <<'E'\n{text}\nE\n")

    last = write("three", 3, "-a")
    assert changed(shown_after(write("one", 1), write("two", 2, "+a"), last)) == ["-1 one", "+1 three"]
    assert shown_after(write("one", 1), write("two", 2, "-never saved"))["hunks"] is None


def test_a_traceback_is_told_by_its_last_line() -> None:
    text = (
        'start\nTraceback (most recent call last):\n  File "a.py", line 3, in <module>\n    f()\nValueError: too bad\n'
    )
    shown = observation(step("bash", text + "(Exit code 1.)", "error", command="python a.py"), Scale())
    assert (shown["kind"], shown["title"]) == ("traceback", "ValueError: too bad")
    ranks = "".join(f"[rank0]: {line}\n" for line in text.replace("ValueError", "my.Failure").splitlines()[1:])
    assert observation(step("bash", ranks, "error"), Scale())["title"] == "my.Failure: too bad"
    syntax = '  File "a.py", line 3\n    x x\n      ^\nSyntaxError: invalid syntax\n(Exit code 1.)'
    assert observation(step("bash", syntax, "error"), Scale())["title"] == "SyntaxError: invalid syntax"
    chained = (
        text + "\nDuring handling of the above exception, another exception occurred:\n\n" + text.replace("bad", "!")
    )
    assert observation(step("bash", chained), Scale())["title"] == "ValueError: too !"


def test_scores_are_a_small_table() -> None:
    graded = Step(
        n=1, action=Action(tool="validate"), observation=Observation(text="…", validation={"rmse": 0.5, "mae": 0.1})
    )
    shown = observation(graded, Scale("rmse", "minimize", {"rmse": 0.75}))
    title = "rmse 0.5000 baseline 0.7500 −0.2500 better"
    assert shown["title"] == "rmse 0.5000 (baseline 0.7500, −0.2500 better)"
    assert texts(shown["spans"]).split() == [*title.split(), "mae", "0.1000"]
    assert observation(graded, Scale())["title"] == "rmse 0.5000"
    none = observation(step("validate", "There is no score: no file.", "error"), Scale())
    assert none["text"]["text"] == "There is no score: no file." and not none["quiet"]


def test_an_edit_that_was_refused_is_told_by_its_problems() -> None:
    text = (
        "The change was not made.\nERRORS:\n- E999 IndentationError: unexpected indent\n- F821 name\nWith it:\n"
        + "x\n" * 80
    )
    shown = observation(step("edit", text, "error"), Scale())
    assert shown["kind"] == "refused" and shown["folded"]
    assert shown["text"]["text"] == "E999 IndentationError: unexpected indent\nF821 name"


def test_long_ones_are_folded_to_their_ends_and_logs_to_their_end() -> None:
    text = "\n".join(f"line {n}" for n in range(500))
    shown = observation(step("bash", text, command="./run"), Scale())
    assert shown["folded"] and (shown["size"], shown["lines"]) == (len(text), 500)
    assert shown["text"]["text"].split("\n") == [f"line {n}" for n in range(12)]
    assert texts(shown["tail"]).split("\n") == [f"line {n}" for n in range(494, 500)]
    assert observation(step("bash", text), Scale(), whole=True)["text"]["text"] == text
    bars = "".join(f"{n}%|{'#' * n}|\n" for n in range(101)) + "loss 0.1"
    log = observation(step("bash", bars), Scale())
    assert log["kind"] == "progress" and log["text"]["text"].split("\n")[1] == "loss 0.1" and log["lines"] == 102
    epochs = "\n".join(f"Epoch {n}: loss {1 / (n + 1)}" for n in range(100))
    assert texts(observation(step("bash", epochs), Scale())["tail"]).endswith(f"Epoch 99: loss {1 / 100}")


def test_json_is_laid_out() -> None:
    told = json.dumps({"scores": {str(n): n for n in range(20)}, "ok": True})
    shown = observation(step("bash", told), Scale())
    assert (shown["kind"], shown["lines"]) == ("json", 25)
    assert observation(step("bash", "{not json}"), Scale())["kind"] == "text"


def test_a_line_of_a_million_characters_is_cut() -> None:
    shown = observation(step("bash", "x" * 1_000_000, command="cat data.py"), Scale())
    assert shown["folded"] and shown["size"] == 1_000_000 and len(json.dumps(shown)) < 10_000
    command = acted(step("bash", command="echo " + "y" * 1_000_000), Known())
    assert command["folded"] and len(json.dumps(command)) < 10_000


@pytest.mark.parametrize(
    "tool", ["bash", "create", "edit", "insert", "str_replace", "view", "job", "end", "open", "x", ""]
)
def test_any_action_and_observation_can_be_shown(tool: str) -> None:
    rng = random.Random(tool)
    names = ["command", "path", "content", "old", "new", "lines", "line", "text", "action", "why", "reason", "x"]
    known = Known()
    for n in range(40):
        args = {
            name: rng.choice([*HOSTILE, 3, None, ["a"], {"b": 1}, "2:3", "start", ""]) for name in rng.sample(names, 5)
        }
        seen = "".join(rng.choice(HOSTILE) for _ in range(rng.randrange(4)))
        marks = rng.choice([(), ("+",), ("-",), ("",), ("-\x00",), ("+a", "-a")])
        each = step(tool, seen, rng.choice(["ok", "error", "end"]), n=n + 1, marks=marks, **args)
        known.enter(each)
        for whole in (False, True):
            for shown in (acted(each, known, whole=whole), observation(each, Scale(), whole=whole)):
                told = json.dumps(shown, allow_nan=False, ensure_ascii=False)
                assert not any(bad in told for bad in "\x00\x1b\u202e\ud800")
        known.take(each)
        line = brief(each.action.tool, each.action.args, known.open)
        assert len(line) <= 100 and "\n" not in line
