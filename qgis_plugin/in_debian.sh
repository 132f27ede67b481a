#!/usr/bin/env bash
# Run a command of this checkout beside the QGIS of another Debian, in a folder (2 GB) that is made the first time:
#     qgis_plugin/in_debian.sh trixie qgis_plugin/test.sh -k keys
#     qgis_plugin/in_debian.sh trixie-backports qgis_plugin/window.sh qgis_plugin/tests/window.py window.png
# The engine stays the one of this machine, with this machine's libraries. DEBIANS: where such folders lie; delete them
# as you like, nothing stays mounted. Where it cannot be done (not root, no mmdebstrap, no packages), says so and ends well.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[ $# -ge 2 ] || { sed -n '2,6s/^# //p' "$0"; exit 2; }
SUITE=$1 RELEASE=${1%-backports}
shift
ROOT=$(realpath -m "${DEBIANS:-${XDG_CACHE_HOME:-$HOME/.cache}/samgeo-debian}/$SUITE")
ENGINE=$(realpath -ms "${SAMGEO_PYTHON:-.venv/bin/python}")

skip() {
    echo "qgis_plugin in $SUITE: skipped: $1"
    exit 0
}

# Into the folder $1. What mmdebstrap mounts there nobody else sees, and it is gone whatever becomes of it. pip runs
# outside, where its settings are; all that it brings is plain Python.
make_debian() {
    local more=() mirror
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Label: Debian' 'Created-By: Packages' | sed 1q)
    [ "$SUITE" = "$RELEASE" ] || more=(--aptopt="APT::Default-Release \"$SUITE\""
        --setup-hook="sed 's/ $RELEASE / $SUITE /' \"\$1/etc/apt/sources.list\" >\"\$1/etc/apt/sources.list.d/more.list\"")
    unshare --mount mmdebstrap --variant=apt --aptopt='APT::Install-Recommends "false"' "${more[@]}" \
        --include=qgis,python3-qgis,qgis-providers,python3-venv,xvfb,xauth,fonts-dejavu-core,fonts-open-sans \
        "$RELEASE" "$1" "$mirror" || return
    chroot "$1" python3 -m venv --system-site-packages /opt/venv-qgis || return
    "$ENGINE" -m pip install --quiet --disable-pip-version-check --requirement qgis_plugin/tests/requirements.txt \
        --python-version "$(chroot "$1" python3 -c 'import platform; print(platform.python_version())')" \
        --only-binary :all: --target "$(echo "$1"/opt/venv-qgis/lib/python3*/site-packages)"
}

[ "$(id -u)" = 0 ] || skip "only root can make its folder and go there"
unshare --mount true 2>/dev/null || skip "nothing can be mounted here"
if [ ! -d "$ROOT" ]; then
    command -v mmdebstrap >/dev/null || skip "there is no mmdebstrap: apt-get install mmdebstrap"
    echo "Making $ROOT ..."
    mkdir -p "${ROOT%/*}"
    rm -rf --one-file-system "$ROOT.part" # of a run that was stopped
    if ! make_debian "$ROOT.part" >"$ROOT.log" 2>&1; then
        rm -rf --one-file-system "$ROOT.part"
        skip "it cannot be made from this machine's packages; see $ROOT.log"
    fi
    mv "$ROOT.part" "$ROOT"
fi

# /host is this machine, seen from there: the engine goes back out.
printf '#!/bin/sh\nexec /usr/sbin/chroot /host /usr/bin/env -C "$PWD" "%s" "$@"\n' "$ENGINE" >"$ROOT/opt/engine"
chmod +x "$ROOT/opt/engine"
export SAMGEO_PYTHON=/opt/engine QGIS_VENV=/opt/venv-qgis
unset TMPDIR
exec unshare --mount sh -euc '
    root=$1
    shift
    mkdir -p "$root/host"
    mount --rbind / "$root/host"
    for shared in /proc /dev /tmp "$PWD"; do
        mkdir -p "$root$shared"
        mount --rbind "$shared" "$root$shared"
    done
    exec chroot "$root" env -C "$PWD" "$@"' in_debian "$ROOT" "$@"
