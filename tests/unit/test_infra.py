"""What is shipped for clusters names commands, versions and files that exist."""

import json
import re
import subprocess
import sys
from pathlib import Path

import yaml

import jobs.train
from jobs.recipes import RECIPES
from serving.metrics import Metrics
from volano.errors import Code

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "infra" / "monitoring"


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


def exposed() -> set[str]:
    """The names of everything that a gateway tells Prometheus of itself, without what a histogram adds to its own."""
    lines = Metrics().text(0.0, ready=True).decode().splitlines()
    names = {line.split()[2] for line in lines if line.startswith("# TYPE volano_")}
    return {name.removesuffix("_total") for name in names if not name.endswith("_created")}


def named(text: str) -> set[str]:
    """The metrics that a text names."""
    found = re.findall(r"\bvolano_serving_[a-z_]+", text)
    return {re.sub(r"_(bucket|sum|count|total)$", "", name) for name in found}


def test_the_board_shows_every_metric_and_no_other() -> None:
    board = json.loads((MONITORING / "volano-serving.json").read_text())
    queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    assert named("\n".join(queries)) == exposed()
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))


def test_the_board_is_what_its_program_writes() -> None:
    program = [sys.executable, str(MONITORING / "board.py")]
    written = subprocess.run(program, check=True, capture_output=True, text=True).stdout
    assert written == (MONITORING / "volano-serving.json").read_text()


def test_alerts_watch_metrics_that_exist_and_are_explained() -> None:
    [group] = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"]
    rules = {rule["alert"]: rule for rule in group["rules"]}
    watched = {name for rule in rules.values() for name in named(rule["expr"])}
    assert watched <= exposed()
    codes = {code for rule in rules.values() for code in re.findall(r"E-[A-Z]+-\d{3}", rule["expr"])}
    assert codes <= {code.value for code in Code}
    explained = (ROOT / "docs" / "operating.md").read_text()
    assert [alert for alert in rules if f"| `{alert}` | " not in explained] == []
    job = yaml.safe_load((MONITORING / "prometheus.yaml").read_text())["scrape_configs"][0]["job_name"]
    assert f'job="{job}"' in rules["VolanoGatewayDown"]["expr"]


def test_images_copy_what_there_is() -> None:
    for image in (ROOT / "docker").glob("*.Dockerfile"):
        for line in image.read_text().splitlines():
            if line.startswith("COPY "):
                assert all((ROOT / source).exists() for source in line.split()[1:-1]), line
