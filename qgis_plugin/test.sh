#!/usr/bin/env bash
# The plugin's tests in real QGIS, headless, with the samgeo of this checkout as engine (make venv first).
# Arguments are pytest's: qgis_plugin/test.sh qgis_plugin/tests/test_plugin.py -k keys
# Where QGIS is not installed and cannot be (no Debian or Ubuntu, not root, no packages), says so and ends well.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
SYSTEM_PYTHON=${SYSTEM_PYTHON:-/usr/bin/python3}
VENV=${QGIS_VENV:-.venv-qgis}

skip() {
    echo "qgis_plugin: its tests are skipped: $1"
    exit 0
}

has_qgis() {
    "$SYSTEM_PYTHON" -c 'import qgis.core' 2>/dev/null
}

if ! has_qgis; then
    command -v apt-get >/dev/null || skip "QGIS is not installed, and there is no apt-get"
    [ "$(id -u)" = 0 ] || skip "QGIS is not installed, and only root can install it: apt-get install qgis python3-qgis"
    echo "Installing QGIS ..."
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        qgis python3-qgis qgis-providers python3-venv fonts-dejavu-core; } >/dev/null 2>&1 ||
        skip "QGIS cannot be installed from this machine's packages"
    has_qgis || skip "QGIS was installed, but $SYSTEM_PYTHON does not find it"
fi
if ! "$VENV/bin/python" -c 'import pytest_qgis' 2>/dev/null; then
    "$SYSTEM_PYTHON" -m venv --system-site-packages "$VENV" || skip "$SYSTEM_PYTHON cannot make environments"
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check \
        --requirement qgis_plugin/tests/requirements.txt || skip "pytest-qgis cannot be installed"
fi
export QT_QPA_PLATFORM=offscreen
XDG_RUNTIME_DIR=$(mktemp -d)
export XDG_RUNTIME_DIR
HOME_OF_PROFILE="$(mktemp -d)/a profile é" # pytest-qgis makes the profile in pytest's root folder
mkdir -p "$HOME_OF_PROFILE"
export SAMGEO_PYTHON=${SAMGEO_PYTHON:-$PWD/.venv/bin/python}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
case " $* " in *" qgis_plugin/"*) ;; *) set -- "$@" qgis_plugin/tests ;; esac
exec "$VENV/bin/python" -m pytest -q -c qgis_plugin/pytest.ini --rootdir "$HOME_OF_PROFILE" "$@"
