#!/bin/sh
# Lists every part that is installed, and asks whether one has a known vulnerability.
set -eu
exec "$(dirname "$0")/bootstrap.sh" audit "$@"
