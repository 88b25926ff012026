"""What a gateway asks: which policy is current for an embodiment, and which policy an episode was given."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision: str | None = "0001"


def upgrade() -> None:
    """Make the tables; those of before stay as they are."""
    op.create_table(
        "current_policies",
        sa.Column("fingerprint", sa.Text(), primary_key=True),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("since", sa.Float(53), nullable=False),
    )
    op.create_table(
        "assignments",
        sa.Column("robot", sa.Text(), primary_key=True),
        sa.Column("episode", sa.Text(), primary_key=True),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("at", sa.Float(53), nullable=False),
        sa.Column("rollout", sa.Text(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("shadow", sa.Text(), nullable=True),
        sa.Column("arm", sa.Text(), nullable=False),
        sa.Column("counter", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
    )
    op.create_index("assignments_measured", "assignments", ["rollout", "robot", "task"])
    op.create_index("assignments_at", "assignments", ["at"])


def downgrade() -> None:
    """Drop the tables."""
    for table in ("assignments", "current_policies"):
        op.drop_table(table)
