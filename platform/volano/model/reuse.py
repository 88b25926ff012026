"""What the backbone computed for each robot's last observation, used again for what did not change.

Exact by how the network is built: the vision tower looks at each image alone, and the language model reads images and
words and nothing of the expert's. So an image's features hold for as long as the image, and a prompt's states for as
long as all of its images and words. The expert's tokens all see the noise and the flow time: nothing of it is kept.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from volano.model.backbone import Backbone, Hidden, Prompted, Sight, stacked
from volano.model.packing import Packing

Images = tuple[NDArray[np.uint8], ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Last:
    """Of one robot."""

    images: Images
    sights: tuple[Sight, ...]
    tokens_T: Tensor
    states_TV: Tensor

    @property
    def size(self) -> int:
        tensors = [self.tokens_T, self.states_TV, *(tensor for one in self.sights for tensor in one.tensors)]
        return sum(image.nbytes for image in self.images) + sum(one.nbytes for one in tensors)


class Memory:
    """The last observations of robots, the one asked about longest ago is forgotten first. For one thread, one network
    and one engine."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._last: OrderedDict[str, _Last] = OrderedDict()

    @property
    def size(self) -> int:
        """Bytes that are kept."""
        return sum(one.size for one in self._last.values())

    def hidden(
        self, backbone: Backbone, prompted: Prompted, images: Sequence[Images], sessions: Sequence[str]
    ) -> Hidden:
        """What `backbone(prompted)` is, where sample i shows `images[i]` and belongs to the robot `sessions[i]`; of an
        empty name nothing is kept."""
        lengths = prompted.packing.lengths
        tokens = prompted.tokens_T.split(list(lengths))
        known = [self._last.get(session) if session else None for session in sessions]
        sights = self._sights(backbone, prompted, images, known)
        whole = [
            one is not None
            and len(one.images) == len(shown) == sum(old is new for old, new in zip(one.sights, seen, strict=False))
            and torch.equal(one.tokens_T, words)
            for one, shown, seen, words in zip(known, images, sights, tokens, strict=True)
        ]
        due = [number for number, same in enumerate(whole) if not same]
        states = {number: one.states_TV for number, one in enumerate(known) if one is not None and whole[number]}
        states |= self._computed(backbone, prompted, due, sights)
        for number, session in enumerate(sessions):
            if session:
                kept = tuple(image.copy() for image in images[number]) if number in due else known[number].images  # type: ignore[union-attr]
                self._keep(
                    session,
                    _Last(images=kept, sights=sights[number], tokens_T=tokens[number], states_TV=states[number]),
                )
        joined = torch.cat([states[number] for number in range(len(lengths))])
        return Hidden(states_TV=joined, positions_3T=prompted.positions_3T, packing=prompted.packing)

    def _sights(
        self, backbone: Backbone, prompted: Prompted, images: Sequence[Images], known: Sequence[_Last | None]
    ) -> list[tuple[Sight, ...]]:
        """Of each sample's images: what is known of the same image, else what is seen now, all new ones at once."""
        found: list[list[Sight | None]] = []
        for shown, last in zip(images, known, strict=True):
            before = dict(enumerate(zip(last.images, last.sights, strict=True))) if last is not None else {}
            found.append(
                [
                    before[at][1] if at in before and np.array_equal(before[at][0], image) else None
                    for at, image in enumerate(shown)
                ]
            )
        new = [number for number, one in enumerate(sight for row in found for sight in row) if one is None]
        shown_now = [image for some in prompted.images for image in some]
        made = iter(backbone.see(stacked(shown_now[number] for number in new)) if new else [])
        return [tuple(next(made) if sight is None else sight for sight in row) for row in found]

    def _computed(
        self, backbone: Backbone, prompted: Prompted, due: Sequence[int], sights: Sequence[tuple[Sight, ...]]
    ) -> dict[int, Tensor]:
        """States of the samples that are due."""
        if not due:
            return {}
        lengths = [prompted.packing.lengths[number] for number in due]
        tokens, places = (
            torch.cat([part.split(list(prompted.packing.lengths), -1)[number] for number in due], -1)
            for part in (prompted.tokens_T, prompted.positions_3T)
        )
        batch = Prompted(tokens_T=tokens, positions_3T=places, packing=Packing(tuple(lengths)), images=())
        states = backbone(batch, [sight for number in due for sight in sights[number]]).states_TV
        return dict(zip(due, (part.clone() for part in states.split(lengths)), strict=True))

    def _keep(self, session: str, last: _Last) -> None:
        self._last[session] = last
        self._last.move_to_end(session)
        while self._last and self.size > self._most_bytes:
            self._last.popitem(last=False)
