"""The peer's side of `model_peer`, in a process that sees the peer's source and nothing of ours.

A stock Qwen of the transformers library is called as starVLA's QwenGR00T calls it, and its last hidden states go into
that framework's own action head. For each line on its input, a batch's number, it answers the CPU-seconds of forward
and backward pass. `python peer_worker.py FOLDER`: the folder has the backbone, the head's numbers and the batches.
"""

import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoModelForImageTextToText

Answer = dict[str, float]


def head(numbers: dict[str, object]) -> nn.Module:
    """The peer's action head."""
    source = importlib.import_module("starVLA.model.modules.action_model.GR00T_ActionHeader")
    built: nn.Module = source.get_action_model(OmegaConf.create({"framework": {"action_model": numbers}}))
    return built


def step(backbone: Any, action_head: nn.Module, batch: dict[str, Tensor]) -> float:
    """CPU-seconds of forward and backward pass."""
    begun = time.process_time()
    output = backbone(
        input_ids=batch["tokens"],
        attention_mask=batch["mask"],
        mm_token_type_ids=batch["is_image"],
        pixel_values=batch["pixels"],
        image_grid_thw=batch["grid"],
        output_attentions=False,
        output_hidden_states=True,
        return_dict=True,
    )
    loss = action_head(output.hidden_states[-1], batch["actions"], None, encoder_attention_mask=batch["mask"].bool())
    loss.backward()
    spent = time.process_time() - begun
    for network in (backbone, action_head):
        network.zero_grad(set_to_none=True)
    return spent


def answer(found: Answer) -> None:
    """One line, after whatever the peer itself writes."""
    sys.stdout.write(f"\n>{json.dumps(found)}\n")
    sys.stdout.flush()


def main() -> None:
    """Serve until the input ends."""
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    backbone = AutoModelForImageTextToText.from_pretrained(
        folder / "backbone", dtype=torch.float32, attn_implementation="sdpa"
    )
    action_head = head(json.loads((folder / "head.json").read_text()))
    backbone.train()
    action_head.train()
    networks = {"backbone": backbone, "head": action_head}
    answer({name: sum(p.numel() for p in network.parameters()) for name, network in networks.items()})
    for line in sys.stdin:
        answer({"seconds": step(backbone, action_head, load_file(folder / f"{int(line)}.safetensors"))})


if __name__ == "__main__":
    main()
