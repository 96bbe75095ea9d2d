"""A store in which every field is hostile: what an agent, or whoever sends a run, would write to take a reader over.

It is written as raw JSON, since who sends a run need not keep to what `records` allows: the episode WILD does not,
the others do, so that their texts are shown. Of BROKEN no file can be read.
"""

import json
from pathlib import Path
from shutil import copytree
from typing import Any

TRAP = (
    "\"'><img src=x onerror=alert(1) data-owned><script data-owned>alert(2)</script>"
    "<a href='javascript:alert(3)' onclick=alert(4) data-owned>a</a></script></style></textarea></title></template>"
    "--><svg onload=alert(5) data-owned><style data-owned>*{display:none}</style>]]>${alert(6)}{{alert(7)}}"
    "<base href='http://127.0.0.2:9/' data-owned><meta http-equiv=refresh content='0;url=http://127.0.0.2:9/'>"
)
ESCAPES = "\x1b[31mred\x1b[0m \x1b]0;name\x07 \x1b]8;;http://127.0.0.2:9/\x07link \x9b31m \x00\x08"
SIGNS = f"&lt;b&gt;&#60;i&#62; \u202egnitset\u202c \u2066\u200b\u200d\ufeff {ESCAPES}"
SURROGATE = "\ud800\udfff\udc00"
NAMES = (
    "__proto__",
    "constructor",
    "toString",
    "hasOwnProperty",
    "",
    "a\nb",
    "../../etc/passwd",
    "/etc/passwd",
    "%2e%2e",
)
PLAIN = "<img src=x onerror=alert(8) data-owned>\n\"'&#?%\u202e"  # for folders: it has no slash
NUMBERS = (1e308, -1e308, float("inf"), float("nan"), -0.0)
WILD, BROKEN = "2", "3"
NUMBER = Path(__file__).parent.parent / "number"
LONG_LINE, MANY_LINES = "x" * 1_000_000, "".join(f"line {n}\n" for n in range(100_000))


def text(field: str) -> str:
    """The hostile text of a field; `[field]` in it tells that it is shown."""
    return f"[{field}] {TRAP} {SIGNS} {SURROGATE}"


def table(field: str, levels: int = 60) -> dict[str, Any]:
    """A table with hostile names and texts, and one that is deep."""
    deep: Any = text(f"{field} at the bottom")
    for _ in range(levels):
        deep = {"key": [deep]}
    return {
        **{name: text(f"{field}.{name}") for name in NAMES},
        text("name"): {"__proto__": {"owned": 1}},
        "deep": deep,
    }


