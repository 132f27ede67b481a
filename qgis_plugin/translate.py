# SPDX-License-Identifier: GPL-2.0-or-later
"""Bring the translations up to what the code says: python qgis_plugin/translate.py; lrelease then makes the .qm files.

New sentences come into i18n/*.ts as unfinished, those that nobody says any more go.
"""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

PACKAGE = Path(__file__).parent / "samgeo_qgis"
FOLDER = PACKAGE / "i18n"
CONTEXT = "samgeo"
SAID_LATER = {"TITLE", "HELP"}
"""Names of constants that go through `tr` where they are used."""


def sentences() -> list[str]:
    """All that goes through `tr`, in the order of files and lines."""
    found: dict[str, None] = {}
    for path in sorted(PACKAGE.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            found.update(dict.fromkeys(_said(node)))
    return [text for text in found if text]


def _said(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "tr":
        parts = node.args
    elif isinstance(node, ast.Assign):
        parts = _values(node)
    else:
        return []
    return [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]


def _values(node: ast.Assign) -> list[ast.expr]:
    """What a class gives to names of `SAID_LATER`, alone or with others in one line."""
    target = node.targets[0]
    names = target.elts if isinstance(target, ast.Tuple) else [target]
    values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
    return [v for n, v in zip(names, values, strict=False) if isinstance(n, ast.Name) and n.id in SAID_LATER]


def translations(path: Path) -> dict[str, str]:
    """What a file translates."""
    messages = ET.parse(path).getroot().iter("message")  # noqa: S314 - a file of ours
    return {one.findtext("source", ""): one.findtext("translation", "") for one in messages}


def write(path: Path, known: dict[str, str]) -> None:
    """A file for Linguist and lrelease."""
    root = ET.Element("TS", version="2.1", language=path.stem.rpartition("_")[2], sourcelanguage="en")
    context = ET.SubElement(root, "context")
    ET.SubElement(context, "name").text = CONTEXT
    for text in sentences():
        message = ET.SubElement(context, "message")
        ET.SubElement(message, "source").text = text
        translation = ET.SubElement(message, "translation")
        translation.text = known.get(text, "")
        if not translation.text:
            translation.set("type", "unfinished")
    ET.indent(root)
    body = ET.tostring(root, encoding="unicode")
    path.write_text(f'<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE TS>\n{body}\n', encoding="utf-8")


def main() -> int:
    """The command; returns its exit code."""
    lrelease = shutil.which("lrelease")
    for path in sorted(FOLDER.glob("*.ts")):
        write(path, translations(path))
        if lrelease is None:
            sys.stdout.write(f"{path}: there is no lrelease here, so its .qm file is as it was\n")
        else:
            subprocess.run([lrelease, "-silent", str(path), "-qm", str(path.with_suffix(".qm"))], check=True)  # noqa: S603
    return 0


if __name__ == "__main__":
    sys.exit(main())
