"""What a benchmark says of itself: ratios with their intervals, and the file that `--json` names."""

import argparse
import json
import os
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Row = dict[str, Any]


class Missing(Exception):
    """A peer that cannot be had here."""


def arguments_of(doc: str | None, rough: str) -> argparse.ArgumentParser:
    """The command line that every benchmark has; `rough` says how long `--quick` takes."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help=f"rough: {rough}")
    return parser


def middle(values: Sequence[float] | NDArray[np.float64]) -> tuple[float, float, float]:
    """The median of paired measurements, with its 95 % bootstrap interval."""
    array, random = np.asarray(values, np.float64), np.random.default_rng(0)
    medians = np.median(array[random.integers(len(array), size=(2000, len(array)))], axis=1)
    low, high = np.quantile(medians, [0.025, 0.975])
    return float(np.median(array)), float(low), float(high)


def compared(
    metric: str,
    ours: Sequence[float] | NDArray[np.float64],
    reference: Sequence[float] | NDArray[np.float64],
    name: str,
    *,
    unit: str,
    better: Literal["higher", "lower"],
    must: float | None = None,
    aim: float | None = None,
) -> Row:
    """Ours over the reference called `name`, pair by pair."""
    ratio, low, high = middle(np.asarray(ours) / np.asarray(reference))
    return {
        "metric": metric,
        "ours": float(np.median(ours)),
        "reference": float(np.median(reference)),
        "reference_name": name,
        "unit": unit,
        "ratio": ratio,
        "low": low,
        "high": high,
        "n": len(ours),
        "better": better,
        "must": must,
        "aim": aim,
    }


def measured(
    metric: str, values: Sequence[float], *, unit: str, must: float | None = None, aim: float | None = None
) -> Row:
    """What is not held against anything else, and of which less is better."""
    found, low, high = middle(values)
    row: Row = {"metric": metric, "ratio": found, "low": low, "high": high, "n": len(values), "unit": unit}
    return row | {"better": "lower", "must": must, "aim": aim}


def without(metric: str, reason: str) -> Row:
    """The row of what was not measured."""
    return {"metric": metric, "ratio": None, "reason": reason}


def tell(
    name: str, path: Path, *, quick: bool, rows: Sequence[Row], packages: Sequence[str] = (), **more: object
) -> None:
    """Write the file, and say in a line each what stands in it."""
    write_report(name, path, quick=quick, rows=rows, packages=packages, **more)
    for row in rows:
        print(in_words(row))


def write_report(
    name: str, path: Path, *, quick: bool, rows: Sequence[Row], packages: Sequence[str] = (), **more: object
) -> None:
    """The file, which also says on what machine, under what load and of which commit; `packages` are named with their
    versions."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    versions = [f"Python {platform.python_version()}", *(f"{package} {version(package)}" for package in packages)]
    machine = f"{platform.machine()}, {platform.system()}, {', '.join(versions)}, load {os.getloadavg()[0]:.1f}"
    report = {"benchmark": name, "machine": machine, "commit": commit, "quick": quick, **more, "results": list(rows)}
    path.write_text(json.dumps(report, indent=1) + "\n")


def in_words(row: Row) -> str:
    """A row in words."""
    if row["ratio"] is None:
        return f"{row['metric']}: none, {row['reason']}"
    beside = f" over {row['reference_name']}" if row.get("reference_name") else ""
    return f"{row['metric']}{beside}: {row['ratio']:.4g} [{row['low']:.4g}, {row['high']:.4g}], n = {row['n']}"
