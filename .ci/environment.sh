#!/bin/sh
# Prints the interpreter of an environment, which is built first if need be (all else goes to stderr): that of the tests,
# or with --demo that of the demo. PYTHON names the Python to build it from; without it, the newest one that works is taken.
# Arguments go to environment.py.
set -eu

works() { "$1" -c "import sys${2:+, $2}; sys.exit(sys.version_info < (3, 10))" >/dev/null 2>&1; }

if [ -n "${PYTHON:-}" ]; then
    if ! works "$PYTHON"; then
        echo "AudioX: PYTHON=$PYTHON doesn't run, or is older than Python 3.10; name another one, or leave PYTHON unset." >&2
        exit 1
    fi
    python=$PYTHON
else
    python=
    # First one that can make an environment by itself, then one that may manage with its own pip.
    for modules in "venv, ensurepip" ""; do
        for candidate in python3.13 python3.12 python3.11 python3.10 python3; do
            if [ -z "$python" ] && works "$candidate" "$modules"; then
                python=$candidate
            fi
        done
    done
fi
if [ -z "$python" ]; then
    echo "AudioX: no Python 3.10 or newer was found on the PATH; install one (on Debian or Ubuntu:" \
        "apt install python3 python3-venv), or name it: make PYTHON=/path/to/python3 ..." >&2
    exit 1
fi
exec "$python" "$(dirname "$0")/environment.py" "$@"
