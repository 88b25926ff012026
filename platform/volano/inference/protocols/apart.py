"""Takes the large pieces out of a frame of msgpack before it is unpacked, so that an image is not copied for that.

What is left of the frame says by a number where each piece was. Nothing is judged here: a frame that is not simple,
broken or hostile is left whole, and the one who unpacks it says what is wrong with it.
"""

from collections.abc import Sequence

PIECE = 0
"""Type of the extension that stands for a piece; its four bytes are the piece's number. No frame comes with its own:
those that have extensions are left whole."""
PIECE_BYTES = 4
_LEAST_BYTES = 4 << 10
_MOST_TOKENS = 512
"""Of a frame that is looked through; an observation has about fourteen for each array."""
_WIDTHS = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
"""Bytes of the length of binary data and long texts."""
_BINARY = (0xC5, 0xC6)
_NUMBERS = {0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
_CONTAINERS = {0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}
"""Their elements are tokens of their own."""


def _size(token: int) -> int:
    """Bytes of a token that begins so, its elements not included; 0 when it says itself, or must not be there."""
    if token in _NUMBERS or token in _CONTAINERS:
        return 1 + (_NUMBERS | _CONTAINERS)[token]
    if 0xA0 <= token <= 0xBF:
        return 1 + (token & 0x1F)
    return 1 if token < 0xA0 or token >= 0xE0 or token in (0xC0, 0xC2, 0xC3) else 0


_SIZES = [_size(token) for token in range(256)]


def apart(frame: memoryview) -> tuple[bytes, Sequence[memoryview]] | None:
    """A frame without its large binary data, and these, which are views; None for a frame that has none, or that is
    left whole."""
    rest: list[bytes | memoryview] = []
    pieces: list[memoryview] = []
    at, since, end = 0, 0, len(frame)
    for _ in range(_MOST_TOKENS):
        if at >= end:
            break
        token = frame[at]
        size = _SIZES[token]
        if size:
            at += size
            continue
        width = _WIDTHS.get(token)
        if width is None:
            return None
        start = at + 1 + width
        stop = start + int.from_bytes(frame[at + 1 : start])
        if token in _BINARY and stop - start >= _LEAST_BYTES:
            rest += [frame[since:at], bytes((0xD6, PIECE)), len(pieces).to_bytes(PIECE_BYTES)]
            pieces.append(frame[start:stop])
            since = stop
        at = stop
    if at != end or not pieces:
        return None
    return b"".join([*rest, frame[since:]]), pieces
