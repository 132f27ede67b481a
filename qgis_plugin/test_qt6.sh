#!/usr/bin/env bash
# The plugin on Qt 6, which QGIS 4 stands on: PyQt6 in an environment of its own, and stand-ins for QGIS's own classes.
# Where PyQt6 cannot be installed, says so and ends well.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
SYSTEM_PYTHON=${SYSTEM_PYTHON:-$(command -v /usr/bin/python3 || command -v python3)}
VENV=${QT6_VENV:-.venv-qt6}

skip() {
    echo "qgis_plugin on Qt 6: its tests are skipped: $1"
    exit 0
}

if [ ! -x "$VENV/bin/pytest" ]; then
    "$SYSTEM_PYTHON" -m venv "$VENV" || skip "$SYSTEM_PYTHON cannot make environments"
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check 'PyQt6==6.*' 'pytest==9.2.*' ||
        skip "PyQt6 cannot be installed"
fi
QT_QPA_PLATFORM=offscreen "$VENV/bin/python" -c 'from PyQt6.QtWidgets import QApplication; QApplication([])' ||
    skip "PyQt6 does not start here; on Debian and Ubuntu it needs libegl1, libgl1, libxkbcommon0 and libdbus-1-3"
export QT_QPA_PLATFORM=offscreen
case " $* " in *" qgis_plugin/"*) ;; *) set -- "$@" qgis_plugin/tests_qt6 ;; esac
exec "$VENV/bin/python" -m pytest -q -p no:cacheprovider -c qgis_plugin/pytest.ini --rootdir qgis_plugin/tests_qt6 "$@"
