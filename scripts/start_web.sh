#!/bin/sh
# Starts the web server in the foreground: HOST and PORT say where. Arguments go to `manage.py serve`.
set -eu
exec "$(dirname "$0")/python.sh" manage.py serve "$@"
