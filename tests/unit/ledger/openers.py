"""`python -m tests.unit.ledger.openers FOLDER ROUNDS`: new ledgers, each opened by four processes at one moment. Prints
how many of them were refused."""

import multiprocessing
import sys
from multiprocessing.synchronize import Barrier

from volano.errors import LedgerError
from volano.ledger.ledger import open_ledger

_TOGETHER = 4


def open_all(folder: str, rounds: int, moment: Barrier) -> None:
    """Open each of them when everybody does; ends with how many were refused."""
    refused = 0
    for number in range(rounds):
        moment.wait()
        try:
            open_ledger(f"sqlite:///{folder}/{number}.db").close()
        except LedgerError:
            refused += 1
    sys.exit(refused)


def main() -> None:
    """Start them, and add up."""
    context = multiprocessing.get_context("fork")
    moment = context.Barrier(_TOGETHER)
    processes = [
        context.Process(target=open_all, args=(sys.argv[1], int(sys.argv[2]), moment)) for _ in range(_TOGETHER)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    sys.stdout.write(f"{sum(process.exitcode or 0 for process in processes)}\n")


if __name__ == "__main__":
    main()
