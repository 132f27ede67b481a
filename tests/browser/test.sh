#!/usr/bin/env bash
# The notebook's map in JupyterLab and Chromium, headless, with the samgeo of this checkout as the kernel (make dev first).
# Where Chromium is not installed and cannot be (no Debian or Ubuntu, not root, no packages), says so and ends well.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
PYTHON=${SAMGEO_PYTHON:-$PWD/.venv/bin/python}
VENV=${NOTEBOOK_VENV:-.venv-notebook}

skip() {
    echo "tests/browser: skipped: $1"
    exit 0
}

has_chromium() {
    command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null
}

if ! has_chromium; then
    command -v apt-get >/dev/null || skip "Chromium is not installed, and there is no apt-get"
    [ "$(id -u)" = 0 ] || skip "Chromium is not installed, and only root can install it: apt-get install chromium"
    echo "Installing Chromium ..."
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        chromium fonts-dejavu-core; } >/dev/null 2>&1 ||
        skip "Chromium cannot be installed from this machine's packages"
    has_chromium || skip "Chromium was installed, but it is not found"
fi
if [ ! -e "$VENV/.installed" ]; then
    "$PYTHON" -m venv "$VENV" || skip "$PYTHON cannot make environments"
    # The server needs the pages of the widget libraries; the kernel is the environment of the checkout.
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check \
        'jupyterlab==4.*' 'anywidget==0.11.*' 'ipyleaflet==0.20.*' 'playwright>=1.49' 'pytest==9.2.*' \
        'pytest-timeout==2.*' || skip "JupyterLab cannot be installed"
    touch "$VENV/.installed"
fi
export SAMGEO_PYTHON=$PYTHON
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
exec "$VENV/bin/python" -m pytest -q -c tests/browser/pytest.ini --rootdir tests/browser "$@" tests/browser
