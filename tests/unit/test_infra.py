"""What is shipped for clusters names commands, versions and files that exist."""

import re
from pathlib import Path

import yaml

import jobs.train
from jobs.recipes import RECIPES

ROOT = Path(__file__).parents[2]


def test_the_job_for_kuberay_starts_what_the_command_line_knows() -> None:
    documents = list(yaml.safe_load_all((ROOT / "infra/kuberay/train.yaml").read_text()))
    job = documents[0]["spec"]
    module, recipe, *options = re.split(r"\s+", job["entrypoint"].removeprefix("python -m ").strip())
    assert (module, recipe in RECIPES) == (jobs.train.__name__, True)
    known = {"--workers", *re.findall(r"--\w+", jobs.train.__doc__ or "")}
    assert {option for option in options if option.startswith("--")} <= known
    cluster = job["rayClusterSpec"]
    assert f"ray=={cluster['rayVersion']} " in (ROOT / "requirements.lock").read_text()
    assert cluster["authOptions"]["mode"] == "token"
    pods = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    images = {container["image"] for pod in pods for container in pod["template"]["spec"]["containers"]}
    assert len(images) == 1, "every node runs the same code"


def test_images_copy_what_there_is() -> None:
    for image in (ROOT / "docker").glob("*.Dockerfile"):
        for line in image.read_text().splitlines():
            if line.startswith("COPY "):
                assert all((ROOT / source).exists() for source in line.split()[1:-1]), line
