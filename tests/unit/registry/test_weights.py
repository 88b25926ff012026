"""A safetensors header is believed only when it describes the whole file and nothing else."""

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.registry.folders import safetensors
from volano.errors import Code, PolicyError
from volano.registry.weights import read_header

GOOD = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def test_it_reads_what_the_library_writes(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    tensors = {"a": torch.zeros(3, 2), "b": torch.zeros(5, dtype=torch.bfloat16), "c": torch.zeros(0)}
    save_file(tensors, tmp_path / "x.safetensors", metadata={"format": "pt"})
    found = read_header(tmp_path / "x.safetensors")
    assert {name: tensor.shape for name, tensor in found.items()} == {"a": (3, 2), "b": (5,), "c": (0,)}
    assert found["b"].dtype == "BF16"


@pytest.mark.parametrize(
    ("header", "data"),
    [
        ({"a": GOOD}, b"1234567"),
        ({"a": GOOD}, b"123456789"),
        ({"a": GOOD, "b": GOOD}, b"12345678"),
        ({"a": GOOD, "b": {**GOOD, "data_offsets": [12, 20]}}, bytes(20)),
        ({"a": {**GOOD, "dtype": "PICKLE"}}, b"12345678"),
        ({"a": {**GOOD, "dtype": ["F32"]}}, b"12345678"),
        ({"a": {**GOOD, "shape": [-1, -2]}}, b"12345678"),
        ({"a": {**GOOD, "shape": [2.0]}}, b"12345678"),
        ({"a": {**GOOD, "shape": [1] * 64 + [2]}}, b"12345678"),
        ({"a": {**GOOD, "data_offsets": [0]}}, b"12345678"),
        ({"a": {**GOOD, "more": 1}}, b"12345678"),
        ({"a": GOOD, "__metadata__": {"x": 1}}, b"12345678"),
        ([], b""),
    ],
)
def test_a_lying_header_is_refused(tmp_path: Path, header: object, data: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(safetensors(header, data))
    with pytest.raises(PolicyError) as caught:
        read_header(path)
    assert caught.value.code == Code.POLICY_FORMAT


@pytest.mark.parametrize(
    "content",
    [b"", b"1234", struct.pack("<Q", 2**63) + b"{}", struct.pack("<Q", 100) + b"{}", struct.pack("<Q", 2) + b"{]"],
)
def test_a_file_without_a_sound_header_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(PolicyError):
        read_header(tmp_path / "x")


def test_a_name_that_stands_twice_is_refused(tmp_path: Path) -> None:
    entry = '"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
    text = f"{{{entry},{entry}}}".encode()
    (tmp_path / "x").write_bytes(struct.pack("<Q", len(text)) + text)
    with pytest.raises(PolicyError, match="twice"):
        read_header(tmp_path / "x")


@given(content=st.binary(max_size=200))
def test_no_bytes_are_anything_but_read_or_refused(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    path.write_bytes(struct.pack("<Q", len(content) // 2) + content)
    refusal = None
    try:
        read_header(path)
    except PolicyError as error:
        refusal = error.code
    assert refusal in {None, Code.POLICY_FORMAT}
