"""The folder of an export: rows go to files beside it, and all take their place at once at the end.

A folder that was not finished has another name, `.NAME.part`, and is made anew by the next export.
"""

import json
import math
import shutil
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self

from mlgym.disk import guarded, settle, settle_all
from mlgym.errors import UsageError
from mlgym.exporters.shape import Shape, fitted, schema

FILE_ROWS = 50_000  # rows of a file
GROUP_BYTES = 8_000_000  # of text that waits to be written into a group of rows of a Parquet file
Kind = Literal["jsonl", "parquet"]


class Writer:
    """Writes rows of one shape into `out`, which must not be there yet; `rows` and `bytes` count by split."""

    def __init__(self, out: Path, shape: dict[str, Shape], kind: Kind) -> None:
        self.out, self.shape, self.kind = out, shape, kind
        self.part = out.with_name(f".{out.name}.part")
        self.rows: Counter[str] = Counter()
        self._files: dict[str, _Jsonl | _Parquet] = {}

    def __enter__(self) -> Self:
        if self.out.exists() and (not self.out.is_dir() or any(self.out.iterdir())):
            raise UsageError(f"{self.out} is there already: name another folder with -o, or remove it.")
        if self.kind == "parquet":
            _needed()
        with guarded(self.out.parent):
            shutil.rmtree(self.part, ignore_errors=True)
            (self.part / "data").mkdir(parents=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for file in self._files.values():
            file.close(whole=error is None)
        if error is not None:
            shutil.rmtree(self.part, ignore_errors=True)
            return
        with guarded(self.out.parent):
            settle_all(self.part)
            if self.out.exists():
                self.out.rmdir()
            self.part.rename(self.out)
            settle(self.out.parent)

    def add(self, split: str, row: dict[str, Any]) -> None:
        """Add a row; raises StorageError where the disk is full."""
        with guarded(self.out.parent):
            if self.rows[split] % FILE_ROWS == 0:
                if split in self._files:
                    self._files[split].close()
                path = self.part / "data" / f"{split}-{self.rows[split] // FILE_ROWS:05d}.{self.kind}"
                self._files[split] = _Parquet(path, self.shape) if self.kind == "parquet" else _Jsonl(path)
            self._files[split].add(row)
            self.rows[split] += 1

    def text(self, name: str, text: str) -> None:
        """Add a file of words."""
        with guarded(self.out.parent):
            (self.part / name).write_text(text, encoding="utf-8")

    def bytes(self) -> int:
        """Of the rows, once their files are closed."""
        for file in self._files.values():
            file.close()
        return sum(path.stat().st_size for path in (self.part / "data").iterdir())


class _Jsonl:
    def __init__(self, path: Path) -> None:
        self._file: IO[str] = path.open("w", encoding="utf-8", newline="\n")

    def add(self, row: dict[str, Any]) -> None:
        self._file.write(json.dumps(_plain(row), ensure_ascii=False, allow_nan=False) + "\n")

    def close(self, whole: bool = True) -> None:
        self._file.close()


class _Parquet:
    """Rows wait until they are a group of GROUP_BYTES."""

    def __init__(self, path: Path, shape: dict[str, Shape]) -> None:
        import pyarrow.parquet as pq

        self._shape, self._schema = shape, schema(shape)
        self._file: Any = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._waiting: list[dict[str, Any]] = []
        self._size = 0

    def add(self, row: dict[str, Any]) -> None:
        row = _plain(row)
        self._waiting.append({key: fitted(row.get(key), shape) for key, shape in self._shape.items()})
        self._size += _length(row)
        if self._size >= GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._waiting:
            self._file.write_table(pa.Table.from_pylist(self._waiting, schema=self._schema))
        self._waiting, self._size = [], 0

    def close(self, whole: bool = True) -> None:
        if whole:
            self._flush()
        self._file.close()


def _plain(value: Any) -> Any:
    """The value without numbers that JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


def _length(value: Any) -> int:
    if isinstance(value, dict):
        return sum(map(_length, value.values()))
    if isinstance(value, list):
        return sum(map(_length, value)) if value and isinstance(value[0], list | dict | str) else 8 * len(value)
    return len(value) if isinstance(value, str) else 8


def _needed() -> None:
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise UsageError("Parquet needs pyarrow: pip install 'mlgym-env[data]', or take --to jsonl.") from error
