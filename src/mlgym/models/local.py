"""Language models in this process: `local/FILE.gguf`, `local/FOLDER` of transformers, or a name of `local.toml`."""

import atexit
import importlib.util
import threading
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mlgym.errors import ModelError, SourceError, ToolsRefused, UsageError
from mlgym.mistakes import mistake
from mlgym.models.local_chat import Engine, Settings, as_chat
from mlgym.records import Message, Reply, Source
from mlgym.sources import fetch

_open: dict[tuple[str, int, int], tuple[Engine, list["Local"]]] = {}  # each engine, and the models that use it now
_guard = threading.Lock()


@cache
def known() -> dict[str, dict[str, Any]]:
    """The small models that can be had from the registry, by name: title, licence, and what a Source has."""
    return tomllib.loads((Path(__file__).parent / "local.toml").read_text("utf-8"))


def load_local(where: str, sampling: Mapping[str, Any], seed: int = 0) -> "Local":
    """The model of `local/WHERE`; `sampling` are Settings, whose seed is else `seed`.

    Nothing is fetched or loaded before it is asked, or its window. Raises UsageError for a file that is not there or no
    model, an unknown setting, and a library that is missing.
    """
    try:
        settings = Settings(**{"seed": seed, **sampling})
    except ValidationError as error:
        raise UsageError(f"The sampling of local/{where} is wrong: {mistake(error, Settings)}.") from error
    path = Path(where).expanduser()
    if where in known() or _is_gguf(path):
        _needs("xllamacpp", "local", "A GGUF file")
    elif path.is_dir() and (path / "config.json").is_file():
        _needs("transformers", "local-torch", "A transformers folder")
    else:
        what = (
            "holds no model (no config.json)" if path.is_dir() else "is no GGUF file" if path.exists() else "is missing"
        )
        raise UsageError(
            f"local/{where}: {path} {what}; give a GGUF file, a folder of transformers, or {' or '.join(known())}."
        )
    return Local(where, settings)


def _is_gguf(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) == b"GGUF"
    except OSError:
        return False


def _needs(library: str, extra: str, what: str) -> None:
    if importlib.util.find_spec(library) is None:
        raise UsageError(f"{what} is run by the library {library}, which is missing: pip install 'mlgym-env[{extra}]'.")


class Local:
    """A model in this process; those of one file and one size of window share what is loaded, and take turns."""

    def __init__(self, where: str, settings: Settings) -> None:
        self._where, self._settings = where, settings
        self._engine: Engine | None = None
        self.number = 0  # of the next call; an episode that goes on counts its recorded ones too

    @property
    def context(self) -> int:
        """The window in tokens; the model is loaded for it."""
        return self._loaded().context

    @property
    def native(self) -> bool:
        """Whether it takes native tools; the model is loaded for it."""
        return self._loaded().native

    def __call__(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> Reply:
        """One completion; the n-th call draws with the seed n - 1 above the first one's."""
        engine = self._loaded()
        if tools and not engine.native:
            raise ToolsRefused(
                f"local/{self._where} takes no native tool calls: its chat template has no place for them."
            )
        seed = (self._settings.seed + self.number) % 2**32
        self.number += 1
        return engine.answer(as_chat(messages), tools, self._settings, seed, self)

    def close(self) -> None:
        """Let go of the model, which stays loaded until another is wanted."""
        with _guard:
            for _, users in _open.values():
                if self in users:
                    users.remove(self)
            self._engine = None

    def _loaded(self) -> Engine:
        if self._engine is None:
            with _guard:
                self._engine = self._opened()
        return self._engine

    def _opened(self) -> Engine:
        path = local_file(self._where)
        key = (str(path.resolve()), self._settings.n_ctx, self._settings.threads)
        if key not in _open:
            for other in [other for other, (_, users) in _open.items() if not users]:
                _open.pop(other)[0].close()
            _open[key] = _engine(path, self._settings), []
        engine, users = _open[key]
        users.append(self)
        return engine


def _engine(path: Path, settings: Settings) -> Engine:
    if path.is_dir():
        from mlgym.models.local_torch import Transformers

        return Transformers(path, settings)
    from mlgym.models.local_gguf import Gguf

    return Gguf(path, settings)


def local_file(where: str) -> Path:
    """The model's file or folder, fetched where it is one of those known. Raises ModelError."""
    if where not in known():
        return Path(where).expanduser()
    taken = {key: value for key, value in known()[where].items() if key in Source.model_fields}
    try:
        return fetch(Source(name=where, **taken))
    except SourceError as error:
        raise ModelError(f"local/{where} cannot be had: {error}") from error


@atexit.register
def _close_all() -> None:
    """Before the interpreter goes: a reply under way would outlive it, and crash."""
    with _guard:
        while _open:
            _open.popitem()[1][0].close()
