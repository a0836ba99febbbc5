#!/bin/sh
# Sets everything up and starts the demo: the whole service with a sandbox, in one process.
# Arguments go to `manage.py demo`: --port 8000, --check.
set -eu
exec "$(dirname "$0")/bootstrap.sh" demo "$@"
