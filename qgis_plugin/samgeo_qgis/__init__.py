# SPDX-License-Identifier: GPL-2.0-or-later
"""samgeo in QGIS: click on imagery and get features. The engine runs in a Python of its own."""


def classFactory(iface):
    """What QGIS calls when it loads the plugin."""
    from .plugin import Plugin

    return Plugin(iface)
