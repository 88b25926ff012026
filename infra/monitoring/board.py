"""The gateway's Grafana board, as data that a person can read; writes the JSON that Grafana loads.

python infra/monitoring/board.py > infra/monitoring/volano-serving.json
"""

import json
import sys
from typing import Any

Query = tuple[str, str]
"""PromQL, and how its lines are called."""
RATE = "[$__rate_interval]"
S = "volano_serving_"


def rate(metric: str, *by: str) -> str:
    """A counter's rate, summed."""
    return f"sum by ({', '.join(by)}) (rate({S}{metric}{RATE}))"


def quantiles(metric: str, *by: str, shares: tuple[float, ...] = (0.5, 0.99)) -> list[Query]:
    """Quantiles of a histogram."""
    names = "".join(f" {{{{{one}}}}}" for one in by)
    summed = rate(f"{metric}_bucket", "le", *by)
    return [(f"histogram_quantile({share}, {summed})", f"p{share * 100:g}{names}") for share in shares]


BATCH = f"sum(rate({S}answer_batch_size_sum{RATE})) / sum(rate({S}answer_batch_size_count{RATE}))"
SEEN = f"topk(10, time() - max by (robot) ({S}robot_seen_timestamp_seconds))"
DAYS = f"(min({S}certificate_expiry_timestamp_seconds > 0) - time()) / 86400"
PANELS: list[tuple[str, str, list[Query]]] = [
    (
        "Answers by outcome",
        "reqps",
        [(rate("requests_total", "protocol", "outcome"), "{{protocol}} {{outcome}}")],
    ),
    ("Answers by policy", "reqps", [(rate("requests_total", "policy"), "{{policy}}")]),
    (
        "Age of an observation when its actions are there",
        "s",
        quantiles("observation_age_seconds", "protocol"),
    ),
    ("Where an answer's time goes, p99", "s", quantiles("phase_seconds", "phase", shares=(0.99,))),
    ("What the policy computes for an answer", "s", quantiles("policy_compute_seconds")),
    ("Observations in an answer's batch", "short", [(BATCH, "mean")]),
    ("Told to fall back", "reqps", [(rate("holds_total", "protocol", "code"), "{{protocol}} {{code}}")]),
    ("Refused", "reqps", [(rate("refusals_total", "protocol", "code"), "{{protocol}} {{code}}")]),
    (
        "Robots and sockets",
        "short",
        [(f"sum({S}robots)", "robots"), (f"sum by (protocol) ({S}open_sockets)", "sockets {{protocol}}")],
    ),
    ("Since a robot asked, the ten longest", "s", [(SEEN, "{{robot}}")]),
    (
        "Replicas",
        "short",
        [(f"sum by (policy, state) ({S}replicas)", "{{policy}} {{state}}"), (f"min({S}ready)", "ready")],
    ),
    ("Episodes begun", "reqps", [(rate("episodes_total", "policy"), "{{policy}}")]),
    ("Since the last look at the cluster", "s", [(f"time() - max({S}look_timestamp_seconds)", "look")]),
    (
        "Lines lost, and days that the certificate is good",
        "short",
        [
            (f"sum(increase({S}dropped_lines_total{RATE}))", "lines"),
            (DAYS, "days"),
        ],
    ),
]
"""Title, unit, and each query with its legend."""


def board() -> dict[str, Any]:
    """Grafana's model of it."""
    panels = []
    for number, (title, unit, queries) in enumerate(PANELS):
        panels.append(
            {
                "id": number + 1,
                "type": "timeseries",
                "title": title,
                "datasource": {"type": "prometheus", "uid": "${source}"},
                "gridPos": {"h": 8, "w": 12, "x": 12 * (number % 2), "y": 8 * (number // 2)},
                "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
                "targets": [
                    {"refId": chr(ord("A") + place), "expr": query, "legendFormat": legend}
                    for place, (query, legend) in enumerate(queries)
                ],
            }
        )
    source = {"name": "source", "type": "datasource", "query": "prometheus", "label": "Source"}
    return {
        "uid": "volano-serving",
        "title": "Volano: serving",
        "schemaVersion": 41,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [source]},
        "panels": panels,
    }


if __name__ == "__main__":
    json.dump(board(), sys.stdout, indent=1)
    sys.stdout.write("\n")
