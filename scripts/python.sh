#!/bin/sh
# The project's Python: that of .venv where it is, otherwise the one on the PATH. Runs in the project's directory.
set -eu
cd "$(dirname "$0")/.."
if [ -x .venv/bin/python ]; then
    exec .venv/bin/python "$@"
fi
for python in python3 python; do
    if "$python" -c 'import celery, django' 2>/dev/null; then
        exec "$python" "$@"
    fi
done
echo 'There is no .venv, and the Python on the PATH lacks the packages of requirements.txt.' >&2
echo 'Make .venv with "scripts/demo.sh --check", or: python3 -m pip install -r requirements.txt' >&2
exit 1
