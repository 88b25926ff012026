"""The ledger's database: a SQLite file in write-ahead mode, or Postgres; a commit that returned survives a power cut.

Writers take the one write lock when they begin, so a transaction never fails half-way for another's sake, and what they
read is what the writer before them left; who waits longer than the busy time-out gets E-LEDGER-003. Readers see one
moment and block nobody. Migrations run in one transaction: all of them, or none.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as NoConnectionError
from sqlalchemy.pool import ConnectionPoolEntry

from volano.errors import Code, LedgerError

HEAD = "0005"
"""The newest revision, which this code reads and writes."""
_BUSY_MS, _LOOK_S = 15_000, 0.01
_IDLE_MS = 60_000
"""After which Postgres ends a transaction whose process no longer asks anything, and gives its lock back."""
_CONNECT_S = 10
_LOCK = 0x766F6C616E6F
"""Number of the one lock that every writer of a Postgres ledger takes."""
_DURABLE = (
    """SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"""
)
"""What waits for more than the server's own disk stays as it is."""
_WRITES = {"volano_writes": True}


def connect(url: str) -> Engine:
    """Engine of a `sqlite:///path` URL, whose folder is made, or of a `postgresql://user:password@host/database` one;
    raises LedgerError(E-LEDGER-003) for any other. Of Postgres nothing is asked yet."""
    try:
        parsed = make_url(url)
        match parsed.get_backend_name():
            case "sqlite" if parsed.database and parsed.database != ":memory:":
                return _sqlite(parsed)
            case "postgresql":
                return _postgres(parsed)
    except ArgumentError as error:
        raise _unavailable(f"{url.partition('://')[0]!r} begins no URL of a database") from error
    raise _unavailable(f"{parsed.render_as_string()!r} is neither a SQLite file nor Postgres")


def _sqlite(url: URL) -> Engine:
    with translated(), suppress(FileExistsError):
        Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _postgres(url: URL) -> Engine:
    """Connections that were lost are seen before they are used, so a server may be started again."""
    settings = {"lock_timeout": _BUSY_MS, "idle_in_transaction_session_timeout": _IDLE_MS, "timezone": "UTC"}
    arguments = {
        "connect_timeout": _CONNECT_S,
        "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
        "application_name": "volano",
    }
    engine = create_engine(url.set(drivername="postgresql+psycopg"), pool_pre_ping=True, connect_args=arguments)
    event.listen(engine, "connect", _prepare_postgres)
    event.listen(engine, "begin", _begin_postgres)
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
    except DataError as error:
        raise LedgerError(Code.LEDGER_STATE, f"the ledger cannot hold this: {error.orig}", "choose another") from error
    except (DBAPIError, NoConnectionError, OSError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        raise _unavailable(str(cause)) from error


def _prepare_sqlite(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
    del entry
    connection.isolation_level = None  # transactions begin where `_begin_sqlite` says, not where the driver guesses
    cursor = connection.cursor()
    for setting in (f"busy_timeout={_BUSY_MS}", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {setting}")
    _write_ahead(cursor)
    cursor.close()


def _write_ahead(cursor: DBAPICursor) -> None:
    """SQLite does not wait for others, whatever its time-out, where a new file changes the way it is written."""
    until = time.monotonic() + _BUSY_MS / 1000
    while not _is_write_ahead(cursor, last=time.monotonic() > until):
        time.sleep(_LOOK_S)


def _is_write_ahead(cursor: DBAPICursor, *, last: bool) -> bool:
    try:
        cursor.execute("PRAGMA journal_mode=WAL")
    except sqlite3.OperationalError as error:
        if last or error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
            raise
        return False
    return True


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE" if _writes(connection) else "BEGIN")


def _prepare_postgres(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
    del entry
    cursor = connection.cursor()
    cursor.execute(_DURABLE)
    cursor.close()
    connection.commit()


def _begin_postgres(connection: Connection) -> None:
    """Each statement of a writer sees what was committed before it, and after the lock that is all there is."""
    if _writes(connection):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
    else:
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")


def _writes(connection: Connection) -> bool:
    return connection.get_execution_options().keys() >= _WRITES.keys()


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
        "check the URL (sqlite:///path, postgresql://...), free space and who holds the lock, then repeat",
    )
