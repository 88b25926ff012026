"""How an application ends on an expected failure: its code, cause and fix in the log, and its own exit status."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from volano.errors import VolanoError


@contextmanager
def coded_ending(logger: logging.Logger) -> Iterator[None]:
    """End the process when a VolanoError leaves the block; a code, a cause and a fix say more than a traceback."""
    try:
        yield
    except VolanoError as error:
        logger.error("%s", error)  # noqa: TRY400 - see above
        sys.exit(error.exit_code)
