#!/bin/sh
# Starts beat in the foreground. Arguments go to `celery beat`.
set -eu
exec "$(dirname "$0")/python.sh" -m celery -A notifier beat "$@"
