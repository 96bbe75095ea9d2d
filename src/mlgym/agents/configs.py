"""The settings of files that are no programs (YAML, JSON, TOML, INI), and of a command line."""

import re

from mlgym.agents.places import Place, Value, fit

SUFFIXES = (".yaml", ".yml", ".json", ".toml", ".ini", ".cfg", ".conf")
_NUMBER = r"-?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[tT]rue|[fF]alse|TRUE|FALSE"
# A key, its number or truth, and then nothing else before the next entry: in all these formats alike.
_ENTRY = re.compile(
    rf"""(?<![\w.-])["']?([A-Za-z_][\w.-]*)["']?[ \t]*[:=][ \t]*({_NUMBER})(?=[ \t]*(?:[,}}\]#;\r\n]|$))"""
)
_OPTION = re.compile(rf"(?<!\S)(?:--?([A-Za-z][\w-]*)[ =]|([A-Za-z_][\w.]*)=)({_NUMBER})(?=\s|$)")


def entries(source: str, path: str) -> list[Place]:
    """The numbers and truths that stand behind a key, comments left out."""
    found = []
    for match in _ENTRY.finditer(source):
        line = source[source.rfind("\n", 0, match.start()) + 1 : match.start()]
        if not re.search(r"(^|\s)[#;]", line) and not line.lstrip().startswith("//"):
            found.append(_place(source, path, match[1], match.start(2), match[2]))
    return [place for place in found if place is not None]


def options(command: str) -> list[Place]:
    """The numbers and truths of a command line: `--lr 0.1`, `--lr=0.1`, `-n 3`, `lr=0.1`."""
    matches = _OPTION.finditer(command)
    found = (_place(command, "", match[1] or match[2], match.start(3), match[3]) for match in matches)
    return [place for place in found if place is not None]


def given(command: str) -> set[str]:
    """The names of all options of a command line."""
    return {name.replace("-", "_") for name in re.findall(r"(?<!\S)--?([A-Za-z][\w-]*)", command)}


def named(command: str) -> list[str]:
    """The configuration files that a command line names."""
    words = re.findall(r"[\w./-]+", command)
    return [word for word in words if word.endswith(SUFFIXES) and not word.startswith(("/", "data/"))]


def _place(source: str, path: str, name: str, start: int, text: str) -> Place | None:
    value: Value
    if text.lower() in ("true", "false"):
        value = text.lower() == "true"
    else:
        value = float(text) if re.search(r"[.eE]", text) else int(text)
    found = fit(name, value)
    if found is None:
        return None
    first = len(source[:start].encode())
    line = source.count("\n", 0, start) + 1
    return Place(path, line, name, first, first + len(text), value, found, "lower" if text.islower() else "python")
