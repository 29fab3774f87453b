"""The first tables of the desk's record."""

import sqlalchemy as sa
from alembic import op

from console.tables import Moment

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make every table, and the one row of the ledger."""
    op.create_table(
        "cases",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("situation", sa.String(length=64), nullable=True),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("unverified", sa.Boolean(), nullable=False),
        sa.Column("latitude_deg", sa.Float(), nullable=False),
        sa.Column("longitude_deg", sa.Float(), nullable=False),
        sa.Column("opened_at", Moment(), nullable=False),
        sa.Column("last_incident_at", Moment(), nullable=False),
        sa.Column("merged_into", sa.String(length=32), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("cases_place", "cases", ["situation", "latitude_deg", "longitude_deg"], unique=False)
    op.create_index("ix_cases_merged_into", "cases", ["merged_into"], unique=False)
    op.create_index("ix_cases_opened_at", "cases", ["opened_at"], unique=False)
    op.create_index("ix_cases_version", "cases", ["version"], unique=False)
    op.create_table(
        "ledger",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "moves",
        sa.Column("move_id", sa.String(length=32), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("department", sa.String(length=64), nullable=False),
        sa.Column("case_id", sa.String(length=32), nullable=False),
        sa.Column("asked", sa.String(length=64), nullable=False),
        sa.Column("action", sa.String(length=24), nullable=False),
        sa.Column("by", sa.String(length=64), nullable=False),
        sa.Column("at", Moment(), nullable=False),
        sa.Column("accepted", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.String(length=24), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("move_id"),
    )
    op.create_index("ix_moves_case_id", "moves", ["case_id"], unique=False)
    op.create_index("ix_moves_version", "moves", ["version"], unique=False)
    op.create_table(
        "positions",
        sa.Column("stream", sa.String(length=120), nullable=False),
        sa.Column("entry_id", sa.String(length=48), nullable=False),
        sa.PrimaryKeyConstraint("stream"),
    )
    op.create_table(
        "assignments",
        sa.Column("case_id", sa.String(length=32), nullable=False),
        sa.Column("department", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("dispatched_at", Moment(), nullable=False),
        sa.Column("state_at", Moment(), nullable=False),
        sa.Column("acknowledged_at", Moment(), nullable=True),
        sa.Column("holder", sa.String(length=64), nullable=False),
        sa.Column("due_at", Moment(), nullable=True),
        sa.Column("repeats", sa.Integer(), nullable=False),
        sa.Column("fallback_of", sa.String(length=64), nullable=False),
        sa.Column("fell_back", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], initially="DEFERRED", deferrable=True),
        sa.PrimaryKeyConstraint("case_id", "department"),
    )
    op.create_index("assignments_department", "assignments", ["department", "state"], unique=False)
    op.create_index("ix_assignments_due_at", "assignments", ["due_at"], unique=False)
    op.create_table(
        "incidents",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("case_id", sa.String(length=32), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("joined_at", Moment(), nullable=False),
        sa.Column("number", sa.String(length=16), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("situation", sa.String(length=64), nullable=True),
        sa.Column("confidence", sa.Float(), nullable=False),
        sa.Column("scores", sa.JSON(), nullable=False),
        sa.Column("latitude_deg", sa.Float(), nullable=False),
        sa.Column("longitude_deg", sa.Float(), nullable=False),
        sa.Column("label", sa.String(length=64), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("image", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("reason", sa.String(length=64), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("received_at", Moment(), nullable=False),
        sa.Column("decided_at", Moment(), nullable=False),
        sa.Column("seen_count", sa.Integer(), nullable=False),
        sa.Column("last_seen_at", Moment(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("decided_by", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], initially="DEFERRED", deferrable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("incidents_place", "incidents", ["latitude_deg", "longitude_deg"], unique=False)
    op.create_index("ix_incidents_case_id", "incidents", ["case_id"], unique=False)
    op.create_index("ix_incidents_number", "incidents", ["number"], unique=False)
    op.create_index("ix_incidents_received_at", "incidents", ["received_at"], unique=False)
    op.create_table(
        "timeline",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("case_id", sa.String(length=32), nullable=False),
        sa.Column("incident_id", sa.String(length=32), nullable=True),
        sa.Column("department", sa.String(length=64), nullable=False),
        sa.Column("at", Moment(), nullable=False),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("action", sa.String(length=24), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], initially="DEFERRED", deferrable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_timeline_case_id", "timeline", ["case_id"], unique=False)

    op.execute(sa.text("INSERT INTO ledger (id, version) VALUES (1, 0)"))
