#!/bin/sh
# Starts a worker in the foreground. Arguments go to `celery worker`.
set -eu
exec "$(dirname "$0")/python.sh" -m celery -A notifier worker "$@"
