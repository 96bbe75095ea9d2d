"""The columns of a format, told once: for Parquet, and in the words of `datasets` for its metadata and for README.md.

A shape is a type's name, a list with the shape of its items, or a table of shapes. `json` holds any value, which
Parquet stores as JSON text: `datasets` gives it back as it was, other readers get the text.
"""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow

Shape = str | list[Any] | dict[str, Any]

MESSAGE: Shape = {
    "role": "string",
    "content": "string",
    "tool_calls": [{"id": "string", "type": "string", "function": {"name": "string", "arguments": "json"}}],
    "tool_call_id": "string",
}
COMMON: dict[str, Shape] = {
    "id": "string",
    "task": "string",
    "seed": "int64",
    "agent": "string",
    "model": "string",
    "progress": "float64",
}


def fitted(value: Any, shape: Shape) -> Any:
    """The value as Parquet takes it."""
    if value is None:
        return None
    if shape == "json":
        return json.dumps(value, ensure_ascii=False)
    if isinstance(shape, list):
        return [fitted(each, shape[0]) for each in value]
    if isinstance(shape, dict):
        return {key: fitted(value.get(key), inner) for key, inner in shape.items()}
    return value


def schema(shape: dict[str, Shape]) -> "pyarrow.Schema":
    """The schema of a Parquet file, from which `datasets` knows its features."""
    import pyarrow as pa

    features = {key: _feature(inner) for key, inner in shape.items()}
    about = json.dumps({"info": {"features": features}}).encode()
    return pa.schema([pa.field(key, _arrow(inner)) for key, inner in shape.items()], metadata={b"huggingface": about})


def yaml(shape: Shape, indent: str = "  ") -> Iterator[str]:
    """The lines of the features in the head of a README.md, by which `datasets` reads JSON lines too."""
    assert isinstance(shape, dict)
    for name, inner in shape.items():
        yield f"{indent}- name: {name}"
        kind = "list" if isinstance(inner, list) else "struct" if isinstance(inner, dict) else "dtype"
        inner = inner[0] if isinstance(inner, list) else inner
        if isinstance(inner, str):
            yield f"{indent}  {kind}: {inner}"
        else:
            yield f"{indent}  {kind}:"
            yield from yaml(inner, indent + "  ")


def _feature(shape: Shape) -> dict[str, Any]:
    if isinstance(shape, list):
        return {"feature": _feature(shape[0]), "_type": "List"}
    if isinstance(shape, dict):
        return {key: _feature(inner) for key, inner in shape.items()}
    return {"_type": "Json"} if shape == "json" else {"dtype": shape, "_type": "Value"}


def _arrow(shape: Shape) -> Any:
    import pyarrow as pa

    if isinstance(shape, list):
        return pa.list_(_arrow(shape[0]))
    if isinstance(shape, dict):
        return pa.struct([pa.field(key, _arrow(inner)) for key, inner in shape.items()])
    return pa.type_for_alias("string" if shape == "json" else shape)
