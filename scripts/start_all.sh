#!/bin/sh
# Starts web, worker and beat together, in the foreground. Arguments go to `manage.py serve`.
set -eu
exec "$(dirname "$0")/python.sh" scripts/start_all.py "$@"
