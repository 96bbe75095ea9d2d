"""What must not leave this machine, found and replaced: keys, home folders, user and host names.

Known are the values of environment variables whose names look like secrets, the shapes of the keys of usual providers,
and what this machine is called. Texts are searched as they stand and as JSON, shells and addresses write them; files
that are no text cannot be changed without breaking them, so one that holds a secret is left out.
"""

import getpass
import json
import os
import platform
import re
import socket
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

SECRET_NAME = re.compile(
    r"(?:^|_)(?:KEYS?|PASS|PASSPHRASE|PASSWD|CREDENTIALS?|AUTH|PAT|COOKIES?)(?:_|$)"
    r"|APIKEY|SECRET|PASSWORD|PRIVATE_?KEY|(?<!MAX_)(?<!MIN_)(?<!NUM_)TOKENS?(?![A-Z])",
    re.IGNORECASE,
)
SHORT, MANY = 200, 100_000  # texts up to so long that were found clean, and how many, are remembered
SHORTEST = 6  # characters of a variable's value that is taken for a secret: shorter ones are words
# What may stand before a word although it ends in a letter: escapes of JSON, Python, addresses and colours.
_AFTER = (
    r"(?<=\\[nrtbfv0])|(?<=\\u[0-9a-fA-F]{4})|(?<=\\x[0-9a-fA-F]{2})|(?<=%[0-9A-Fa-f]{2})"
    r"|(?<=[\[;][0-9]m)|(?<=[\[;][0-9]{2}m)"
)
_EDGE, _END = rf"(?:(?<![A-Za-z0-9])|{_AFTER})", r"(?![A-Za-z0-9])"
# What it is -> what a text with one holds (one of these words, in small letters), its pattern.
SHAPES: dict[str, tuple[str, str]] = {
    "a private key": (
        "private",
        r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----.*?(?:-----END (?:[A-Z0-9]+ )*PRIVATE KEY-----|\Z)",
    ),
    "a key of Anthropic": ("sk-ant-", r"sk-ant-[A-Za-z0-9_-]{16,}"),
    "a key of OpenRouter": ("sk-or-", r"sk-or-[A-Za-z0-9_-]{16,}"),
    "a key of OpenAI or of its kind": (
        "sk-",
        _EDGE + r"sk-(?:(?:proj|svcacct|admin|None)-[A-Za-z0-9_-]{20,}|(?=[A-Za-z_-]*[0-9])[A-Za-z0-9_-]{20,})",
    ),
    "a token of Hugging Face": ("hf_ api_org_", _EDGE + r"(?:hf|api_org)_[A-Za-z0-9]{20,}"),
    "a key of Google": ("aiza", r"AIza[A-Za-z0-9_-]{30,}"),
    "a token of Google": ("ya29.", r"ya29\.[A-Za-z0-9_-]{20,}"),
    "a key of Groq": ("gsk_", r"gsk_[A-Za-z0-9]{20,}"),
    "a key of xAI": ("xai-", _EDGE + r"xai-[A-Za-z0-9]{20,}"),
    "a key of Perplexity": ("pplx-", r"pplx-[A-Za-z0-9]{20,}"),
    "a key of NVIDIA": ("nvapi-", r"nvapi-[A-Za-z0-9_-]{20,}"),
    "a key of Replicate": ("r8_", _EDGE + r"r8_[A-Za-z0-9]{20,}"),
    "a key of Together": ("tgp_v1_", r"tgp_v1_[A-Za-z0-9_-]{20,}"),
    "a key of Fireworks": ("fw_", _EDGE + r"fw_[A-Za-z0-9]{20,}"),
    "a key of Cerebras": ("csk-", _EDGE + r"csk-[A-Za-z0-9]{20,}"),
    "a key of Stripe": ("k_live_ k_test_", _EDGE + r"[rs]k_(?:live|test)_[A-Za-z0-9]{16,}"),
    "a key of Weights & Biases": (
        "wandb",
        r"(?i:wandb)_v1_[A-Za-z0-9_-]{20,}|(?<![0-9a-f])[0-9a-f]{40}(?![0-9a-f])",
    ),
    "a key of AWS": ("akia asia abia acca", _EDGE + r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}" + _END),
    "a token of GitHub": (
        "ghp_ gho_ ghu_ ghs_ ghr_ github_pat_",
        _EDGE + r"(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{22,})",
    ),
    "a token of GitLab": (
        "glpat- glptt- gldt- glrt- glcbt- glsoat-",
        _EDGE + r"gl(?:pat|ptt|dt|rt|cbt|soat)-[A-Za-z0-9_-]{20,}",
    ),
    "a token of Slack": ("xox", r"xox[abeoprs]-[A-Za-z0-9-]{10,}"),
    "a token of a package index": ("npm_", r"npm_[A-Za-z0-9]{30,}"),
    "a token of the Python package index": ("pypi-", r"pypi-AgE[A-Za-z0-9_-]{16,}"),
    "a signed token": ("eyj", r"eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]*"),
    "a bearer token": ("bearer", r"(?i:(?<=bearer ))[A-Za-z0-9._~+/-]{16,}=*"),
    "a key in a header": ("x-api-key:", r"(?i:(?<=x-api-key: ))[A-Za-z0-9._~+/-]{16,}=*"),
    "a password in an address": ("://", r"(?<=://)[^\s/:@\"'\\]{0,200}:[^\s/@\"'\\]{1,200}(?=@)"),
}
_PATH = rf"(?:(?<![\w.~-])|{_AFTER})"
HOMES = {
    "/home/ /users/": r"/(?:home|Users)/(?!agent(?![A-Za-z0-9_-]))[\w.-]+",
    ":\\": r"[A-Za-z]:\\{1,4}Users\\{1,4}[\w.-]+",
}
INSIDE = ("agent", "sandbox", "nobody", "root")  # users of sandboxes, and a name that everybody has
MARK = "\N{LEFT-POINTING DOUBLE ANGLE QUOTATION MARK}{}\N{RIGHT-POINTING DOUBLE ANGLE QUOTATION MARK}"
EVERYWHERE = ("/", "/tmp", "/var/tmp", "/home", "/opt", "/usr", "/mnt", "/srv", "/var")  # folders of every system
LOCAL = ("localhost", "localhost.localdomain", "ip6-localhost")


