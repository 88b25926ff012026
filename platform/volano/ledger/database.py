"""The ledger's database: SQLite in write-ahead mode, where a commit that returned survives a power cut.

Writers take the write lock when they begin, so a transaction never fails half-way for another's sake; who waits longer
than the busy time-out gets E-LEDGER-003. Migrations run in one transaction: all of them, or none.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError
from sqlalchemy.pool import ConnectionPoolEntry

from volano.errors import Code, LedgerError

HEAD = "0003"
"""The newest revision, which this code reads and writes."""
_BUSY_MS = 15_000
_WRITES = {"volano_writes": True}


def connect(url: str) -> Engine:
    """Engine of a `sqlite:///path` URL, whose folder is made; raises LedgerError(E-LEDGER-003) for any other."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise _unavailable(f"{url!r} is no database URL") from error
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        raise _unavailable(f"{parsed.render_as_string()!r} is not a SQLite file")
    with translated(), suppress(FileExistsError):
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    try:
        engine = create_engine(parsed)
    except ArgumentError as error:
        raise _unavailable(f"{parsed.render_as_string()!r} is not a SQLite file") from error
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def writing(engine: Engine) -> Engine:
    """The same engine, whose transactions take the write lock at once."""
    return engine.execution_options(**_WRITES)


def migrate(engine: Engine) -> None:
    """Bring the database to this code's revision; raises LedgerError(E-LEDGER-001) when it is already past it."""
    with translated():
        with engine.connect() as connection:
            if _revision(connection) == HEAD:
                return
        with writing(engine).begin() as connection:
            _upgrade(connection)


@contextmanager
def translated() -> Iterator[None]:
    """Database errors as LedgerError: E-LEDGER-001 for a broken constraint or a text that is none, E-LEDGER-003 for all
    others."""
    try:
        yield
    except IntegrityError as error:
        raise LedgerError(
            Code.LEDGER_STATE, f"the ledger already holds another such row: {error.orig}", "choose another name or key"
        ) from error
    except UnicodeEncodeError as error:
        raise LedgerError(Code.LEDGER_STATE, f"{error.object!r} is not a text", "choose another name") from error
    except (DBAPIError, OSError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        raise _unavailable(str(cause)) from error


def _prepare(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
    del entry
    connection.isolation_level = None  # transactions begin where `_begin` says, not where the driver guesses
    cursor = connection.cursor()
    for setting in (f"busy_timeout={_BUSY_MS}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {setting}")
    cursor.close()


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().keys() >= _WRITES.keys()
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise LedgerError(
            Code.LEDGER_STATE,
            f"the ledger is at revision {_revision(connection)!r}, which this Volano does not know: {error}",
            "use the Volano that wrote it, or a newer one",
        ) from error


def _unavailable(cause: str) -> LedgerError:
    return LedgerError(
        Code.LEDGER_UNAVAILABLE,
        f"the ledger cannot be used: {cause}",
        "check the URL (sqlite:///path), free space and who holds the file, then repeat",
    )