def store(place: Path) -> Path:
    """Write the store; its folder."""
    method = place / "runs" / PLAIN / PLAIN / PLAIN
    task = str(_task(place / "task"))
    for name, told in {"0": task, "1": text("spec.task"), WILD: task}.items():
        _episode(method / name, told, wild=name == WILD)
    for name in ("spec.json", "steps.jsonl", "calls.jsonl", "result.json", "attempts/0000.json", "failed.jsonl"):
        path = method / BROKEN / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\xff\x00{" + TRAP.encode() + b"\n[1]\n" + b"[" * 100_000 + b"\nnull\n{}")
    return place / "runs"


def _task(folder: Path) -> Path:
    """A task whose words are hostile."""
    copytree(NUMBER, folder)
    (folder / "workspace" / "strategy.py").write_text(text("starter").partition(" \x1b")[0] + "\n")
    told = (folder / "task.toml").read_text()
    for name in ("title", "instruction"):
        words = f"{name} = {json.dumps(f'[task.{name}] {TRAP}')}"  # TOML's strings are JSON's, as far as these go
        told = "\n".join(words if line.startswith(f"{name} =") else line for line in told.splitlines())
    (folder / "task.toml").write_text(told)
    return folder


def _episode(folder: Path, task: str, wild: bool) -> None:
    digest = "ab" * 32
    (folder / "attempts" / "files").mkdir(parents=True)
    (folder / "attempts" / "files" / digest).write_bytes(text("file").encode("utf-8", "replace"))
    attempts = [_attempt(n, digest) for n in range(3)]
    for attempt in attempts:
        _write(folder / "attempts" / f"{attempt['n']:04d}.json", attempt)
    names = ("agent", "model", "tools", "base_url", "sandbox", "python", "memory")
    spec: dict[str, Any] = {name: text(f"spec.{name}") for name in names}
    spec |= {
        "sampling": table("sampling"),
        "packages": [text("package")],
        "network": [text("network")],
        "imported": TRAP,
    }
    spec |= {"task": task, "version": 1, "seed": 0, "limits": {}} | ({"seed": TRAP, "limits": TRAP} if wild else {})
    _write(folder / "spec.json", spec)
    _write(folder / "steps.jsonl", *_steps(wild))
    _write(folder / "calls.jsonl", *(_call(n, wild) for n in range(3)))
    _write(folder / "result.json", _result(attempts, wild))


def _write(path: Path, *values: Any) -> None:
    """JSON, a line each; the first episode has no lone surrogates, with which a line may not be read."""
    told = "".join(json.dumps(value) + "\n" for value in values)
    first = "0" in path.parts
    path.write_text(told.replace(json.dumps(SURROGATE)[1:-1], "") if first else told)


def _steps(wild: bool) -> list[dict[str, Any]]:
    """A step for each hostile name of a tool, each kind of edit, long texts, and numbers out of bounds."""
    tools = [
        text("tool"),
        *NAMES,
        "bash",
        "create",
        "str_replace",
        "insert",
        "view",
        "edit",
        "open",
        "validate",
        "submit",
    ]
    given = {key: text(f"arg.{key}") for key in ("command", "path", "content", "old", "new", "text", "lines")}
    given["path"] = f"{TRAP}.py"
    traceback = f'Traceback (most recent call last):\n  File "{TRAP}", line 1\n    {TRAP}\nNameError: {TRAP}\n'
    window = f"[File: {TRAP} (3 lines total)]\n1:{TRAP}\n"
    shown = [
        text("observation"),
        LONG_LINE,
        MANY_LINES,
        window,
        traceback,
        json.dumps({TRAP: [TRAP]}),
        f"{TRAP}\r{TRAP}",
    ]
    steps = []
    for n, tool in enumerate(tools, 1):
        number = NUMBERS[n % len(NUMBERS)]
        args = {**given, **table("arg", 300 if wild else 60)} if n % 2 else given
        action = {"tool": tool, "args": args, "thought": text("thought"), "id": text("id"), "call": TRAP}
        seen = {
            "text": shown[n % len(shown) if n != 2 else 0],
            "status": "error",
            "tool": tool,
            "hit": tools[-n],
            "steps_left": -1,
        }
        seen |= {
            "validation": {"closeness": number, text("metric"): number, "__proto__": number} if n % 2 else None,
            "money_left": number,
        }
        seen |= {"status": TRAP, "steps_left": 10**400} if wild else {}
        step = {"n": n, "action": action, "observation": seen, "attempt": n % 3 if n % 2 else None, "calls": n % 4}
        step |= {"marks": [f"+{TRAP}", "+__proto__", f"-{TRAP}"] if n > 1 else [f"+{TRAP}"]}
        steps.append(step | {clock: number for clock in ("reward", "command_s", "model_s", "grader_s")})
    return steps


def _call(n: int, wild: bool) -> dict[str, Any]:
    calls = [{name: text(f"call.{name}") for name in ("id", "name", "arguments")}]
    roles = ("system", "user", "assistant", "tool", *([TRAP] if wild else []))
    messages = [{"role": role, "content": text(role), "calls": calls} for role in roles]
    reply = {name: text(f"reply.{name}") for name in ("text", "stop", "model", "reasoning", "upstream", "quantization")}
    reply |= {"calls": calls, "tokens_in": 10**12, "tokens_out": -1, "money": float("nan"), "seconds": float("inf")}
    return {"keep": n, "messages": messages, "tools": [text("call.tool"), "__proto__"], "reply": reply}


def _attempt(n: int, digest: str) -> dict[str, Any]:
    files = {name: digest for name in (*NAMES, text("file's name"))}
    scores = {"closeness": 0.5, TRAP: NUMBERS[n], "__proto__": float("nan"), text("metric"): 0.5}
    told = {"n": n, "step": n + 2, "valid": n != 1, "files": files, "code": files, "validation": scores, "test": scores}
    return {**told, "why": text("attempt.why"), "stage": "graded", "kind": "validate"}


def _result(attempts: list[dict[str, Any]], wild: bool) -> dict[str, Any]:
    told = {
        name: text(f"result.{name}") for name in ("ended", "boundary", "why", "backend", "data", "python", "source")
    }
    scores = {"closeness": 0.5, TRAP: 0.5, "__proto__": 0.5}
    told |= {"metric": "closeness", "notes": [text("note")], "imported": TRAP, "network": [text("network")]}
    told |= {"baseline": {"validation": scores, "test": scores, TRAP: scores}, "hits": {text("hits"): 10**12}}
    told |= {"cost": {"money": float("inf"), "tokens_in": 10**12, "command_s": float("nan"), "model_s": -1.0}}
    told |= {
        "attempts": attempts,
        "final": scores,
        "selected": scores,
        "best": scores,
        "progress": 1e308,
        "steps": 10**9,
    }
    return told | ({"isolation": TRAP, "metric": TRAP, "hits": {TRAP: 10**400}, "final": TRAP} if wild else {})
