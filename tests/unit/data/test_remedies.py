"""What is said about a finding is what the documents say, and little may be overruled."""

from pathlib import Path

import pytest

from tests.unit.data.defects import DEFECTS
from volano.data.remedies import REMEDIES, remedy, require_overrulable
from volano.errors import Code, DataError

JUDGED = {Code.DATA_LIMITS, Code.DATA_CLOCK, Code.DATA_CLOCK_JITTER, Code.DATA_DROPPED_TICKS, Code.DATA_FROZEN_CAMERA}
JUDGED |= {Code.DATA_REPEATED_FRAMES, Code.DATA_BLACK_IMAGE, Code.DATA_WHITE_IMAGE, Code.DATA_FLAT_IMAGE}
JUDGED |= {Code.DATA_SAME_PICTURES, Code.DATA_SATURATED, Code.DATA_STUCK_CHANNEL, Code.DATA_NO_MOTION}
JUDGED |= {Code.DATA_DEAD_ACTIONS, Code.DATA_CHANNEL_ORDER, Code.DATA_SPIKE, Code.DATA_REPEATED_ROWS}
OPERATING = Path(__file__).parents[3] / "docs" / "operating.md"


def test_every_defect_has_a_remedy() -> None:
    assert {code for code, _ in DEFECTS.values()} <= set(REMEDIES)


@pytest.mark.parametrize("code", REMEDIES)
def test_people_read_the_same_in_the_documents(code: Code) -> None:
    assert f"| `{code}` | {REMEDIES[code].means} |" in OPERATING.read_text()


def test_only_judgements_may_be_overruled() -> None:
    allowed = {code for code in Code if remedy(code).overrulable}
    assert allowed == JUDGED
    assert {require_overrulable(str(code)) for code in allowed} == allowed
    for code in ("E-DATA-003", "E-DATA-999", "", "nonsense"):
        with pytest.raises(DataError, match="E-DATA-070"):
            require_overrulable(code)
