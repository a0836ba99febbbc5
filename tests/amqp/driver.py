"""`python -m tests.amqp.driver WHERE …`: `manage.py consume_amqp` that halts at a job whose text is "halt".

WHERE: `before` or `after` the commit of that job. It says so on stdout: HALTED.
"""

import os
import sys
import time
from typing import Any


def halt(text: str) -> None:
    """Wait to be killed, if this is the one."""
    if text == "halt":
        sys.stdout.write("HALTED\n")
        sys.stdout.flush()
        time.sleep(600)


def main() -> None:
    """Break it, then run it."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "notifier.settings")
    import django

    django.setup()
    from django.core.management import call_command

    from notifier import intake
    from notifier.amqp import consumer

    accept_job, accept_body = consumer.accept, intake.accept

    def after_the_commit(organization: Any, job: Any) -> None:
        accept_job(organization, job)
        halt(job.body["message"])

    def before_the_commit(organization: Any, body: Any, **others: Any) -> Any:
        row = accept_body(organization, body, **others)  # in the transaction of its idempotency key
        halt(row.message)
        return row

    if sys.argv[1] == "after":
        consumer.accept = after_the_commit
    else:
        intake.accept = before_the_commit
    call_command("consume_amqp", *sys.argv[2:])


if __name__ == "__main__":
    main()
