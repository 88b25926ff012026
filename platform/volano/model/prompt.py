"""The text that selects the robot, and the tokens around its images.

One function builds the prompt for training, evaluation and serving (paper section 2.3; the wording for navigation
is not given there, so every family uses the manipulation template). A nano policy carries its own byte-pair
tokenizer, trained here; a pretrained backbone brings its own.
"""

from collections.abc import Iterable, Sequence

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from volano.embodiment.contract import Embodiment
from volano.model.config import PromptKind, PromptOrder

IMAGE_TOKEN = "<|image_pad|>"
VISION_START = "<|vision_start|>"
VISION_END = "<|vision_end|>"
VIDEO_TOKEN = "<|video_pad|>"
PAD_TOKEN = "<|endoftext|>"
_PHRASES = (
    "The robot is",
    ". The control frequency is",
    " Hz. Please predict the next",
    " control actions to execute the following task:",
)
"""What every prompt says, in this order."""
_MAX_KNOWN = 4096


def prompt_text(embodiment: Embodiment, instruction: str, kind: PromptKind = "embodiment") -> str:
    """The embodiment prompt, byte for byte the same in training and on the robot."""
    if kind == "constant":
        return f"Please predict the next control actions to execute the following task: {instruction}."
    robot, frequency, horizon, task = _PHRASES
    return (
        f"{robot} {embodiment.tag} with {embodiment.body}{frequency} {embodiment.rate_hz:g}"
        f"{horizon} {embodiment.horizon}{task} {instruction}."
    )


def state_text(bins: Sequence[int]) -> str:
    """What follows the prompt when proprioception is text: one bin of 0 to 255 for each state channel."""
    return f" The state is {' '.join(map(str, bins))}."


def view_tokens(camera: str) -> tuple[str, str]:
    """The vocabulary entries around one camera's image."""
    return f"<|{camera}_start|>", f"<|{camera}_end|>"


def special_tokens(cameras: Iterable[str]) -> list[str]:
    """Every entry that must never be split, in a fixed order."""
    views = [token for camera in sorted(set(cameras)) for token in view_tokens(camera)]
    return [PAD_TOKEN, IMAGE_TOKEN, VIDEO_TOKEN, VISION_START, VISION_END, *views]


def train_tokenizer(embodiments: Iterable[Embodiment], instructions: Iterable[str], vocabulary: int) -> Tokenizer:
    """A byte-level byte-pair tokenizer for these prompts; every text in the world stays encodable.

    The template's phrases are one token each, and so is every word of these robots and instructions: a word whose
    meaning must be learned from few episodes is not to be guessed from its syllables.
    """
    robots = sorted(embodiments, key=lambda robot: robot.tag)
    texts = [prompt_text(robot, "") for robot in robots] + [f" {text}" for text in sorted(set(instructions))]
    cameras = {camera.name for robot in robots for camera in robot.cameras}
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(_PHRASES),
        min_frequency=2,
        special_tokens=special_tokens(cameras),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts * 2, trainer)
    tokenizer.add_tokens([AddedToken(phrase, normalized=False) for phrase in _PHRASES])
    return tokenizer


class PromptEncoder:
    """Prompt and image layout to token identifiers, remembered per distinct prompt."""

    def __init__(self, tokenizer: Tokenizer, order: PromptOrder, kind: PromptKind = "embodiment") -> None:
        self._tokenizer = Tokenizer.from_str(tokenizer.to_str())
        self._tokenizer.encode_special_tokens = True  # in a robot's words they are words, and no images
        self._order = order
        self._kind = kind
        self._known: dict[str, list[int]] = {}

    def token(self, text: str) -> int:
        """Identifier of one vocabulary entry."""
        identifier = self._tokenizer.token_to_id(text)
        if identifier is None:
            raise KeyError(text)
        return int(identifier)

    def encode(
        self, embodiment: Embodiment, instruction: str, image_tokens: Sequence[int], state: Sequence[int] = ()
    ) -> list[int]:
        """Images and prompt in the policy's order; `image_tokens` counts per camera, none: no images; `state` holds one
        bin per state channel, none: no word of it."""
        identifiers = self.images([camera.name for camera in embodiment.cameras], image_tokens)
        text = prompt_text(embodiment, instruction, self._kind)
        if text not in self._known:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known[text] = self._words(text)
        words = self._known[text] + (self._words(state_text(state)) if state else [])
        return identifiers + words if self._order == "images_first" else words + identifiers

    def images(self, cameras: Sequence[str], image_tokens: Sequence[int]) -> list[int]:
        """The tokens of one image per camera, each within its view tokens; no counts: no images."""
        identifiers: list[int] = []
        for camera, count in zip(cameras, image_tokens, strict=False):
            start, end = (self.token(token) for token in view_tokens(camera))
            image = [self.token(VISION_START), *[self.token(IMAGE_TOKEN)] * count, self.token(VISION_END)]
            identifiers += [start, *image, end]
        return identifiers

    def dialogue(self, question: str, answer: str) -> tuple[list[int], list[int]]:
        """A question, and its answer with the token that ends it."""
        return self._words(question), [*self._words(f" {answer}"), self.token(PAD_TOKEN)]

    def _words(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)
