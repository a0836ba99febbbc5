#!/bin/sh
# Finds a Python that is new enough and hands over to bootstrap.py.
set -eu
cd "$(dirname "$0")/.."
for python in python3 python3.14 python3.13 python3.12 python3.11 python; do
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        exec "$python" scripts/bootstrap.py "$@"
    fi
done
echo 'Python 3.11 or newer is needed. On Debian and Ubuntu: "apt install python3 python3-venv",' >&2
echo 'elsewhere from https://www.python.org/downloads/.' >&2
exit 1
