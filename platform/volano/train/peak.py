"""How many floating-point operations a second this process's device could do: known by its name, or measured.

Known are NVIDIA's figures for dense bf16 with fp32 accumulation. Everything else multiplies two matrices for a moment.
"""

import time
from dataclasses import dataclass
from functools import cache

import torch

_KNOWN = {
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "B200": 2250e12,
    "GB200": 2250e12,
    "H200": 989e12,
    "GH200": 989e12,
    "H100": 989e12,
    "H800": 989e12,
    "A100": 312e12,
    "A800": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "A10": 125e12,
    "RTX 4090": 165e12,
}
"""By what the device's name contains, the more special first."""
_SIDE, _TIMES = 1024, 5


@dataclass(frozen=True, kw_only=True)
class Peak:
    """Of one device."""

    flops_per_s: float
    measured: bool
    """By a matrix product; otherwise the maker's figure."""


def known(name: str) -> float | None:
    """The maker's figure for a CUDA device's name, FLOP/s; None for one that is not listed."""
    words = name.replace("-", " ").split()
    for device, figure in _KNOWN.items():
        wanted = device.split()
        if any(words[place : place + len(wanted)] == wanted for place in range(len(words))):
            return figure
    return None


@cache
def peak(device: torch.device, precision: str) -> Peak:
    """Of a device in training's precision. A CPU's is that of fp32 products on this process's threads, whatever the
    precision: without AMX or AVX-512 BF16 it computes bf16 no faster."""
    if device.type == "cuda" and precision == "bf16":
        figure = known(torch.cuda.get_device_name(device))
        if figure is not None:
            return Peak(flops_per_s=figure, measured=False)
    low = device.type == "cuda" and precision == "bf16"
    return Peak(flops_per_s=_fastest_product(device, torch.bfloat16 if low else torch.float32), measured=True)


def _fastest_product(device: torch.device, kind: torch.dtype) -> float:
    side = _SIDE if device.type == "cpu" else 8 * _SIDE
    left, right = torch.ones(side, side, device=device, dtype=kind), torch.ones(side, side, device=device, dtype=kind)
    best = float("inf")
    for _ in range(_TIMES):
        begun = time.perf_counter()
        product = left @ right
        product[0, 0].item()  # a GPU's product is awaited
        best = min(best, time.perf_counter() - begun)
    return 2.0 * side**3 / best
