"""There is always one organization: `default`."""

from django.db import migrations


def create(apps, schema_editor):
    apps.get_model("notifier", "Organization").objects.get_or_create(slug="default", defaults={"name": "Default"})


class Migration(migrations.Migration):
    dependencies = [("notifier", "0001_initial")]

    operations = [migrations.RunPython(create, migrations.RunPython.noop)]
