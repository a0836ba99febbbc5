#!/bin/sh
# Sets everything up and measures: a name and its options, `all`, or `list` to see what there is.
set -eu
exec "$(dirname "$0")/bootstrap.sh" benchmark "$@"
