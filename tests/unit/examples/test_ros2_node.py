"""What the node for ROS 2 does, with messages that have the fields of ROS 2's and without ROS 2."""

from collections.abc import Iterator
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from examples.ros2_node import Driver, to_rgb
from tests.unit.data.bundles import ROVER
from volano.inference.guard import fallback_step
from volano.inference.streaming import StreamingClient

NOWHERE = "ws://127.0.0.1:9"
STATE = [channel.name for channel in ROVER.state]


def image(pixels: NDArray[np.uint8], encoding: str = "rgb8", padding: int = 0) -> Any:
    rows = np.pad(pixels.reshape(len(pixels), -1), ((0, 0), (0, padding)))
    height, width, _ = pixels.shape
    return SimpleNamespace(height=height, width=width, encoding=encoding, step=rows.shape[1], data=rows.tobytes())


def joints(**positions: float) -> Any:
    return SimpleNamespace(name=list(positions), position=list(positions.values()))


PIXELS = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)


@pytest.fixture
def driver() -> Iterator[Driver]:
    client = StreamingClient(NOWHERE, "key", ROVER, "rover-01", oldest_s=0.8)
    with closing(client):
        client.start_episode("attempt-1", "go")
        yield Driver(robot=ROVER, client=client, instruction="go")


@pytest.mark.parametrize("padding", [0, 5])
def test_images_come_out_as_red_green_blue_whatever_their_order_and_padding(padding: int) -> None:
    assert np.array_equal(to_rgb(image(PIXELS, padding=padding)), PIXELS)
    assert np.array_equal(to_rgb(image(PIXELS[..., ::-1], "bgr8", padding)), PIXELS)


def test_an_image_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(ValueError, match="mono8"):
        to_rgb(image(PIXELS, "mono8"))
    broken = image(PIXELS)
    broken.data = broken.data[:-1]
    with pytest.raises(ValueError, match="reshape"):
        to_rgb(broken)


def fill(driver: Driver, now: float) -> None:
    driver.see("ego", image(PIXELS), now)
    driver.see("rear", image(PIXELS[:48]), now)
    driver.feel(joints(**{STATE[1]: 0.25, "wheel_of_another": 9.0, STATE[0]: 0.5}), now)


def test_an_observation_has_the_contracts_order_and_needs_every_sensor(driver: Driver) -> None:
    assert driver.seen(0.0) is None
    driver.see("ego", image(PIXELS), 0.0)
    driver.feel(joints(**dict.fromkeys(STATE, 0.1)), 0.0)
    assert driver.seen(0.0) is None, "one camera said nothing yet"
    fill(driver, 0.1)
    seen = driver.seen(0.2)
    assert seen is not None
    assert seen.state.tolist() == [0.5, 0.25]
    assert list(seen.images) == ["ego", "rear"]
    driver.see("ego", image(PIXELS), 1.0)
    assert driver.seen(1.0) is None, "the others are silent"


def test_a_tick_without_sensors_or_gateway_executes_the_fallback_of_the_contract(driver: Driver) -> None:
    assert driver.command(0.0) == fallback_step(ROVER, None).tolist()
    fill(driver, 0.1)
    assert driver.command(0.1) == fallback_step(ROVER, None).tolist(), "nobody listens"
    assert driver.tick == 2
