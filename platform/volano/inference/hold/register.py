"""The register of orders: one file beside a gateway or on a robot, durable, and readable when nothing else runs.

A line is an order with its envelope, chained by hashes like the ledger's audit. Orders are only ever added; a line that
a crash cut off was never acknowledged and is written over. A register that was changed otherwise holds every robot: who
cannot know whether there is a stop has to assume one. Threads and processes may share the file.
"""

import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from volano.data.text import strict_object
from volano.errors import Code, HoldError, LedgerError
from volano.inference.hold.state import Holds, Order, Stop, Subject, order_from_json, order_to_json
from volano.ledger.audit import AuditRow, following, verify
from volano.storage.content import canonical_json
from volano.storage.files import sync_folder, wait_for_lock, write_all

REGISTER = "holds.jsonl"
STOPPED, RESUMED = "hold.stopped", "hold.resumed"
_PATIENCE_S = 5.0


class HoldRegister:
    """The orders in a file; with no path, in memory until this object ends."""

    def __init__(self, path: Path | None = None, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives Unix time in seconds, for the rows."""
        self._path = path
        self._clock = clock
        self._lock = threading.RLock()
        self._seen: tuple[int, int, int] | None = None
        self._rows: tuple[AuditRow, ...] = ()
        self.holds = Holds()
        """What is known; a stop that could not be written is in force as well while this process lives."""
        self.damage = ""
        """Why the file cannot be believed; every robot stands still then."""
        self.refresh()

    @property
    def rows(self) -> tuple[AuditRow, ...]:
        """Every order as it was written, oldest first."""
        return self._rows

    def reason(self, subject: Subject) -> str:
        """Why a robot has to stand still; empty when it may act."""
        return self.damage or self.holds.reason(subject)

    def refresh(self) -> bool:
        """Read what others wrote; whether anything is new. Nothing that was known is forgotten. Never waits: while an
        order is being written, the next look finds it."""
        if self._path is None or not self._lock.acquire(blocking=False):
            return False
        try:
            return self._look(self._path)
        finally:
            self._lock.release()

    def _look(self, path: Path) -> bool:
        try:
            status = os.stat(path)
        except FileNotFoundError:
            return self._seen is not None and self._distrust("the register of orders was removed")
        except OSError as error:
            return self._distrust(f"the register of orders cannot be read: {error.strerror}")
        seen = (status.st_ino, status.st_size, status.st_mtime_ns)
        if seen == self._seen:
            return False
        self._seen = seen
        return self._read(path)

    def apply(self, order: Order, envelope: bytes) -> bool:
        """Obey an order that was verified, and make it durable; whether it is new. A stop holds before it is written,
        a resume lifts nothing before. Raises HoldError(E-HOLD-004) when it cannot be written, SystemMissingError when
        another process keeps the file."""
        with self._lock:
            if isinstance(order, Stop) and not self.damage:
                self.holds = self.holds.after(order)
            try:
                return self._append(order, envelope)
            except OSError as error:
                raise _unwritten(error.strerror or str(error)) from error

    def _append(self, order: Order, envelope: bytes) -> bool:
        if self._path is None:
            known = any(json.loads(row.payload)["order"]["id"] == order.id for row in self._rows)
            if not known:
                self._rows = (*self._rows, self._row(order, envelope))
                self.holds = self.holds.after(order)
            return not known
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.with_suffix(".lock").open("ab") as lock:
            wait_for_lock(lock, _PATIENCE_S)
            self.refresh()
            if self.damage:
                raise _unwritten(self.damage)
            if any(json.loads(row.payload)["order"]["id"] == order.id for row in self._rows):
                return False
            row = self._row(order, envelope)
            self._write(self._path, canonical_json(asdict(row)) + b"\n")
            self.refresh()
        return True

    def _row(self, order: Order, envelope: bytes) -> AuditRow:
        payload = canonical_json({"order": order_to_json(order), "envelope": json.loads(envelope)}).decode()
        kind = STOPPED if isinstance(order, Stop) else RESUMED
        return following(self._rows[-1] if self._rows else None, self._clock(), kind, order.by, payload)

    def _write(self, path: Path, line: bytes) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            whole = sum(len(canonical_json(asdict(row))) + 1 for row in self._rows)
            os.ftruncate(descriptor, whole)
            os.lseek(descriptor, whole, os.SEEK_SET)
            write_all(descriptor, line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        sync_folder(path.parent)

    def _read(self, path: Path) -> bool:
        """Whole lines alone: what has no end was never acknowledged."""
        try:
            lines = path.read_bytes().split(b"\n")[:-1]
            rows = tuple(AuditRow(**strict_object(line)) for line in lines)
            verify(rows)
            orders = [order_from_json(strict_object(row.payload.encode()).get("order")) for row in rows]
        except OSError as error:
            return self._distrust(f"the register of orders cannot be read: {error.strerror}")
        except (HoldError, LedgerError, AttributeError, KeyError, TypeError, ValueError) as error:
            return self._distrust(f"the register of orders was changed: {error}".split("\n")[0])
        if rows[: len(self._rows)] != self._rows:
            return self._distrust("orders are gone from the register")
        before, self._rows = self.holds, rows
        for order in orders:
            self.holds = self.holds.after(order)
        return self.holds != before

    def _distrust(self, why: str) -> bool:
        new, self.damage = self.damage != why, why
        return new


def _unwritten(cause: str) -> HoldError:
    return HoldError(
        Code.HOLD_REGISTER,
        f"the order is obeyed by what runs, and not written down: {cause}",
        "free space or move the damaged register aside, then give every stop that is to stand once more",
    )
