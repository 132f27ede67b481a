# SPDX-License-Identifier: GPL-2.0-or-later
"""Check the plugin as its site does, and make the zip that QGIS installs: python qgis_plugin/build.py [ZIP]."""

from __future__ import annotations

import ast
import configparser
import re
import sys
import zipfile
from pathlib import Path

NAME = "samgeo_qgis"
PACKAGE = Path(__file__).parent / NAME
REQUIRED = ("name", "qgisMinimumVersion", "description", "about", "version", "author", "email", "repository", "license")
ENDINGS = {".py", ".txt", ".svg", ".qml", ".qm", ".ts", ""}
LICENCE = "# SPDX-License-Identifier: GPL-2.0-or-later"
TWO_YEARS_AGO = (2020, 1, 1, 0, 0, 0)
SHORT_ENUM = re.compile(r"\b(?:Qt|QProcess|QImage|QgsWkbTypes|Qgis|QDialogButtonBox)\.(?:[A-Z][A-Za-z]*)\b(?!\.|\(|\w)")
WHOLE = {"Qgis.QGIS_VERSION", "Qgis.QGIS_VERSION_INT"}


def problems() -> list[str]:
    """What the plugin's site, or a version of QGIS, would not take."""
    found = []
    metadata = configparser.ConfigParser()
    metadata.read(PACKAGE / "metadata.txt", encoding="utf-8")
    general = metadata["general"]
    found += [f"metadata.txt: {key} is missing" for key in REQUIRED if not general.get(key, "").strip()]
    if not (PACKAGE / general.get("icon", "none")).is_file():
        found.append("metadata.txt: icon is not there")
    if not (PACKAGE / "LICENSE").is_file():
        found.append("LICENSE is missing")
    for path in files():
        if path.suffix not in ENDINGS:
            found.append(f"{path.name}: files that end in {path.suffix} do not belong into a plugin")
        if path.suffix == ".py":
            found += [f"{path.name}: {problem}" for problem in _code(path.read_text(encoding="utf-8"))]
    return found


def files() -> list[Path]:
    """All that goes into the zip."""
    return sorted(path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def build(target: Path) -> None:
    """Write the zip: same files, same bytes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files():
            entry = zipfile.ZipInfo(f"{NAME}/{path.relative_to(PACKAGE).as_posix()}", TWO_YEARS_AGO)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, path.read_bytes())


def _code(text: str) -> list[str]:
    found = [] if text.startswith(LICENCE) else [f"does not begin with {LICENCE}"]
    for node in ast.walk(ast.parse(text, feature_version=(3, 9))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        for name in names:
            top = name.partition(".")[0]
            if top != "qgis" and top not in sys.stdlib_module_names:
                found.append(f"imports {name}: expected the standard library and qgis alone")
    found += [
        f"{match.group()}: a short enum, which Qt 6 does not know"
        for match in SHORT_ENUM.finditer(text)
        if match.group() not in WHOLE
    ]
    return found


def main() -> int:
    """The command; returns its exit code."""
    wrong = problems()
    if wrong:
        sys.stderr.write("\n".join(wrong) + "\n")
        return 1
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("dist") / f"{NAME}.zip"
    build(target)
    sys.stdout.write(f"{target}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
