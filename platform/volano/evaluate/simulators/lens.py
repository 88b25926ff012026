"""What a camera delivers: colour at half the resolution of brightness (YUV 4:2:0), as streams and videos store it.

A renderer's sharp colours would not survive the recording; a policy would be trained on one kind of picture and act on
another. The conversion is the recorder's own.
"""

import av
import numpy as np
from numpy.typing import NDArray

from volano.data.video import ColourConverter
from volano.evaluate.simulator import ImageArray


class Lens:
    """One camera's."""

    def __init__(self) -> None:
        self._stored, self._shown = ColourConverter("yuv420p"), ColourConverter("rgb24")

    def delivered(self, rendered: NDArray[np.uint8]) -> ImageArray:
        """The rendered RGB of shape (height, width, 3), both even, as the robot's camera hands it over."""
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rendered), format="rgb24")
        return self._shown.array(self._stored.convert(frame))
