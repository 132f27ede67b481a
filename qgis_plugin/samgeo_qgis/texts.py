# SPDX-License-Identifier: GPL-2.0-or-later
"""Words that the user reads, in the user's language where i18n/ has it."""

import os

from qgis.core import QgsApplication
from qgis.PyQt.QtCore import QCoreApplication, QTranslator

CONTEXT = "samgeo"
FOLDER = os.path.join(os.path.dirname(__file__), "i18n")


def tr(text):
    """Translated."""
    return QCoreApplication.translate(CONTEXT, text)


def install(locale=None):
    """Make `tr` speak a language, such as "de_AT"; None: QGIS's own. Returns the translator, or None without one."""
    translator = QTranslator()
    if not translator.load(f"samgeo_qgis_{(locale or QgsApplication.locale())[:2]}.qm", FOLDER):
        return None
    QCoreApplication.installTranslator(translator)
    return translator