@dataclass(frozen=True)
class Here:
    """What is known of this machine: `secrets` by the name of what they are, and what it and its user are called.

    `addresses` are those of servers elsewhere.
    """

    secrets: Mapping[str, str] = field(default_factory=dict)
    homes: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()

    @classmethod
    def now(cls, folders: Iterable[Path] = ()) -> "Here":
        """This process' machine; `folders` are replaced like home folders."""
        secrets = {name: value for name, value in os.environ.items() if SECRET_NAME.search(name)}
        return cls(secrets, tuple(_homes()), tuple(_users()), tuple(_hosts()), tuple(str(f) for f in folders))


def _homes() -> list[str]:
    found = {os.environ.get("HOME", ""), os.path.expanduser("~")}  # noqa: PTH111 - also without a home
    return [home for home in found if home.strip("/")]


def _users() -> list[str]:
    found = {os.environ.get(name, "") for name in ("USER", "LOGNAME", "USERNAME", "SUDO_USER")}
    try:
        import pwd

        entry = pwd.getpwuid(os.getuid())
        found |= {entry.pw_name, entry.pw_gecos.partition(",")[0], getpass.getuser()}
    except (ImportError, KeyError, OSError):
        pass
    return sorted(found)


def _hosts() -> list[str]:
    found = {socket.gethostname(), platform.node(), os.environ.get("HOSTNAME", "")}
    return sorted(found | {host.partition(".")[0] for host in found})


