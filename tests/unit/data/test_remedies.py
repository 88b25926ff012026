"""What is said about a finding is what the documents say, and little may be overruled."""

from pathlib import Path

import pytest

from tests.unit.data.defects import DEFECTS
from volano.data.remedies import REMEDIES, remedy, require_overrulable
from volano.errors import Code, DataError

OPERATING = Path(__file__).parents[3] / "docs" / "operating.md"


def test_every_defect_has_a_remedy() -> None:
    assert {code for code, _ in DEFECTS.values()} <= set(REMEDIES)


@pytest.mark.parametrize("code", REMEDIES)
def test_people_read_the_same_in_the_documents(code: Code) -> None:
    assert f"| `{code}` | {REMEDIES[code].means} |" in OPERATING.read_text()


def test_only_judgements_may_be_overruled() -> None:
    allowed = {code for code in Code if remedy(code).overrulable}
    assert allowed == {Code.DATA_LIMITS, Code.DATA_CLOCK}
    assert {require_overrulable(str(code)) for code in allowed} == allowed
    for code in ("E-DATA-003", "E-DATA-999", "", "nonsense"):
        with pytest.raises(DataError, match="E-DATA-070"):
            require_overrulable(code)
