"""Runs where GR00T's clients find what they import, without Volano: asks a gateway and says what went out and came in.

python ask_with_gr00t.py GENERATION FOLDER PORT OTHER_PORT KEY CALLS
FOLDER holds the client's sources; of their packages only the files that the client needs are loaded. OTHER_PORT is
where a client asks for modalities. Standard output ends with one JSON line: [modalities, rows], a row [digest of what
was sent, digest of the actions, dtype, shape, request] for each call.
"""

import hashlib
import importlib
import json
import sys
import types
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

GROUPS = ("left_arm", "gripper")
LANGUAGE = "annotation.human.task_description"


@dataclass
class ModalityConfig:
    """N1.5 has this in a file that imports its training; its models iterate over their fields."""

    delta_indices: list[int]
    modality_keys: list[str]

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return iter(asdict(self).items())


def bare(folder: Path, *names: str) -> None:
    """Packages without what stands in their `__init__`: it imports models."""
    for name in names:
        package = types.ModuleType(name)
        package.__path__ = [str(folder / name.replace(".", "/"))]
        sys.modules[name] = package


def client_of(generation: str, folder: Path, port: int, key: str) -> Any:
    """The unmodified client, connected."""
    if generation == "droid":
        sys.path.insert(0, str(folder / "examples" / "DROID"))
        return importlib.import_module("server_client").PolicyClient("127.0.0.1", port, api_token=key)
    bare(folder, "gr00t", "gr00t.data", "gr00t.eval", "gr00t.policy", "gr00t.configs", "gr00t.configs.data")
    if generation == "n1.5":
        dataset = types.ModuleType("gr00t.data.dataset")
        vars(dataset)["ModalityConfig"] = ModalityConfig
        sys.modules["gr00t.data.dataset"] = dataset
        service = importlib.import_module("gr00t.eval.service")
        return service.ExternalRobotInferenceClient("127.0.0.1", port, api_token=key)
    return importlib.import_module("gr00t.policy.server_client").PolicyClient("127.0.0.1", port, api_token=key)


def observation(number: int) -> tuple[Any, Any, Any]:
    """What an arm perceives, different for every call."""
    random = np.random.default_rng(number)
    ego = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    rear = random.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    return ego, rear, random.uniform(-1, 1, 3).astype(np.float32)


def flat(number: int) -> dict[str, Any]:
    """As N1.5 sends it."""
    ego, rear, state = observation(number)
    return {
        "video.ego": ego[np.newaxis],
        "video.rear": rear[np.newaxis],
        "state.left_arm": state[np.newaxis, :2].astype(np.float64),
        "state.gripper": state[np.newaxis, 2:].astype(np.float64),
        LANGUAGE: [f"pick ball {number}"],
    }


def nested(number: int) -> dict[str, Any]:
    """As N1.6 and later send it."""
    ego, rear, state = observation(number)
    batch = np.newaxis, np.newaxis
    return {
        "video": {"ego": ego[batch], "rear": rear[batch]},
        "state": {"left_arm": state[:2][batch], "gripper": state[2:][batch]},
        "language": {LANGUAGE: [[f"pick ball {number}"]]},
    }


def digest(*arrays: Any) -> str:
    """SHA-256 over the arrays' bytes."""
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def row(number: int, actions: dict[str, Any], request: str) -> list[Any]:
    """What one call says; one robot's chunk is put together again of its groups."""
    chunk = np.concatenate([actions[name] for name in GROUPS], axis=-1)
    return [digest(*observation(number)), digest(chunk), str(chunk.dtype), list(chunk.shape), request]


def over_http(port: int, key: str, calls: int) -> list[Any]:
    """As the example of the HTTP server asks."""
    json_numpy = importlib.import_module("json_numpy")
    requests = importlib.import_module("requests")
    json_numpy.patch()
    rows = []
    for number in range(calls):
        response = requests.post(
            f"http://127.0.0.1:{port}/act",
            json={"observation": flat(number)},
            headers={"Authorization": f"Bearer {key}"},
            timeout=30,
        )
        assert response.status_code == 200, response.text
        actions = {name.removeprefix("action."): part for name, part in response.json().items()}
        rows.append(row(number, actions, ""))
    return rows


def over_zmq(generation: str, folder: Path, ports: tuple[int, int], key: str, calls: int) -> list[Any]:
    """Ping, modalities, reset, and calls one after another."""
    client = client_of(generation, folder, ports[0], key)
    assert client.ping()
    other = client if ports[0] == ports[1] else client_of(generation, folder, ports[1], key)
    told = other.call_endpoint("get_modality_config", requires_input=False)
    assert not any(isinstance(value, dict) for value in told.values()), "they are the client's own class"
    rows = []
    for number in range(calls):
        if generation == "n1.5":
            reply = client.get_action(flat(number))
            rows.append(row(number, {name.removeprefix("action."): part for name, part in reply.items()}, ""))
        else:
            actions, info = client.get_action(nested(number))
            rows.append(row(number, actions, info["request"]))
    if generation != "n1.5":
        assert client.reset() == {}
    refusal = ""
    try:
        client.kill_server()
    except RuntimeError as error:
        refusal = str(error)
    assert "E-WIRE-002" in refusal, "the gateway was killed"
    assert client.ping()
    return [{name: asdict(value) for name, value in told.items()}, rows]


def main() -> None:
    """Ask, and tell."""
    generation, folder, port, other_port, key, calls = sys.argv[1:]
    if generation == "http":
        told: Any = [{}, over_http(int(port), key, int(calls))]
    else:
        told = over_zmq(generation, Path(folder), (int(port), int(other_port)), key, int(calls))
    sys.stdout.write(json.dumps(told, default=str) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