class Scrubber:
    """Replaces in texts and JSON; `replaced` counts what was, by kind. `left` says in words what could not be."""

    def __init__(self, here: Here, words: Iterable[str] = ()) -> None:
        """`words` are the format's own: a user or a host of that name cannot be told from them."""
        self.replaced: Counter[str] = Counter()
        self.left: list[str] = []
        self._clean: set[str] = set()
        known = set(words)
        self._patterns: list[tuple[str, str, tuple[str, ...], re.Pattern[str]]] = []
        for name, value in sorted(here.secrets.items(), key=lambda item: len(item[1]), reverse=True):
            if len(value.strip()) >= SHORTEST and self._telling(f"the value of {name}", value.strip(), known):
                ways = sorted(_written(value.strip()), key=len, reverse=True)
                hint = max(re.findall("[A-Za-z0-9]+", value), key=len, default="").lower()
                self._add(f"the value of the variable {name}", "secret", hint, "|".join(map(re.escape, ways)))
        for kind, (hint, pattern) in SHAPES.items():
            self._add(kind, "secret", hint, pattern, re.DOTALL)
        self._addresses(here.addresses, known)
        for path in sorted({*here.folders} - {*EVERYWHERE}, key=len, reverse=True):
            self._add("a folder of this machine", "folder", _hint(path.rstrip("/")), _path(path))
        for path in sorted({*here.homes}, key=len, reverse=True):
            self._add("a home folder", "home", _hint(path.rstrip("/")), _path(path))
        for hint, pattern in HOMES.items():
            self._add("a home folder", "home", hint, pattern)
        for kind, names, without in (("host", here.hosts, LOCAL), ("user", here.users, INSIDE)):
            for name in sorted({name.strip() for name in names}, key=len, reverse=True):
                if len(name) > 1 and name not in without and self._telling(f"the {kind} name", name, known):
                    case = re.IGNORECASE if kind == "host" else 0
                    self._add(f"a {kind} name", kind, _hint(name), _EDGE + re.escape(name) + _END, case)

    def _addresses(self, addresses: Iterable[str], known: set[str]) -> None:
        what = "the address of a server"
        for address in sorted({*addresses}, key=len, reverse=True):
            if self._telling(what, address, known):
                self._add(what, "address", _hint(address), _EDGE + re.escape(address) + _END, re.IGNORECASE)

    def _telling(self, what: str, word: str, known: set[str]) -> bool:
        """Whether a word can be told from those of the records."""
        if word in known:
            self.left.append(f"{what} is also a word of the records, so it was left")
        return word not in known

    def _add(self, kind: str, mark: str, hint: str, pattern: str, flags: int = 0) -> None:
        self._patterns.append((kind, MARK.format(mark), tuple(hint.split()) or ("",), re.compile(pattern, flags)))

    def text(self, text: str) -> str:
        """The text with all that is known replaced."""
        if text in self._clean:
            return text
        small, before = text.lower(), text
        for kind, mark, hints, pattern in self._patterns:
            if any(hint in small for hint in hints):
                text, count = pattern.subn(mark, text)
                if count:
                    self.replaced[kind] += count
        if text == before and len(text) <= SHORT and len(self._clean) < MANY:
            self._clean.add(text)
        return text

    def value(self, value: Any, depth: int = 0) -> Any:
        """A JSON value with its texts, keys included, replaced."""
        if depth > 200:
            raise RecursionError
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.value(each, depth + 1) for each in value]
        if isinstance(value, dict):
            return {self.text(key): self.value(each, depth + 1) for key, each in value.items()}
        return value

    def json(self, data: bytes) -> bytes:
        """A JSON document, byte for byte the same where nothing is replaced; what is no JSON is taken for text."""
        try:
            found = json.loads(data)
            clean = self.value(found)
        except (ValueError, RecursionError):
            return self.file(data) or b""
        if clean == found:
            return data
        return as_json(clean, 1 if data.startswith((b"{\n", b"[\n")) else None)

    def lines(self, data: bytes) -> bytes:
        """JSON lines, each like a document."""
        return b"".join(self.json(line) + b"\n" for line in data.split(b"\n")[:-1])

    def file(self, data: bytes) -> bytes | None:
        """A file of any kind; None for one that is no text and holds something: it cannot be changed."""
        try:
            text = data.decode()
        except UnicodeDecodeError:
            text = ""
        if not text or "\0" in text:
            before = self.replaced.copy()
            for codec in ("utf-8", "latin-1", "utf-16-le", "utf-16-be"):
                self.text(data.decode(codec, "replace"))
            dirty, self.replaced = self.replaced != before, before
            return None if dirty else data
        clean = self.text(text)
        return data if clean == text else clean.encode()


def as_json(value: Any, indent: int | None = None) -> bytes:
    """A value as JSON that reads the same again, lone surrogates too."""
    return json.dumps(value, indent=indent, ensure_ascii=False).encode("utf-8", "backslashreplace")


def _hint(word: str) -> str:
    """What a text with a word holds, in small letters; nothing where that cannot be said."""
    return word.lower() if word.isascii() and " " not in word else ""


def _written(value: str) -> set[str]:
    """A secret as it may stand in a text: plain, and as JSON (once or twice), Python, shells and addresses write it."""
    ways = {value, quote(value), quote(value, safe=""), quote_plus(value), repr(value)[1:-1]}
    for inner in (value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]):
        ways |= {inner, json.dumps(inner)[1:-1], json.dumps(inner, ensure_ascii=False)[1:-1]}
    ways.add(value.replace("'", "'\\''"))
    return {way for way in ways if way}


def _path(path: str) -> str:
    """A folder as the beginning of a path, or alone; one right below the root is not taken for a part of another."""
    path = path.rstrip("/")
    return (_PATH if path.count("/") < 2 else "") + re.escape(path) + _END
