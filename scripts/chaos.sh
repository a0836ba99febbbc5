#!/bin/sh
# Breaks a private installation again and again (--seconds, --seed) and checks that nothing accepted is lost.
set -eu
exec "$(dirname "$0")/python.sh" -m tests.faults "$@"
