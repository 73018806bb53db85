#!/bin/sh
# Create the virtual environments of the zoo and of the live tests; quick when they are there already.
#   setup.sh [FOLDER]     default: $STETH_VENVS, else .zoo-venvs in the repository's root
set -eu
here=$(cd "$(dirname "$0")" && pwd)
target=${1:-${STETH_VENVS:-$here/../.zoo-venvs}}
sh "$here/zoo/setup.sh" "$target"

main=$target/main/bin/python
if [ ! -x "$main" ]; then echo "skip live: no main environment"; exit 0; fi
stamp=$("$main" -c 'import sys; print(sys.version)'; cksum < "$here/live/requirements.txt")
if [ "$(cat "$target/live/.stamp" 2>/dev/null)" = "$stamp" ]; then echo "live: as it should be"; exit 0; fi
echo "live: $main"
rm -rf "${target:?}/live"
"$main" -m venv "$target/live"
"$target/live/bin/python" -m pip install -q --disable-pip-version-check -r "$here/live/requirements.txt"
printf '%s\n' "$stamp" > "$target/live/.stamp"
