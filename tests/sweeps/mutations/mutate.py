"""Deterministic damage to valid bytes, by format: what is cut, flipped, moved or lies about its size.

Pure: the same bytes and the same chance give the same damage. Containers are taken apart first, so that most of the
damage is deep inside and not in a first length or checksum, behind which nobody looks.
"""

import random
import struct
from collections.abc import Callable, Sequence

Chance = random.Random
Mutate = Callable[[bytes, Chance], bytes]
_NUMBERS = (0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 1 << 24, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
_LARGE = (*_NUMBERS, 1 << 32, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
_BOXES = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"dinf", b"moof", b"traf", b"mvex", b"udta"}
_CHUNK = 6
"""The opcode of a chunk in MCAP."""


def plain(data: bytes, chance: Chance) -> bytes:
    """Damage that knows no format."""
    if not data:
        return bytes([chance.randrange(256)])
    changed = bytearray(data)
    at, length = chance.randrange(len(data)), min(chance.choice((1, 2, 4, 8, 16, 64, 512)), len(data))
    match chance.randrange(9):
        case 0:
            del changed[at:]
        case 1:
            for _ in range(chance.choice((1, 1, 2, 8, 30))):
                changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        case 2:
            for _ in range(chance.choice((1, 1, 2, 8, 30))):
                changed[chance.randrange(len(data))] = chance.randrange(256)
        case 3:
            changed[at : at + length] = chance.choice((b"\0", b"\xff", b"\x80", b"\x7f")) * len(data[at : at + length])
        case 4:
            del changed[at : at + length]
        case 5:
            changed[at:at] = changed[at : at + length]
        case 6:
            source = chance.randrange(len(data))
            changed[at : at + length] = data[source : source + length]
        case 7:
            changed[at:at] = chance.randbytes(length)
        case _:
            put = _number(chance)
            changed[at : at + len(put)] = put
    return bytes(changed)


def mp4(data: bytes, chance: Chance) -> bytes:
    """Damage to an MP4: mostly to its boxes, their sizes and tables."""
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        boxes = list(_boxes(data, 0, len(data)))
        data = _box(data, chance.choice(boxes), chance) if boxes and chance.random() < 0.75 else plain(data, chance)
    return data


def _boxes(data: bytes, start: int, end: int) -> Sequence[tuple[int, int]]:
    """(start, end) of every box, those inside others included."""
    found, at = list[tuple[int, int]](), start
    while at + 8 <= end:
        size = int.from_bytes(data[at : at + 4], "big")
        if not 8 <= size <= end - at:
            break
        found.append((at, at + size))
        inside = {b"stsd": 16, b"avc1": 86}.get(data[at + 4 : at + 8], 8 if data[at + 4 : at + 8] in _BOXES else 0)
        if inside:
            found += _boxes(data, at + inside, at + size)
        at += size
    return found


def _box(data: bytes, box: tuple[int, int], chance: Chance) -> bytes:
    start, end = box
    whole, size = data[start:end], end - start
    match chance.randrange(8):
        case 0:
            lie = chance.choice((0, 1, 4, 7, 8, 9, size - 1, size + 1, size + 8, 2 * size, 0x7FFFFFFF, 0xFFFFFFFF))
            whole = struct.pack(">I", lie & 0xFFFFFFFF) + whole[4:]
        case 1:
            whole = struct.pack(">I4sQ", 1, whole[4:8], chance.choice((*_LARGE, size + 8))) + whole[8:]
        case 2:
            whole = whole[:4] + chance.choice((b"free", b"moov", b"stsd", b"moof", chance.randbytes(4))) + whole[8:]
        case 3:
            whole += whole
        case 4:
            whole = b""
        case 5 | 6 if size >= 12:
            at = 8 + 4 * chance.randrange((size - 8) // 4)
            whole = whole[:at] + struct.pack(">I", chance.choice(_NUMBERS)) + whole[at + 4 :]
        case _:
            whole = whole[:8] + plain(whole[8:], chance)
    return data[:start] + whole + data[end:]


def parquet(data: bytes, chance: Chance) -> bytes:
    """Damage to a Parquet file: mostly to its footer, in which everything is said."""
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        length = int.from_bytes(data[-8:-4], "little")
        start = len(data) - 8 - length
        if len(data) < 12 or start < 4 or not length or chance.random() < 0.35:
            data = plain(data, chance)
            continue
        footer = data[start:-8]
        match chance.randrange(5):
            case 0:
                lie = chance.choice((*_NUMBERS, length - 1, length + 1, len(data), len(data) - 12))
                data = data[:-8] + struct.pack("<I", lie & 0xFFFFFFFF) + data[-4:]
            case 1:
                data = data[:start] + (changed := plain(footer, chance)) + struct.pack("<I", len(changed)) + data[-4:]
            case 2:
                at = chance.randrange(len(footer))
                lie_at = footer[:at] + _varint(chance.choice(_LARGE)) + footer[at + 1 :]
                data = data[:start] + lie_at + struct.pack("<I", len(lie_at)) + data[-4:]
            case 3:
                data = plain(data[:start], chance) + data[start:]
            case _:
                at = chance.randrange(len(footer))
                data = data[: start + at] + bytes([chance.choice((0, 1, 2, 0x7F, 0x80, 0xFF))]) + data[start + at + 1 :]
    return data


def mcap(data: bytes, chance: Chance) -> bytes:
    """Damage to an MCAP log: to its records and their lengths, also inside of chunks, whose checksum is taken away."""
    if chance.random() < 0.2:
        return plain(data, chance)
    return data[:8] + _damaged_records(data[8:], chance)


def _damaged_records(data: bytes, chance: Chance) -> bytes:
    """A sequence of records with one or some of them damaged."""
    records = _records(data)
    rest = data[sum(9 + len(content) for _, content in records) :]
    for _ in range(chance.choice((1, 1, 2, 4))):
        if not records:
            break
        which = chance.randrange(len(records))
        opcode, content = records[which]
        match chance.randrange(10):
            case 0:
                records[which] = (chance.randrange(16), content)
            case 1:
                del records[which]
            case 2:
                records.insert(chance.randrange(len(records) + 1), (opcode, content))
            case 3:
                other = chance.randrange(len(records))
                records[which], records[other] = records[other], records[which]
            case 4 | 5:
                put, at = _number(chance), chance.randrange(max(1, min(len(content), 40)))
                records[which] = (opcode, content[:at] + put + content[at + len(put) :])
            case 6 | 7 | 8 if opcode == _CHUNK and (deeper := _damaged_chunk(content, chance)):
                records[which] = (opcode, deeper)
            case _:
                records[which] = (opcode, plain(content, chance))
    lie, whole = chance.randrange(4 * max(1, len(records))), b""
    for number, (opcode, content) in enumerate(records):
        length = chance.choice((*_LARGE, len(content) + 1)) if number == lie else len(content)
        whole += struct.pack("<BQ", opcode, length) + content
    return whole + rest


def _records(data: bytes) -> list[tuple[int, bytes]]:
    found, at = list[tuple[int, bytes]](), 0
    while at + 9 <= len(data):
        opcode, length = struct.unpack_from("<BQ", data, at)
        if length > len(data) - at - 9:
            break
        found.append((opcode, data[at + 9 : at + 9 + length]))
        at += 9 + length
    return found


def _damaged_chunk(content: bytes, chance: Chance) -> bytes:
    """A chunk without packing with damaged records in it; nothing when it is packed or too short."""
    if len(content) < 40 or content[28:32] != bytes(4):
        return b""
    inside = _damaged_records(content[40:], chance)
    return content[:16] + struct.pack("<QI", len(inside), 0) + bytes(4) + struct.pack("<Q", len(inside)) + inside


def _number(chance: Chance) -> bytes:
    """A number that is at an end of its range, in one of the sizes and orders."""
    size = chance.choice((1, 2, 4, 4, 8))
    order = chance.choice(("big", "little"))
    return (chance.choice(_LARGE) & ((1 << 8 * size) - 1)).to_bytes(size, "big" if order == "big" else "little")


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
