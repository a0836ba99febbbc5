"""Whether the database's tables are those of this version."""

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.migrations.executor import MigrationExecutor


def missing_migrations() -> int:
    """How many migrations are still to be run. `django.db.Error` where the database does not answer."""
    executor = MigrationExecutor(connections[DEFAULT_DB_ALIAS])
    return len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
