"""Alembic's entry: runs revisions on the connection, and in the transaction, that `migrate` opened."""

from alembic import context

from volano.ledger.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transactional_ddl=True,
)
context.run_migrations()
