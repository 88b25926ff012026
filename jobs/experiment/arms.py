"""The arms of the ablations: what each changes of the base recipe, what it learns from, and what the paper says of it.

Every arm is a function of the base configuration, so that arms differ in what they name and in nothing else.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from volano.errors import Code, ConfigError
from volano.train.config import RunConfig, StageConfig
from volano.train.sets import LANGUAGE_ACTION

HELD_OUT = "glider"
"""The embodiment that some arms do not learn from: scout shares its world, but neither its channels nor its rate."""


def _same(config: RunConfig) -> RunConfig:
    return config


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One training of the experiment, repeated with several seeds."""

    name: str
    change: Callable[[RunConfig], RunConfig] = _same
    learns: tuple[str, ...] = ()
    """Embodiments that it learns from; empty takes all."""
    plays: tuple[str, ...] = ()
    """Embodiments that it is evaluated on; empty takes those that it learns from."""
    shots: int = 0
    """Episodes of what it learns from; 0 takes all."""
    parent: str = ""
    """The arm whose policy of the same seed it starts from."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A direction that the paper reports: the first arm does better than the second."""

    says: str
    better: str
    worse: str
    plays: tuple[str, ...] = ()
    """Embodiments whose mean success is compared; empty takes all that both played."""


def arms(tags: Sequence[str], base: RunConfig) -> dict[str, Arm]:
    """Every arm for a dataset with these embodiments, in an order in which parents come first."""
    others = tuple(tag for tag in tags if tag != HELD_OUT)
    found = [
        Arm(name="base"),
        Arm(name="no_t2a", change=lambda config: replace(config, stages=config.stages[1:])),
        *_by_corpus(base),
        Arm(name="constant_prompt", change=lambda config: _model(config, prompt="constant")),
        Arm(name="unmasked_loss", change=_unmasked),
        Arm(name="t2a_beta", change=lambda config: _stage(config, 0, tau="beta_clean")),
        Arm(name="sft_logit_normal", change=lambda config: _stage(config, -1, tau="logit_normal")),
        Arm(name="sft_beta_clean", change=lambda config: _stage(config, -1, tau="beta_clean")),
        *(Arm(name=f"specialist_{tag}", change=_specialist(tag, base), learns=(tag,)) for tag in tags),
        Arm(name="held_out", change=_among(others), learns=others, plays=(HELD_OUT,)),
        *(
            Arm(name=f"few_shot_{shots}", change=_few_shot, learns=(HELD_OUT,), shots=shots, parent="held_out")
            for shots in (5, 20)
        ),
        Arm(name="scratch_20", change=_few_shot, learns=(HELD_OUT,), shots=20),
    ]
    return {arm.name: arm for arm in found}


def select(known: Mapping[str, Arm], names: str) -> dict[str, Arm]:
    """Of all arms those named, with commas between, and the arms that they start from; empty takes all. Raises
    ConfigError(E-CONFIG-003) for one that there is not."""
    if not names:
        return dict(known)
    wanted = set(names.split(","))
    if absent := sorted(wanted - known.keys()):
        raise ConfigError(Code.CONFIG_VALUE, f"there is no arm {absent[0]!r}", f"arms: {', '.join(known)}")
    wanted |= {known[name].parent for name in wanted}
    return {name: arm for name, arm in known.items() if name in wanted}


def _by_corpus(base: RunConfig) -> list[Arm]:
    """T2A on the robots' own episodes alone and on the synthetic corpus alone, where the base mixes them."""
    if not base.corpus.trajectories:
        return []
    return [
        Arm(name="t2a_real", change=lambda config: _stage(config, 0, mixture={})),
        Arm(name="t2a_synthetic", change=lambda config: _stage(config, 0, mixture={LANGUAGE_ACTION: 1.0})),
    ]


CLAIMS = (
    Claim(says="T2A before fine-tuning helps", better="base", worse="no_t2a"),
    Claim(says="T2A with a fifth of synthetic motions is better than without", better="base", worse="t2a_real"),
    Claim(
        says="T2A with a fifth of synthetic motions is better than with these alone",
        better="base",
        worse="t2a_synthetic",
    ),
    Claim(says="T2A on synthetic motions alone is better than none", better="t2a_synthetic", worse="no_t2a"),
    Claim(says="T2A on the robots' own motions alone is worse than none", better="no_t2a", worse="t2a_real"),
    Claim(says="the embodiment prompt helps", better="base", worse="constant_prompt"),
    Claim(says="the masked loss helps", better="base", worse="unmasked_loss"),
    Claim(says="in T2A, logit-normal is better than Beta", better="base", worse="t2a_beta"),
    Claim(says="in fine-tuning, Beta is better than logit-normal", better="base", worse="sft_logit_normal"),
    Claim(says="Beta dense at the noisy end is better than at the clean end", better="base", worse="sft_beta_clean"),
    Claim(says="20 episodes of a new robot are better than 5", better="few_shot_20", worse="few_shot_5"),
    Claim(says="5 episodes of a new robot are better than its prompt alone", better="few_shot_5", worse="held_out"),
    Claim(says="other robots' data help a new robot", better="few_shot_20", worse="scratch_20"),
)


def _stage(config: RunConfig, number: int, **changes: object) -> RunConfig:
    stages = list(config.stages)
    stages[number] = replace(stages[number], **changes)  # type: ignore[arg-type]
    return replace(config, stages=tuple(stages))


def _model(config: RunConfig, **changes: object) -> RunConfig:
    return replace(config, model=replace(config.model, **changes))  # type: ignore[arg-type]


def _unmasked(config: RunConfig) -> RunConfig:
    return _model(config, flow=replace(config.model.flow, mask_loss=False))


def _among(tags: Sequence[str]) -> Callable[[RunConfig], RunConfig]:
    """Shares of these embodiments as in the base, among themselves."""

    def change(config: RunConfig) -> RunConfig:
        return replace(config, stages=tuple(_share(stage, tags) for stage in config.stages))

    return change


def _share(stage: StageConfig, tags: Sequence[str]) -> StageConfig:
    shares: Mapping[str, float] = stage.shares
    return replace(stage, shares={tag: share for tag, share in shares.items() if tag in tags})


def _specialist(tag: str, base: RunConfig) -> Callable[[RunConfig], RunConfig]:
    """As many steps as the base spends on this robot: all specialists together take as many as the generalist; and it
    learns from no other arm's motions."""

    def change(config: RunConfig) -> RunConfig:
        stages = []
        for stage, of_base in zip(config.stages, base.stages, strict=True):
            shares = of_base.shares or {}
            part = shares[tag] / sum(shares.values()) if shares else 1 / 4
            alone = replace(_share(stage, (tag,)), mixture={})
            stages.append(replace(alone, steps=max(1, round(part * stage.steps))))
        return replace(config, stages=tuple(stages))

    return change


def _few_shot(config: RunConfig) -> RunConfig:
    """A quarter of the fine-tuning, on one robot; the same whether it starts from another arm's policy or not."""
    stage = _share(config.stages[-1], (HELD_OUT,))
    return replace(config, stages=(replace(stage, steps=max(1, stage.steps // 4)),))
