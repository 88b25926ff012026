"""What a cluster must have before work is given to it. Ray's own door is replaced, nothing of ours."""

import pytest
import ray

from volano.cluster import require_cores
from volano.errors import Code, SystemMissingError


def test_a_cluster_without_a_core_is_refused_with_a_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"memory": 1e9})
    with pytest.raises(SystemMissingError, match="0 cores") as refused:
        require_cores(1)
    assert refused.value.code is Code.CLUSTER_UNREACHABLE
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 1.0})
    require_cores(1)
