"""Each defect gets its own code, and clean episodes get none."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.data.bundles import (
    ARM,
    KNOWN,
    ROVER,
    Draft,
    claims_with,
    columns,
    encode,
    manifest_of,
    write_bundle,
    write_steps,
)
from tests.unit.data.defects import DEFECTS, one_damaged_bit
from tests.unit.data.trajectories import MOTIONS, Motion
from volano.data.episode import STEPS_FILE, Manifest, video_file
from volano.data.finding import Finding
from volano.data.text import strict_json
from volano.data.validate import check_bundle, check_claims
from volano.data.validate_video import read_video
from volano.data.video import decode
from volano.embodiment.contract import Embodiment
from volano.embodiment.shipped import SHIPPED
from volano.errors import Code, DataError


def check(folder: Path, manifest: Manifest) -> Finding | None:
    """What the gate says of a bundle that is sent as the draft's attempt."""
    try:
        manifest = Manifest.from_json(strict_json(manifest.to_bytes()))
    except DataError as error:
        return Finding.of(error.code, error.cause)
    claims = check_claims(manifest, f"uploads/{Draft.robot}/{manifest.attempt}.json", KNOWN)
    return claims or check_bundle(folder, manifest, KNOWN[manifest.fingerprint])


@pytest.mark.parametrize("frames", [2, 3, 40])
@pytest.mark.parametrize("options", [(), (("bf", "3"), ("g", "250")), (("preset", "slow"), ("crf", "40"))])
def test_clean_episodes_have_no_finding(tmp_path: Path, frames: int, options: tuple[tuple[str, str], ...]) -> None:
    folder = tmp_path / "bundle"
    manifest = write_bundle(folder, Draft(frames=frames, video_options=options))
    assert check(folder, manifest) is None


@pytest.mark.parametrize("robot", [*SHIPPED.values(), ROVER, ARM], ids=lambda robot: robot.tag)
@pytest.mark.parametrize("motion", MOTIONS[1:])
def test_what_sound_robots_do_has_no_finding(tmp_path: Path, robot: Embodiment, motion: Motion) -> None:
    for seed, frames in enumerate((6, 40)):
        folder = tmp_path / str(seed)
        draft = Draft(embodiment=robot, motion=motion, frames=frames, seed=seed)
        manifest = write_bundle(folder, draft)
        assert check_bundle(folder, manifest, robot) is None, f"{frames} frames"


SHAPES = (
    Draft(),
    Draft(seed=1, frames=33, motion="driven", video_options=(("bf", "3"), ("g", "250"))),
)
"""`benchmarks.gate` goes through many more."""


@pytest.mark.parametrize("name", sorted(DEFECTS))
def test_defect_has_its_code(tmp_path: Path, name: str) -> None:
    code, write = DEFECTS[name]
    for draft in SHAPES:
        folder = tmp_path / str(draft.seed)
        finding = check(folder, write(folder, draft))
        assert finding is not None, f"the defect was not noticed in {draft}"
        assert finding.code == code, (draft, finding)


def test_a_damaged_bit_is_noticed_where_it_breaks_the_stream(tmp_path: Path) -> None:
    finding = check(tmp_path / "bundle", one_damaged_bit(tmp_path / "bundle", Draft()))
    assert finding is not None
    assert finding.code == Code.DATA_TRUNCATED_VIDEO


def test_every_code_that_an_upload_can_get_has_a_generator() -> None:
    """But those that need more than one upload, a dead checking process, or are no upload's: commands say those from
    060 on."""
    elsewhere = {
        Code.DATA_DUPLICATE,
        Code.DATA_DECODER,
        Code.DATA_VERSION,
        Code.DATA_CONSERVATION,
        Code.DATA_ATTEMPT,
    }
    generated = {code for code, _ in DEFECTS.values()}
    assert generated == {code for code in Code if "E-DATA-" < code < "E-DATA-060"} - elsewhere
    assert len(generated) >= 30


@pytest.mark.parametrize("robot", ["rover-02", "../rover-01"])
def test_a_manifest_under_another_robots_key_is_refused(tmp_path: Path, robot: str) -> None:
    manifest = write_bundle(tmp_path / "bundle", Draft())
    finding = check_claims(manifest, f"uploads/{robot}/{manifest.attempt}.json", KNOWN)
    assert finding is not None
    assert finding.code == Code.DATA_ROBOT


def test_the_first_finding_wins_in_a_fixed_order(tmp_path: Path) -> None:
    """A NaN and a truncated video: the table is looked at first."""
    _, truncate = DEFECTS["truncated video"]
    manifest = truncate(tmp_path / "bundle", Draft())
    table = columns(Draft())
    table["action"][0, 0] = float("nan")
    write_steps(tmp_path / "bundle" / STEPS_FILE, table, ROVER)
    finding = check(tmp_path / "bundle", manifest_of(tmp_path / "bundle", Draft()))
    assert finding is not None
    assert finding.code == Code.DATA_NOT_FINITE
    assert check(tmp_path / "bundle", claims_with(manifest, instruction="")) == Finding.of(
        Code.DATA_LANGUAGE, "the instruction is empty"
    )


