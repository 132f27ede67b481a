# SPDX-License-Identifier: GPL-2.0-or-later
"""How features look: a colour for each label, the same in every layer, over a hint of fill."""

import hashlib
import os

from qgis.core import QgsCategorizedSymbolRenderer, QgsProject, QgsRendererCategory
from qgis.PyQt.QtGui import QColor

from .texts import tr

FILE = os.path.join(os.path.dirname(__file__), "objects.qml")
COLOURS = {
    "building": "#d1344b",
    "field": "#e6c229",
    "tree": "#2e9e4f",
    "forest": "#14713a",
    "water": "#2a7de1",
    "road": "#8a8f98",
    "vehicle": "#f28482",
    "ship": "#7b4bd1",
    "solar panel": "#1b3a8c",
    "pool": "#19b5c9",
    "greenhouse": "#9bd14b",
    "bare ground": "#b5835a",
}
"""Of what the model has words for; other labels get one that follows from the word."""
FIELD = "label"
GROUP = "samgeo"
OURS = "samgeo/by_label"
"""Property of layers that got their look here."""


def colour(label):
    """Of a label, always the same."""
    known = COLOURS.get(label)
    if known is not None:
        return QColor(known)
    return QColor.fromHsv(hashlib.sha256(label.encode()).digest()[0] * 359 // 255, 200, 220)


def dress(layer):
    """Give a new layer its look: one colour until there are labels."""
    layer.loadNamedStyle(FILE)
    symbol = layer.renderer().symbol()
    rest = QgsRendererCategory("", symbol.clone(), tr("other"))
    layer.setRenderer(QgsCategorizedSymbolRenderer(FIELD, [rest]))
    layer.setCustomProperty(OURS, True)


def add_label(layer, label):
    """Give a label its colour in a layer that got its look here; a layer of another look keeps it."""
    renderer = layer.renderer()
    if not label or not layer.customProperty(OURS) or not isinstance(renderer, QgsCategorizedSymbolRenderer):
        return
    if renderer.classAttribute() != FIELD or renderer.categoryIndexForValue(label) >= 0:
        return
    categories = renderer.categories()  # a copy, which owns its symbols
    rest = renderer.categoryIndexForValue("")
    base = categories[max(rest, 0)].symbol() if categories else None
    if base is None:
        return
    renderer.addCategory(QgsRendererCategory(label, _painted(base.clone(), colour(label)), label))
    if rest >= 0:
        renderer.moveCategory(rest, len(categories))
    layer.emitStyleChanged()
    layer.rendererChanged.emit()


def _painted(symbol, shade):
    """A symbol in another colour, as transparent as it was."""
    fill = QColor(shade)
    fill.setAlpha(symbol.symbolLayer(0).fillColor().alpha())
    symbol.symbolLayer(0).setFillColor(fill)
    symbol.symbolLayer(0).setStrokeColor(shade.darker(115))
    return symbol


def put_on_top(layer):
    """Into the project, above the imagery, in a group of its own."""
    project = QgsProject.instance()
    root = project.layerTreeRoot()
    group = root.findGroup(GROUP) or root.insertGroup(0, GROUP)
    project.addMapLayer(layer, False)
    group.setExpanded(True)
    group.insertLayer(0, layer)
