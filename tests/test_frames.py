"""Frames: what is written comes back; whatever else the other side sends is refused."""

import io
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mlgym.grading.frames import DTYPES, Array, FrameError, from_npy, read_frame, to_npy, write_frame

MAX = 1_000_000


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.none()), st.lists(st.binary(), max_size=5))
def test_a_frame_comes_back(header, blobs):
    header = {**header, "op": "x"}
    header.pop("sizes", None)
    stream = io.BytesIO(write_frame(header, blobs) * 2)
    assert read_frame(stream, MAX) == read_frame(stream, MAX) == (header, blobs)
    with pytest.raises(EOFError):
        read_frame(stream, MAX)


@given(arrays.arrays(st.sampled_from(sorted(DTYPES)), arrays.array_shapes(min_dims=0, max_dims=4, min_side=0)))
def test_arrays_are_numpys_own_format(array):
    ours = Array(array.dtype.str, array.shape, array.tobytes())
    saved = io.BytesIO()
    np.save(saved, array, allow_pickle=False)
    assert from_npy(saved.getvalue()) == ours
    loaded = np.load(io.BytesIO(to_npy(ours)), allow_pickle=False)
    assert loaded.dtype == array.dtype and loaded.tobytes() == array.tobytes() and loaded.shape == array.shape


@pytest.mark.parametrize(
    "line",
    [
        b"print\n",
        b"[]\n",
        b"3\n",
        b'{"op":"reply"}\n',
        b'{"op":"reply","sizes":3}\n',
        b'{"op":"reply","sizes":[-1]}\n',
        b'{"op":"reply","sizes":[true]}\n',
        b'{"op":"reply","sizes":[1.0]}\n',
        b'{"op":"reply","sizes":[1e99]}\n',
        b'{"op":7,"sizes":[]}\n',
        b'{"op":"reply","sizes":[%d]}\n' % (MAX + 1),
        b'{"op":"reply","sizes":[%s]}\n' % b",".join([b"0"] * 1000),
        b'{"op":"reply","sizes":[%s]}\n' % (b"9" * 5000),
        b"[" * 100_000 + b"\n",
        b"\xff\n",
        b"x" * 300_000,
    ],
)
def test_no_frame(line):
    with pytest.raises(FrameError, match=r"^[A-Z].*\.$"):
        read_frame(io.BytesIO(line), MAX)


@pytest.mark.parametrize("cut", [0, 5, 30])
def test_the_end_of_the_stream_is_no_frame(cut):
    whole = write_frame({"op": "reply"}, [b"1234567890"])
    with pytest.raises(EOFError):
        read_frame(io.BytesIO(whole[:cut]), MAX)


def npy(header: str, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + data


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x02\x00" + b"\0" * 100,
        npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", b"\0" * 8),
        npy("{'descr': '|V8', 'fortran_order': False, 'shape': (1,)}", b"\0" * 8),
        npy("{'descr': '<i8', 'fortran_order': True, 'shape': (1,)}", b"\0" * 8),
        npy("{'descr': '<i8', 'fortran_order': False, 'shape': (2,)}", b"\0" * 8),
        npy("{'descr': '<i8', 'fortran_order': False, 'shape': (-1,)}", b"\0" * 8),
        npy("{'descr': '<i8', 'fortran_order': False, 'shape': [1]}", b"\0" * 8),
        npy("{'descr': '<i8', 'fortran_order': False, 'shape': (True,)}", b"\0" * 8),
        npy("{'descr': '<i8', 'fortran_order': False, 'shape': (10**30, 0)}"),
        npy("{'descr': ['<i8'], 'fortran_order': False, 'shape': (1,)}", b"\0" * 8),
        npy("{'descr': [('a', '<i8')], 'fortran_order': False, 'shape': (1,)}", b"\0" * 8),
        npy("__import__('os').abort()"),
        npy("[]"),
        npy("(" * 900),
        npy("{}"),
        npy("\0"),
    ],
)
def test_no_array(blob):
    with pytest.raises(FrameError, match=r"^[A-Z].*\.$"):
        from_npy(blob)


def test_a_huge_shape_claims_no_memory():
    with pytest.raises(FrameError):
        from_npy(npy(f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({10**15},)}}", b"\0" * 8))
    assert from_npy(npy("{'descr': '<f8', 'fortran_order': False, 'shape': (0, 5)}")).shape == (0, 5)
    assert (
        math.prod(()) == 1 and from_npy(npy("{'descr': '|u1', 'fortran_order': False, 'shape': ()}", b"7")).data == b"7"
    )
