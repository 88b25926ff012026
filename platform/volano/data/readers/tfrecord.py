"""TFRecord files: records with their length and two checksums (CRC-32C, masked), read without TensorFlow.

A length is believed only after its checksum held and it fits the file.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from volano.data.readers.foreign import require
from volano.errors import Code
from volano.storage.files import open_plain

MAX_RECORD_BYTES = 1 << 30
_HEADER_BYTES = 12
_FOOTER_BYTES = 4
_MASK = 0xA282EAD8
_POLYNOMIAL = 0x82F63B78


def offsets(path: Path) -> Iterator[tuple[int, int]]:
    """(offset, length) of every record's content, without reading contents; raises DataError: E-DATA-080 when a header
    is damaged or a record is cut off, E-DATA-017 when one is too large."""
    end = path.stat().st_size
    at = 0
    with open_plain(path) as stream:
        while at < end:
            stream.seek(at)
            header = stream.read(_HEADER_BYTES)
            where = f"{path.name} at byte {at}"
            require(len(header) == _HEADER_BYTES, f"{where} is cut off")
            require(masked(header[:8]) == int.from_bytes(header[8:], "little"), f"{where} has a damaged length")
            length = int.from_bytes(header[:8], "little")
            require(length <= MAX_RECORD_BYTES, f"{where} has a record of {length} bytes", Code.DATA_SIZE)
            require(at + _HEADER_BYTES + length + _FOOTER_BYTES <= end, f"{where} is cut off")
            yield at + _HEADER_BYTES, length
            at += _HEADER_BYTES + length + _FOOTER_BYTES


def content(path: Path, offset: int, length: int) -> bytes:
    """A record's content; raises DataError(E-DATA-006) when it is not the one that was written."""
    with open_plain(path) as stream:
        stream.seek(offset)
        data = stream.read(length)
        footer = stream.read(_FOOTER_BYTES)
    whole = len(data) == length and masked(data) == int.from_bytes(footer, "little")
    require(whole, f"{path.name} is damaged in the record at byte {offset}", Code.DATA_HASH)
    return data


def masked(data: bytes) -> int:
    """The masked CRC-32C that the format stores."""
    value = crc32c(data)
    return ((value >> 15 | value << 17) + _MASK) & 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli). Long inputs are cut into equal lanes that NumPy takes side by side, and joined by what the
    checksum does to trailing zeros, which is linear."""
    lanes = len(data) // _LANE_BYTES
    value = 0xFFFFFFFF
    if lanes > 1:
        block = np.frombuffer(data, np.uint8, lanes * _LANE_BYTES).reshape(lanes, _LANE_BYTES)
        state = np.zeros(lanes, np.uint32)
        state[0] = value
        for column in np.ascontiguousarray(block.T):
            state = _TABLE[(state ^ column) & 0xFF] ^ (state >> np.uint32(8))
        value = 0
        for lane in state.tolist():
            value = _after_lane(value) ^ lane
        data = data[lanes * _LANE_BYTES :]
    for byte in data:
        value = int(_TABLE[(value ^ byte) & 0xFF]) ^ value >> 8
    return value ^ 0xFFFFFFFF


def _table() -> NDArray[np.uint32]:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, table >> 1 ^ np.uint32(_POLYNOMIAL), table >> 1).astype(np.uint32)
    return table


def _zeros(value: int, count: int) -> int:
    for _ in range(count):
        value = int(_TABLE[value & 0xFF]) ^ value >> 8
    return value


def _after_lane(value: int) -> int:
    """A state after a lane of zeros, byte by byte of the state."""
    return (
        int(_SHIFTED[0, value & 0xFF])
        ^ int(_SHIFTED[1, value >> 8 & 0xFF])
        ^ int(_SHIFTED[2, value >> 16 & 0xFF])
        ^ int(_SHIFTED[3, value >> 24])
    )


def _shifted() -> NDArray[np.uint32]:
    """(4, 256): what each byte of a state becomes after a lane of zeros."""
    bits = [_zeros(1 << bit, _LANE_BYTES) for bit in range(32)]
    table = np.zeros((4, 256), np.uint32)
    for byte in range(4):
        for value in range(256):
            for bit in range(8):
                if value >> bit & 1:
                    table[byte, value] ^= np.uint32(bits[8 * byte + bit])
    return table


_LANE_BYTES = 2048
_TABLE = _table()
_SHIFTED = _shifted()
