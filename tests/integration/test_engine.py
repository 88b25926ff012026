"""Compiled code answers as the network does that it was made of."""

import time

import numpy as np
import pytest

from serving.proof import generated, prove
from serving.work import answer
from tests.unit.model.tiny import tiny_policy
from volano.embodiment.shipped import SCOUT
from volano.model.engine import Engine

pytestmark = pytest.mark.slow


def test_a_compiled_policy_is_proved_for_every_way_in_which_it_is_asked() -> None:
    policy = tiny_policy()
    policy.codecs = {"scout": policy.codecs["scout"]}
    work = generated(SCOUT)[:4]
    before = answer(policy, work)
    [parity] = prove(policy, Engine(compiled=True))
    assert parity.cosine > 0.99999
    assert parity.difference < 1e-4
    began = time.monotonic()
    after = answer(policy, work, Engine(compiled=True))
    np.testing.assert_allclose(before, after, atol=1e-4)
    assert time.monotonic() - began < 5, "nothing is compiled any more while a robot waits"
