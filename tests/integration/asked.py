"""What the scripts that ask with stock clients send: a small arm's observations, different for every call. Imported in
the clients' environments, so that it needs NumPy alone.
"""

import hashlib
from typing import Any

import numpy as np

NAMES = ("exterior_image_0_left", "wrist_image_left")
_BLOCK = 8
"""Images are blocks of one colour, of so many pixels, so that a JPEG of them is like them."""


def perceived(number: int, calls: int, episodes: int) -> tuple[list[Any], Any, str]:
    """Images, uint8 (48, 64, 3) each, state, float32 (8,), and prompt of a call."""
    random = np.random.default_rng(number)
    small = random.integers(0, 256, (len(NAMES), 48 // _BLOCK, 64 // _BLOCK, 3), dtype=np.uint8)
    images = [np.kron(image, np.ones((_BLOCK, _BLOCK, 1), np.uint8)) for image in small]
    state = random.uniform(-3, 3, 8).astype(np.float32)
    return images, state, f"pick up cup {number * episodes // calls}"


def row(images: list[Any], state: Any, prompt: str, actions: Any) -> list[Any]:
    """What a script says of a call."""
    return [digest(*images, state), prompt, digest(actions), str(actions.dtype), list(actions.shape)]


def digest(*arrays: Any) -> str:
    """SHA-256 over the arrays' bytes."""
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()
