"""The prompt byte for byte, and a tokenizer that encodes whatever people write."""

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.model.tiny import INSTRUCTIONS
from volano.embodiment.shipped import CAR, SAWYER, SHIPPED
from volano.model.prompt import IMAGE_TOKEN, PromptEncoder, prompt_text, special_tokens, train_tokenizer

TOKENIZER = train_tokenizer(SHIPPED.values(), INSTRUCTIONS, 500)


def test_prompt_is_the_papers_template() -> None:
    assert prompt_text(SAWYER, "open the door") == (
        "The robot is sawyer with single arm. The control frequency is 20 Hz. "
        "Please predict the next 8 control actions to execute the following task: open the door."
    )


@given(st.text(max_size=60))
def test_any_text_survives_the_tokenizer(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER.encode(text, add_special_tokens=False).ids, skip_special_tokens=False) == text


def test_images_come_first_each_within_its_view_tokens() -> None:
    encoder = PromptEncoder(TOKENIZER, "images_first")
    row = encoder.encode(CAR, "go", [4])
    image = encoder.token(IMAGE_TOKEN)
    assert row[0] == encoder.token("<|ego_start|>")
    assert row[2:6] == [image] * 4
    assert row[7] == encoder.token("<|ego_end|>")
    assert image not in row[8:]
    assert encoder.encode(CAR, "go", []) == row[8:]
    assert PromptEncoder(TOKENIZER, "prompt_first").encode(CAR, "go", [4]) == row[8:] + row[:8]


def test_a_known_prompt_is_short() -> None:
    assert len(PromptEncoder(TOKENIZER, "images_first").encode(SAWYER, "open the door", [])) < 25


@given(st.sampled_from(special_tokens(["ego"])), st.text(max_size=10), st.text(max_size=10))
def test_no_text_of_a_robot_becomes_an_image_or_an_end(token: str, before: str, after: str) -> None:
    """One such prompt ended the answers of all robots in its batch."""
    encoder = PromptEncoder(TOKENIZER, "images_first")
    reserved = {encoder.token(special) for special in special_tokens(["ego"])}
    words = encoder.encode(CAR, before + token + after, [])
    assert reserved.isdisjoint(words)
    assert TOKENIZER.decode(words, skip_special_tokens=False) == prompt_text(CAR, before + token + after)


def test_reading_prompts_leaves_the_policys_tokenizer_alone() -> None:
    written = TOKENIZER.to_str()
    PromptEncoder(TOKENIZER, "images_first").encode(CAR, "go", [])
    assert TOKENIZER.to_str() == written
    assert not TOKENIZER.encode_special_tokens
