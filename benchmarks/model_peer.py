"""Samples per CPU-second of forward and backward pass beside starVLA's QwenGR00T, the nearest open model.

Both have the same Qwen3-VL, the same tokens and images in the same batches, and as many weights; ours reads the whole
prompt in every block of its expert, the peer's head attends to it from its action tokens. Inputs are made beforehand
for both. The peer's source is cloned at run time into `--peer`, and its one missing package beside it.
`python -m benchmarks.model_peer --json FILE [--peer FOLDER] [--quick]`.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from benchmarks import workload
from benchmarks.padded import PaddedTwin
from benchmarks.report import Missing, Row, arguments_of, compared, tell, without
from volano.model.policy import Batch, Policy
from volano.train.config import EngineConfig
from volano.train.engine import computing

_SOURCE, _COMMIT = "https://github.com/starVLA/starVLA.git", "0ed0aad2c83f587714f6167ef60cf7218b786590"
_PACKAGE = "diffusers==0.42.1"
_METRIC = "forward and backward pass, samples per CPU-second"
_BATCH = 8
HEAD = {
    "action_model_type": "DiT-B",
    "hidden_size": 512,
    "add_pos_embed": True,
    "max_seq_len": 64,
    "action_dim": workload.CHANNELS,
    "state_dim": 0,
    "action_horizon": workload.ROWS,
    "noise_beta_alpha": 1.5,
    "noise_beta_beta": 1.0,
    "noise_s": 0.999,
    "num_timestep_buckets": 1000,
    "num_inference_timesteps": 4,
    "num_target_vision_tokens": 32,
    "diffusion_model_cfg": {
        "cross_attention_dim": 768,
        "dropout": 0.0,
        "final_dropout": False,
        "interleave_self_attention": True,
        "norm_type": "ada_norm",
        "num_layers": 2,
        "output_dim": 512,
        "positional_embeddings": None,
    },
}
"""The peer's defaults but for depth, dropout and the widths of our channels and backbone."""


def fetched(folder: Path) -> dict[str, str]:
    """The environment in which the peer can be imported; raises Missing."""
    source, packages = folder / "source", folder / "packages"
    uv = Path(sys.executable).with_name("uv")
    commands = []
    if not source.exists():
        commands += [["git", "clone", "--quiet", _SOURCE, str(source)]]
        commands += [["git", "-C", str(source), "checkout", "--quiet", _COMMIT]]
    if not packages.exists():
        commands += [[str(uv), "pip", "install", "--quiet", "--no-deps", "--target", str(packages), _PACKAGE]]
    for command in commands:
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
        except (OSError, subprocess.SubprocessError) as error:
            said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
            raise Missing(f"{' '.join(command[:2])} of the peer failed: {said[-1] if said else error}") from error
    return {**os.environ, "PYTHONPATH": f"{packages}{os.pathsep}{source}", "OMP_NUM_THREADS": "1"}


class Peer:
    """The peer's process."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        command = [sys.executable, str(Path(__file__).with_name("peer_worker.py")), str(folder)]
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.weights = self._answer()

    def seconds(self, batch: int) -> float:
        """CPU-seconds of one batch."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{batch}\n")
        self._process.stdin.flush()
        return self._answer()["seconds"]

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait()

    def _answer(self) -> dict[str, float]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(">"):
                found: dict[str, float] = json.loads(line[1:])
                return found
        raise Missing("the peer's process ended; its reason is above")


def policy() -> Policy:
    """A backbone of 768, and an expert with as many weights as the peer's head."""
    config = workload.model(768)
    backbone = replace(config.backbone, layers=8)
    expert = replace(workload.model(512).expert, mlp_width=1376)
    return workload.policy(replace(config, backbone=backbone, expert=expert))


def write(folder: Path, ours: Policy, batches: Sequence[Batch]) -> None:
    """The backbone, the head's numbers and the batches, for the peer's process."""
    twin = PaddedTwin(ours)
    twin.network.save_pretrained(folder / "backbone")
    (folder / "head.json").write_text(json.dumps(HEAD))
    for number, batch in enumerate(batches):
        padded = twin.batch(batch)
        tensors = {
            "tokens": padded.tokens_BS,
            "mask": padded.mask_BS.long(),
            "is_image": padded.is_image_BS,
            "pixels": padded.pixels,
            "grid": padded.grid,
            "actions": padded.target_BHK,
        }
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / f"{number}.safetensors")


def seconds(ours: Policy, batch: Batch, seed: int) -> float:
    """CPU-seconds of our forward and backward pass."""
    begun = time.process_time()
    with computing(EngineConfig()):
        ours.loss(batch, "beta_noisy", torch.Generator().manual_seed(seed)).mean().backward()
    spent = time.process_time() - begun
    ours.zero_grad(set_to_none=True)
    return spent


def measure(ours: Policy, environment: dict[str, str], pairs: int) -> tuple[list[tuple[float, float]], float]:
    """(ours, peer) CPU-seconds of each batch, who is first taking turns; and our weights over the peer's."""
    batches = [ours.batch(workload.samples(ours, _BATCH, number)) for number in range(pairs + 1)]
    with tempfile.TemporaryDirectory() as scratch:
        write(Path(scratch), ours, batches)
        with running(Path(scratch), environment) as peer:
            mine = sum(parameter.numel() for parameter in ours.parameters())
            found = []
            for number, batch in enumerate(batches):
                first = seconds(ours, batch, number) if number % 2 else 0.0
                other = peer.seconds(number)
                found.append((first or seconds(ours, batch, number), other))
            return found[1:], mine / (peer.weights["backbone"] + peer.weights["head"])


@contextmanager
def running(folder: Path, environment: dict[str, str]) -> Iterator[Peer]:
    """The peer's process, ended afterwards."""
    peer = Peer(folder, environment)
    try:
        yield peer
    finally:
        peer.close()


def result(pairs: Sequence[tuple[float, float]], weights: float) -> Row:
    """The median ratio with a bootstrap interval over batches."""
    ours, peer = _BATCH / np.array(pairs).T
    name = f"starVLA QwenGR00T at {_COMMIT[:8]}; our weights over its: {weights:.3f}"
    return compared(_METRIC, ours, peer, name, unit="samples per CPU-second", better="higher", must=1.0, aim=1.5)


def main() -> None:
    """Measure, write, print."""
    parser = arguments_of(__doc__, "within a minute")
    parser.add_argument("--peer", type=Path, default=Path(".volano/peers/starvla"), help="where the peer is or goes")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    try:
        environment = fetched(arguments.peer.absolute())
        found = result(*measure(policy(), environment, 2 if arguments.quick else 9))
    except Missing as missing:
        found = without(_METRIC, str(missing))
    tell("model_peer", arguments.json, quick=arguments.quick, rows=[found], packages=["torch"])


if __name__ == "__main__":
    main()
