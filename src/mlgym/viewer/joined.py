"""The page's modules as one script, and its styles as one: what a page that lies on a disk can load.

Scripts from a disk cannot import each other, so the words `import` and `export` are taken away and the modules put one
after another, each behind those that it imports. That needs names at the top of modules that no two of them share.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

PAGE = Path(__file__).parent / "page"
IMPORT = re.compile(r'^import \{ (\w+(?:, \w+)*),? \} from "\./([\w-]+\.js)";\n', re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:async )?function\b|const\b|let\b|class\b)", re.MULTILINE)
MODULE = re.compile(r"^(?:import|export)\b|\bimport\s*\(|\bimport\.meta\b", re.MULTILINE)
TOP = re.compile(r"^(?:async )?(?:function\*?|class|const|let|var) (\w+|\$|\{[^}]*\}|\[[^\]]*\])", re.MULTILINE)
STYLE = re.compile(r'^<link rel="stylesheet" href="([\w-]+\.css)">\n', re.MULTILINE)
MAIN = re.compile(r'^<script type="module" src="([\w-]+\.js)"></script>\n', re.MULTILINE)


def script(page: Path = PAGE) -> str:
    """All modules as one classic script; raises ValueError where they cannot be joined."""
    main = _only(MAIN.findall((page / "index.html").read_text()), "main module")
    modules: dict[str, str] = {}
    _collect(page, main, modules, ())
    names = Counter(name for text in modules.values() for name in top_names(text))
    if shared := sorted(name for name, count in names.items() if count > 1):
        raise ValueError(f"Several modules have the same names at their top: {', '.join(shared)}.")
    body = "\n".join(modules.values())
    if found := re.search(r"</script|<!--", body, re.IGNORECASE):
        raise ValueError(f"A script inside a page cannot hold {found[0]}.")
    return f'(async () => {{\n"use strict";\n{body}}})();\n'


def style(page: Path = PAGE) -> str:
    """All styles in the order of the page."""
    found = STYLE.findall((page / "index.html").read_text())
    text = "\n".join((page / name).read_text() for name in found)
    if wrong := re.search(r"@import|</style|url\((?![\"']?(?:data:|#))", text):
        raise ValueError(f"A style inside a page cannot hold {wrong[0]}.")
    return text


def skeleton(page: Path = PAGE) -> tuple[str, str]:
    """The page without its scripts and styles: its head up to the title, and the rest of it up to the body's end."""
    html = MAIN.sub("", STYLE.sub("", (page / "index.html").read_text()))
    front, _, rest = html.partition("<title>")
    return front, f"<title>{rest.partition('</body>')[0]}"


def top_names(text: str) -> Iterator[str]:
    """The names that a module without its imports and exports has at its top."""
    for found in TOP.findall(text):
        yield from re.findall(r"[\w$]+(?=\s*[,}\]=]|$)", found)


def _collect(page: Path, name: str, modules: dict[str, str], above: tuple[str, ...]) -> None:
    """Put a module behind all that it imports."""
    if name in modules or name in above:
        return
    text = (page / name).read_text()
    for _, other in IMPORT.findall(text):
        _collect(page, other, modules, (*above, name))
    plain = EXPORT.sub("", IMPORT.sub("", text))
    if wrong := MODULE.search(plain):
        line = plain[: wrong.start()].count("\n")
        raise ValueError(f"{name} has an import or export that cannot be joined: {plain.splitlines()[line][:80]}")
    modules[name] = plain


def _only(found: list[str], what: str) -> str:
    if len(found) != 1:
        raise ValueError(f"The page must have one {what}, not {len(found)}.")
    return found[0]
