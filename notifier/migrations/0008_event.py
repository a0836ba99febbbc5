"""Changes of status, told in an order in which nothing can be missed.

A number of a sequence is taken before its transaction ends: who remembers the last one that he has read would miss a
lower one that is committed later. On PostgreSQL an id therefore begins with the number of its transaction; the lower 20
bits keep the order within it. The key begins with the organization, whose events are what is asked for.
"""

import django.db.models.functions.datetime
from django.db import migrations, models

POSTGRESQL = """
CREATE SEQUENCE notifier_event_seq;
ALTER TABLE notifier_event
    ALTER COLUMN id DROP IDENTITY,
    DROP CONSTRAINT notifier_event_pkey,
    ADD PRIMARY KEY (organization_id, id);
ALTER TABLE notifier_event ALTER COLUMN id
    SET DEFAULT (pg_current_xact_id()::text::bigint << 20) | (nextval('notifier_event_seq') & 1048575);
ALTER SEQUENCE notifier_event_seq OWNED BY notifier_event.id
"""


def number_by_transactions(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(POSTGRESQL)


class Migration(migrations.Migration):
    dependencies = [("notifier", "0007_templates_and_submissions")]

    operations = [
        migrations.CreateModel(
            name="Event",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("organization_id", models.BigIntegerField()),
                ("notification_id", models.BigIntegerField()),
                ("status", models.CharField(max_length=16)),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
        ),
        migrations.RunPython(number_by_transactions, migrations.RunPython.noop),
    ]
