# SPDX-License-Identifier: GPL-2.0-or-later
"""The panel beside the map: what is clicked on, where it goes, and what the engine makes of it."""

from qgis.core import QgsMapLayerProxyModel
from qgis.gui import QgsDockWidget, QgsMapLayerComboBox
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtWidgets import (
    QCheckBox,
    QDoubleSpinBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

LOW_SCORE = 0.5
"""Below it the score is shown as a warning."""


class Dock(QgsDockWidget):
    """Widgets and nothing else: `plugin` connects them."""

    def __init__(self, actions, parent=None):
        """actions: accept, undo, redo, next, clear and settings by name, shown as buttons."""
        super().__init__("samgeo", parent)
        self.setObjectName("samgeo")
        self.raster = QgsMapLayerComboBox()
        self.raster.setFilters(QgsMapLayerProxyModel.Filter.RasterLayer)
        self.raster.setAllowEmptyLayer(True)
        self.target = QgsMapLayerComboBox()
        self.target.setFilters(QgsMapLayerProxyModel.Filter.PolygonLayer)
        self.target.setAllowEmptyLayer(True)
        self.target.setToolTip(self.tr("Objects are added to this layer; without one a GeoPackage is made."))
        self.new_target = QToolButton()
        self.new_target.setText(self.tr("New…"))
        self.label = QLineEdit()
        self.label.setPlaceholderText(self.tr("What it is; empty: what the model takes it for"))
        self.square = QCheckBox(self.tr("Right-angled corners"))
        self.simplify = QDoubleSpinBox()
        self.simplify.setRange(0, 1000)
        self.simplify.setSingleStep(0.1)
        self.simplify.setSuffix(" m")
        self.simplify.setSpecialValueText(self.tr("pixel-exact"))
        self.hover = QCheckBox(self.tr("Show what a click would find"))
        self.hover.setChecked(True)
        self.candidate = QLabel()
        self.candidate.setTextFormat(Qt.TextFormat.RichText)
        self.busy = QProgressBar()
        self.busy.setRange(0, 0)
        self.busy.setTextVisible(False)
        self.busy.setMaximumHeight(6)
        self.status = QLabel()
        self.status.setWordWrap(True)
        self.setWidget(self._build(actions))
        self.show_candidate([], None)
        self.set_busy(False)

    def _build(self, actions):
        form = QFormLayout()
        form.addRow(self.tr("Raster"), self.raster)
        target = QHBoxLayout()
        target.addWidget(self.target, 1)
        target.addWidget(self.new_target)
        form.addRow(self.tr("Save to"), target)
        form.addRow(self.tr("Label"), self.label)
        form.addRow(self.tr("Simplify"), self.simplify)
        layout = QVBoxLayout()
        layout.addLayout(form)
        layout.addWidget(self.square)
        layout.addWidget(self.hover)
        layout.addWidget(self.candidate)
        for names in (("accept", "next", "clear"), ("undo", "redo", "settings")):
            row = QHBoxLayout()
            for name in names:
                button = QPushButton()
                _follow(button, actions[name])
                row.addWidget(button)
            layout.addLayout(row)
        layout.addWidget(self.busy)
        layout.addWidget(self.status)
        layout.addStretch(1)
        widget = QWidget()
        widget.setLayout(layout)
        return widget

    def show_candidate(self, candidates, chosen):
        """Which of the masks is shown, and how sure the model is of it."""
        if chosen is None:
            self.candidate.setText(self.tr("Left click: on the object. Right click: beside it. Drag: a box around it."))
            return
        one = candidates[chosen]
        score = f"{one['score']:.2f}"
        if one["score"] < LOW_SCORE:
            score = f"<span style='color:#c05000'>{score}, {self.tr('unsure')}</span>"
        what = f", {one['label']} {one['label_score']:.2f}" if one["label"] else ""
        self.candidate.setText(self.tr("Mask {} of {}: score {}{}").format(chosen + 1, len(candidates), score, what))

    def set_busy(self, busy):
        """Whether the engine is at work."""
        self.busy.setVisible(busy)

    def say(self, text):
        """The last sentence."""
        self.status.setText(text)


def _follow(button, action):
    """A button that does what an action does, and is enabled when that is."""

    def update():
        button.setEnabled(action.isEnabled())
        shortcut = action.shortcut().toString()
        button.setText(action.text() + (f" ({shortcut})" if shortcut else ""))
        button.setToolTip(action.toolTip())

    button.clicked.connect(action.trigger)
    action.changed.connect(update)
    update()