def spoiled(folder: Path, draft: Draft, spoil: Callable[[dict[str, Any]], None]) -> Finding | None:
    """What the gate says of a draft's bundle whose columns were changed in place."""
    write_bundle(folder, draft)
    table = columns(draft)
    spoil(table)
    write_steps(folder / STEPS_FILE, table, draft.embodiment)
    return check(folder, manifest_of(folder, draft))


def test_a_gripper_that_holds_something_is_not_stuck(tmp_path: Path) -> None:
    def hold(table: dict[str, Any]) -> None:
        table["state"][:, 3] = 0.6
        table["action"][:, 3] = np.linspace(0.5, 0.0, 60)

    assert spoiled(tmp_path / "bundle", Draft(embodiment=ARM, motion="driven", frames=60), hold) is None


@pytest.mark.parametrize("value", [ARM.hold, tuple(channel.high for channel in ARM.action)])
def test_what_a_policy_commands_is_behaviour_and_what_an_expert_commands_is_data(
    tmp_path: Path, value: tuple[float, ...]
) -> None:
    draft = Draft(embodiment=ARM, motion="driven", frames=40)

    def by_policy(table: dict[str, Any]) -> None:
        table["action"][: draft.frames // 2] = value

    def by_expert(table: dict[str, Any]) -> None:
        table["action"][draft.frames // 2 :] = value

    assert spoiled(tmp_path / "policy", draft, by_policy) is None
    assert spoiled(tmp_path / "expert", draft, by_expert) is not None


def test_a_pause_before_a_new_answer_is_no_dropped_tick(tmp_path: Path) -> None:
    draft = Draft(frames=40)

    def think(table: dict[str, Any]) -> None:
        half = draft.frames // 2
        table["timestamp"] = [time + 0.1 * (min(row, half) // 4) for row, time in enumerate(table["timestamp"])]
        table["request"] = [f"r{row // 4}" if row < half else "" for row in range(draft.frames)]

    def skip(table: dict[str, Any]) -> None:
        table["timestamp"] = [time + 0.1 * (row // 4) for row, time in enumerate(table["timestamp"])]

    assert spoiled(tmp_path / "thinks", draft, think) is None
    finding = spoiled(tmp_path / "skips", draft, skip)
    assert finding is not None
    assert finding.code == Code.DATA_DROPPED_TICKS


def test_an_angle_that_passes_half_a_turn_does_not_leap(tmp_path: Path) -> None:
    def turn(table: dict[str, Any]) -> None:
        table["state"][:, 0] = 3.12 * np.array([1, -1] * 20)

    assert spoiled(tmp_path / "bundle", Draft(embodiment=ARM, motion="driven", frames=40), turn) is None


@pytest.mark.parametrize("group", ["1", "2", "15"])
def test_a_faint_slow_picture_is_not_repeated_however_often_it_is_coded_anew(tmp_path: Path, group: str) -> None:
    draft = Draft(embodiment=ARM, motion="driven", frames=40)
    write_bundle(tmp_path / "bundle", draft)
    hills = 110 + 6 * np.sin(np.add.outer(np.arange(64), np.arange(104)) / 6)
    seen = [np.repeat(hills[:, k : k + 64, None], 3, axis=2).astype(np.uint8) for k in range(40)]
    encode(tmp_path / "bundle" / video_file("left"), seen, rate=20, options={"g": group})
    assert check(tmp_path / "bundle", manifest_of(tmp_path / "bundle", draft)) is None


@pytest.mark.parametrize("group", ["1", "2", "15"])
def test_a_frozen_camera_is_seen_however_often_it_is_coded_anew(tmp_path: Path, group: str) -> None:
    code, write = DEFECTS["frozen camera"]
    finding = check(tmp_path / "bundle", write(tmp_path / "bundle", Draft(frames=40, video_options=(("g", group),))))
    assert finding is not None
    assert finding.code == code


def test_a_small_overshoot_of_a_limit_is_tolerated(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", Draft())
    table = columns(Draft())
    table["action"][0, 0] = 1.015
    write_steps(tmp_path / "bundle" / STEPS_FILE, table, ROVER)
    assert check(tmp_path / "bundle", manifest_of(tmp_path / "bundle", Draft())) is None


def test_evidence_is_short_and_printable() -> None:
    finding = Finding.of(Code.DATA_SCHEMA, "\x1b[31m\n" + "x" * 10_000)
    assert finding.evidence.isprintable()
    assert len(finding.evidence) == 300


@pytest.mark.parametrize("frames", [3, 14, 40])
def test_a_video_cut_anywhere_is_truncated_or_loses_nothing(tmp_path: Path, frames: int) -> None:
    folder = tmp_path / "bundle"
    write_bundle(folder, Draft(frames=frames))
    path, camera = folder / video_file("ego"), ROVER.cameras[0]
    whole = path.read_bytes()
    for size in range(0, len(whole), max(1, len(whole) // 150)):
        path.write_bytes(whole[:size])
        finding = read_video(path, camera, frames=frames)
        if not isinstance(finding, Finding):  # only a comment at the end was lost
            assert len(list(decode(path))) == frames, f"{size} of {len(whole)} bytes pass"
        else:
            assert finding.code == Code.DATA_TRUNCATED_VIDEO, f"{size} of {len(whole)} bytes: {finding}"
