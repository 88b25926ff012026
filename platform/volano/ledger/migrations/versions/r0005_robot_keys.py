"""Whose word a robot's reports are: the public half of a key that the robot made."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision: str | None = "0003"


def upgrade() -> None:
    """Make the table; those of before stay as they are."""
    op.create_table(
        "robot_keys",
        sa.Column("robot", sa.Text(), primary_key=True),
        sa.Column("public", sa.Text(), nullable=False),
        sa.Column("since", sa.Float(53), nullable=False),
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("robot_keys")
