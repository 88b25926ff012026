"""A lock that somebody else holds is waited for a while, and then given up with a code."""

from pathlib import Path

import pytest

from volano.errors import Code, SystemMissingError
from volano.storage.files import wait_for_lock


def test_a_lock_that_is_never_given_back_is_given_up_with_a_code(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with path.open("ab") as first:
        wait_for_lock(first, 0.0)
        with path.open("ab") as second, pytest.raises(SystemMissingError, match="lock") as refused:
            wait_for_lock(second, 0.2)
        assert refused.value.code is Code.SYSTEM_OCCUPIED
    with path.open("ab") as third:
        wait_for_lock(third, 0.0)
