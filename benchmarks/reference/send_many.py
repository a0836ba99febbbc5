"""`mail.send_many` in process: `python -m benchmarks.reference.send_many COUNT BATCHES` prints the seconds of each."""

import json
import sys
import time

import django


def main() -> None:
    """Time each batch, the making of its arguments not included."""
    django.setup()
    from post_office import mail  # noqa: PLC0415 - Django has to be set up first

    from benchmarks.rows import TEXT  # noqa: PLC0415

    count, batches = int(sys.argv[1]), int(sys.argv[2])
    took = []
    for batch in range(batches):
        wanted = [
            {
                "recipients": f"u{number}@sink.test",
                "sender": "notifier@sink.test",
                "subject": "Your order",
                "message": TEXT.format(tag=f"bench-b{batch}x{number}"),
            }
            for number in range(count)
        ]
        begun = time.perf_counter()
        mail.send_many(wanted)
        took.append(time.perf_counter() - begun)
    print(json.dumps(took))


if __name__ == "__main__":
    main()
