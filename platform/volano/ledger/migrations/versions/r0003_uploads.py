"""What a door for uploads counts: the bytes that each robot was allowed to send."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision: str | None = "0002"


def upgrade() -> None:
    """Make the table; those of before stay as they are."""
    op.create_table(
        "upload_grants",
        sa.Column("robot", sa.Text(), primary_key=True),
        sa.Column("manifest", sa.Text(), primary_key=True),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.Float(53), nullable=False),
    )
    op.create_index("upload_grants_at", "upload_grants", ["robot", "at"])


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("upload_grants")
