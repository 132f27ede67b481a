# SPDX-License-Identifier: GPL-2.0-or-later
"""Gather all that the engine needs, for a machine without a network: python qgis_plugin/offline.py FOLDER [OPTIONS].

The folder is for the system and the Python version that this runs on. OPTIONS are pip's, such as --extra-index-url.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIST = "requirements.txt"
"""Every package of a folder with its checksum, as pip reads it; the plugin goes by it."""


def gather(folder: Path, options: list[str]) -> None:
    """A wheel of samgeo and of everything it stands on."""
    pip = [sys.executable, "-m", "pip", "wheel", "--disable-pip-version-check", "--wheel-dir", str(folder)]
    subprocess.run([*pip, "--constraint", str(ROOT / "constraints.txt"), *options, str(ROOT)], check=True)  # noqa: S603


def write_list(folder: Path) -> Path:
    """Write down which packages there are, and what they are like."""
    lines = []
    for wheel in sorted(folder.glob("*.whl")):
        name, version = wheel.name.split("-")[:2]
        lines.append(f"{name}=={version} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n")
    path = folder / LIST
    path.write_text("".join(lines), encoding="utf-8")
    return path


def main() -> int:
    """The command; returns its exit code."""
    if len(sys.argv) < 2:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    folder = Path(sys.argv[1])
    if folder.exists() and any(folder.iterdir()):
        sys.stderr.write(f"{folder} is not empty: expected a new folder, so that no older package stays in it\n")
        return 2
    gather(folder, sys.argv[2:])
    size = sum(wheel.stat().st_size for wheel in folder.glob("*.whl"))
    sys.stdout.write(f"{write_list(folder)}: {size / 1e6:.0f} MB\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
