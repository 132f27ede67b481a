#!/usr/bin/env bash
# Run a script in the window of a real QGIS, on a display that nobody sees, with the samgeo of this checkout as engine:
#     qgis_plugin/window.sh qgis_plugin/tests/window.py docs/qgis.png
#     qgis_plugin/window.sh qgis_plugin/tests/budgets.py budgets.md
# The script writes to the second argument. Needs qgis, python3-qgis, xvfb and xauth. SIDE_PX: of the raster; SCREEN:
# WIDTHxHEIGHT. More settings of QGIS itself go into the environment, such as QT_SCALE_FACTOR=2.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[ $# = 2 ] || { sed -n '2,7s/^# //p' "$0"; exit 2; }
SCRIPT=$(realpath "$1") OUT=$(realpath -m "$2")
export SAMGEO_PYTHON=${SAMGEO_PYTHON:-$PWD/.venv/bin/python}
HERE=$(mktemp -d)
trap 'rm -rf "$HERE"' EXIT
export SAMGEO_PLUGINS=$PWD/qgis_plugin SAMGEO_OUT=$OUT SAMGEO_CACHE=$HERE/cache SAMGEO_HERE=$HERE
export XDG_RUNTIME_DIR=$HERE OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
"$SAMGEO_PYTHON" qgis_plugin/tests/make_scene.py "$HERE/scene.tif" "${SIDE_PX:-1000}" >"$HERE/places.json"
mkdir -p "$HERE/profiles/profiles/default/QGIS"
printf '[app]\nfirstRunVersion=33000\n[qgis]\ncheckVersion=false\n[PythonPlugins]\nprocessing=true\n' \
    >"$HERE/profiles/profiles/default/QGIS/QGIS3.ini"
[ -z "${QGIS_THEME:-}" ] || printf '[UI]\nUITheme=%s\n' "$QGIS_THEME" >>"$HERE/profiles/profiles/default/QGIS/QGIS3.ini"
# 570 seconds; QGIS asks about unsaved projects when it is asked to end, so scripts end it themselves.
env -u QT_QPA_PLATFORM timeout "${SECONDS_AT_MOST:-570}" xvfb-run -a -s "-screen 0 ${SCREEN:-1500x950}x24" \
    qgis.bin --noversioncheck --nologo --profiles-path "$HERE/profiles" --code "$SCRIPT" 2>"$HERE/errors" ||
    { grep -v "QStandardPaths\|propagateSizeHints" "$HERE/errors" | tail -40 >&2; exit 1; }
