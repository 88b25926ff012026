"""What is counted follows from what happened, and what is gone is told no more."""

from dataclasses import replace

from serving.metrics import Metrics
from tests.unit.serving.test_access_log import ENTRY


def lines(metrics: Metrics, now: float = 0.0) -> dict[str, str]:
    text = metrics.text(now, ready=True).decode().splitlines()
    return dict(line.rsplit(" ", 1) for line in text if not line.startswith("#"))


def test_replicas_are_told_as_they_stand() -> None:
    metrics = Metrics()
    digest = "a" * 64
    for replicas in ({(digest, "alive"): 2, (digest, "draining"): 1}, {(digest, "alive"): 3}):
        metrics.stands(replicas=replicas, looked_at=5.0, expires_at=7.0)
    found = lines(metrics)
    assert found['volano_serving_replicas{policy="aaaaaaaaaaaa",state="alive"}'] == "3.0"
    assert [name for name in found if "draining" in name] == []
    assert found["volano_serving_ready"] == "1.0"
    assert found["volano_serving_certificate_expiry_timestamp_seconds"] == "7.0"


def test_robots_are_those_of_the_last_minute() -> None:
    metrics = Metrics()
    for robot, at in (("a", 100.0), ("b", 150.0), ("a", 155.0), ("c", 90.0)):
        metrics.note(replace(ENTRY, robot=robot, at=at))
    assert lines(metrics, 155.0)["volano_serving_robots"] == "2.0"
    assert lines(metrics, 400.0)["volano_serving_robots"] == "0.0"
    assert lines(metrics)['volano_serving_robot_seen_timestamp_seconds{robot="a"}'] == "155.0"


def test_what_is_no_answer_is_a_hold_or_a_refusal_and_has_no_phases() -> None:
    metrics = Metrics()
    for outcome in ("answered", "E-SERVE-002", "E-WIRE-003"):
        metrics.note(replace(ENTRY, outcome=outcome))
    found = lines(metrics)
    assert found['volano_serving_holds_total{code="E-SERVE-002",protocol="openpi"}'] == "1.0"
    assert found['volano_serving_refusals_total{code="E-WIRE-003",protocol="openpi"}'] == "1.0"
    assert found['volano_serving_observation_age_seconds_count{protocol="openpi"}'] == "1.0"
    assert sum(float(count) for name, count in found.items() if name.startswith("volano_serving_requests_total")) == 3


def test_batches_and_lost_lines_are_counted() -> None:
    metrics = Metrics()
    metrics.batched(8, 0.05)
    metrics.dropped(3)
    found = lines(metrics)
    assert found["volano_serving_answer_batch_size_sum"] == "8.0"
    assert found["volano_serving_policy_compute_seconds_count"] == "1.0"
    assert found["volano_serving_dropped_lines_total"] == "3.0"
