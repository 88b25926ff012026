"""Questions about pictures: the loss is that of the answers, and the expert learns nothing of it."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.unit.model.tiny import sample, tiny_backbone, tiny_policy
from volano.model.config import BackboneFamily
from volano.model.families import FAMILIES
from volano.model.policy import Policy, TextSample
from volano.model.prompt import PAD_TOKEN


def question(answer: str, *, pictures: int = 1, seed: int = 0) -> TextSample:
    random = np.random.default_rng(seed)
    images = tuple(random.integers(0, 256, (64, 64, 3)).astype(np.uint8) for _ in range(pictures))
    return TextSample(cameras=("ego",) * pictures, images=images, question="what is done?", answer=answer)


def reference(policy: Policy, asked: TextSample) -> float:
    """Of one sample: the whole vocabulary at every position, then the answer's tokens one by one."""
    counts = [policy.backbone.image_tokens(64, 64)] * len(asked.images)
    before, answer = policy.encoder.dialogue(asked.question, asked.answer)
    row = policy.encoder.images(asked.cameras, counts) + before + answer
    batch = policy._prompted([row], asked.images)
    network = policy.backbone.network
    output = policy.backbone._run(batch, every_layer=False)
    logits = network.get_output_embeddings()(output.last_hidden_state)[0].double()
    start = len(row) - len(answer)
    chosen = [F.log_softmax(logits[place - 1], dim=0)[row[place]] for place in range(start, len(row))]
    return -float(torch.stack(chosen).mean())


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_is_that_of_the_answers_tokens_whoever_shares_the_batch(family: BackboneFamily) -> None:
    policy = tiny_policy(backbone=tiny_backbone(family)).eval()
    asked = [question("it opens the door"), question("left", pictures=2, seed=1), question("x" * 30, seed=2)]
    with torch.no_grad():
        together = policy.text_loss(asked)
        expected = torch.tensor([reference(policy, one) for one in asked])
    torch.testing.assert_close(together, expected, atol=1e-5, rtol=1e-5)


def test_an_answer_ends_and_an_empty_one_is_that_it_ends() -> None:
    policy = tiny_policy()
    _, answer = policy.encoder.dialogue("why?", "so")
    assert answer[-1] == policy.encoder.token(PAD_TOKEN)
    assert torch.isfinite(policy.text_loss([question("")])).all()


def test_gradients_reach_the_backbone_and_nothing_of_the_expert() -> None:
    policy = tiny_policy()
    policy.text_loss([question("it opens the door")]).mean().backward()
    assert all(parameter.grad is None for parameter in policy.expert.parameters())
    reached = {name for name, parameter in policy.backbone.named_parameters() if parameter.grad is not None}
    assert reached == {name for name, _ in policy.backbone.named_parameters()}


def test_training_on_questions_makes_answers_likelier() -> None:
    policy = tiny_policy()
    asked = [question("it opens the door"), question("it turns left", seed=1)]
    optimizer = torch.optim.Adam(policy.backbone.parameters(), 3e-3)
    before = float(policy.text_loss(asked).mean().detach())
    for _ in range(40):
        optimizer.zero_grad()
        policy.text_loss(asked).mean().backward()
        optimizer.step()
    assert float(policy.text_loss(asked).mean().detach()) < 0.5 * before
    policy.loss(policy.batch([sample("scout")]), "logit_normal", torch.Generator()).mean().backward()
