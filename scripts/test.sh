#!/bin/sh
# Sets everything up and runs every check and test; with arguments, pytest alone with these.
set -eu
exec "$(dirname "$0")/bootstrap.sh" test "$@"
