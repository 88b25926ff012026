"""Addresses for a store that has no door of its own: the platform takes the bytes itself, and puts them there.

An address is the slot and its end of life, in a text that the platform alone can make: whoever holds it may put exactly
these bytes there until then, as with a presigned URL of S3. It ends with the process that made it; robots ask again.
"""

import base64
import hashlib
import hmac
import json
from dataclasses import asdict

from volano.errors import Code, WireError
from volano.storage.content import canonical_json
from volano.storage.parts import Slot


class Relay:
    """Makes and reads addresses with one secret."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def path(self, robot: str, slot: Slot, until: float) -> str:
        """The path to PUT a slot's bytes to, for a robot; good until then, in Unix seconds."""
        text = base64.urlsafe_b64encode(canonical_json({"robot": robot, "slot": asdict(slot), "until": until}))
        return f"/pieces/{text.decode()}.{self._mark(text)}"

    def read(self, token: str, now: float) -> tuple[str, Slot]:
        """The robot and the slot of a path's last part. Raises WireError(E-WIRE-002) when it was not made here, or is
        too old at `now`."""
        text, _, mark = token.partition(".")
        if not hmac.compare_digest(self._mark(text.encode()).encode(), mark.encode()):
            raise WireError(Code.WIRE_AUTH, "this address was not made here", "ask for a new one")
        found = json.loads(base64.urlsafe_b64decode(text))
        if now > found["until"]:
            raise WireError(Code.WIRE_AUTH, "this address is too old", "ask for a new one")
        return found["robot"], Slot(**found["slot"])

    def _mark(self, text: bytes) -> str:
        return hmac.new(self._secret, text, hashlib.sha256).hexdigest()
