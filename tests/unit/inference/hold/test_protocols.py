"""What clients of each protocol see of a stop: its code, in their protocol's words, and their connection stays."""

import pytest

from serving.dialects import DIALECTS
from volano.errors import Code, ServeError
from volano.inference.protocols.dialect import Dialect
from volano.inference.protocols.gr00t import Gr00t
from volano.inference.protocols.gr00t_http import Gr00tHttp

SPOKEN: dict[str, Dialect] = {**DIALECTS, "gr00t": Gr00t(modality_text=False), "gr00t-http": Gr00tHttp()}


@pytest.mark.parametrize("name", SPOKEN)
def test_a_stop_is_told_and_ends_no_talk(name: str) -> None:
    dialect = SPOKEN[name]
    reply = dialect.refuse(ServeError(Code.HOLD_STOPPED, "stopped by ada: smoke (every robot)", "wait"), None)
    assert reply.ends == ""
    assert reply.frame is not None
    said = reply.frame if isinstance(reply.frame, bytes) else reply.frame.encode()
    for told in (b"E-HOLD-001", b"hold", b"stopped by ada: smoke"):
        assert told in said
