"""Deterministic damage to a recording's journal: bytes of it, or entries with right checksums, as only a writer with a
defect makes them.
"""

import struct
import zlib

from tests.sweeps.mutations.mutate import Chance, plain
from tests.sweeps.mutations.mutate_json import damaged


def journal(data: bytes, chance: Chance) -> bytes:
    """The journal with one or some of these."""
    if chance.random() < 0.3:
        return plain(data, chance)
    entries, at = list[bytes](), 0
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "little")
        entries.append(data[at + 8 : at + 8 + length])
        at += 8 + length
    for _ in range(chance.choice((1, 1, 2, 5))):
        which = chance.randrange(len(entries)) if chance.random() < 0.95 else 0
        head, line, frames = entries[which].partition(b"\n")
        match chance.randrange(7):
            case 0:
                entries.insert(chance.randrange(len(entries) + 1), entries[which])
            case 1 if len(entries) > 1:
                del entries[which]
            case 2:
                entries[which] = plain(head, chance) + line + frames
            case 3 | 4:
                entries[which] = _in_one_line(head, chance) + line + frames
            case _:
                entries[which] = head + line + plain(frames, chance)
    checksum, whole = 0, b""
    for entry in entries:
        checksum = zlib.crc32(entry, checksum)
        whole += struct.pack("<II", len(entry), checksum) + entry
    return whole


def _in_one_line(head: bytes, chance: Chance) -> bytes:
    """What an entry says of itself, with other values; what cannot be read was damaged before and stays."""
    try:
        return damaged(head, chance).replace(b"\n", b" ")
    except (ValueError, RecursionError):
        return head
