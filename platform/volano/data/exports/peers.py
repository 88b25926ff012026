"""The code bases that exports are made for: what each wants beside a LeRobotDataset v2.1, and how it opens it.

What they read, and of which commit that is known, stands in docs/formats.md.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from volano.data.exports import statistics
from volano.data.exports.layout import modality
from volano.embodiment.contract import Embodiment
from volano.errors import Code, ConfigError


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One code base."""

    files: Callable[[Embodiment, pa.Table, Sequence[int]], dict[str, Any]]
    """From the contract, all rows and the episodes' lengths: path below the robot's folder to a JSON document."""
    opens: str
    """What a person types or sets there; `{output}`, `{tag}` and `{horizon}` are filled in."""


def _openpi(embodiment: Embodiment, rows: pa.Table, lengths: Sequence[int]) -> dict[str, Any]:
    return {"norm_stats.json": statistics.chunks(rows, lengths, embodiment.horizon)}


def _starvla(embodiment: Embodiment, rows: pa.Table, _lengths: Sequence[int]) -> dict[str, Any]:
    cached = {"__format_version": 2, "__cache_config": {"mode": "abs"}, "statistics": statistics.columns(rows)}
    return {"meta/modality.json": modality(embodiment), "meta/stats_gr00t.json": cached}


def _gr00t(embodiment: Embodiment, rows: pa.Table, _lengths: Sequence[int]) -> dict[str, Any]:
    return {"meta/modality.json": modality(embodiment), "meta/stats.json": statistics.columns(rows)}


PEERS = {
    "openpi": Peer(
        files=_openpi,
        opens="HF_LEROBOT_HOME={output}, repo_id {tag}, assets_dir {output}, action horizon {horizon}; "
        "its keys are observation.state and action",
    ),
    "starvla": Peer(
        files=_starvla,
        opens="data_root_dir {output}, dataset {tag}, lerobot_version v2.0; keys as in meta/modality.json",
    ),
    "gr00t": Peer(
        files=_gr00t,
        opens="--dataset-path {output}/{tag} --embodiment-tag NEW_EMBODIMENT, and the file in docs/formats.md "
        "as --modality-config-path",
    ),
}


def peer(name: str) -> Peer:
    """The code base of that name; raises ConfigError(E-CONFIG-003) for another."""
    if name not in PEERS:
        raise ConfigError(
            Code.CONFIG_VALUE, f"no export is made for {name!r:.80}", f"give --for one of: {', '.join(PEERS)}"
        )
    return PEERS[name]
