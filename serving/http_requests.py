"""What every HTTP door asks of a request: its body, within limits."""

import asyncio

from starlette.requests import Request

from volano.errors import Code, WireError


async def body_of(request: Request, limit: int, patience_s: float, too_large: Code) -> bytes:
    """A request's body. Raises WireError: `too_large` before more than `limit` bytes are read, E-WIRE-001 when no
    length is stated or it takes more than `patience_s` seconds to come."""
    length = request.headers.get("Content-Length", "")
    if not length.isdecimal():
        raise WireError(Code.WIRE_FRAME, "the body's length is not stated", "send Content-Length")
    large = WireError(too_large, f"the body has more than {limit} bytes", "send less")
    if len(length) > 12 or int(length) > limit:
        raise large
    found = bytearray()
    try:
        async with asyncio.timeout(patience_s):
            async for piece in request.stream():
                found += piece
                if len(found) > limit:
                    raise large
    except TimeoutError as error:
        raise WireError(Code.WIRE_FRAME, "the body came too slowly", "send it again") from error
    return bytes(found)
