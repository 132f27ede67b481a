# SPDX-License-Identifier: GPL-2.0-or-later
"""The panel beside the map: what to do next, what is clicked on, where it goes, and what the engine makes of it."""

from qgis.core import QgsMapLayerProxyModel
from qgis.gui import QgsDockWidget, QgsMapLayerComboBox
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtWidgets import (
    QCheckBox,
    QDoubleSpinBox,
    QFormLayout,
    QFrame,
    QGridLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from .texts import tr

SHORT = 6
"""Letters of a shortcut that fits onto a button."""
LOW_SCORE = 0.5
"""Below it the score is shown as a warning."""
BUTTONS = (
    ("accept", 0, 0, 1, 2),
    ("next", 1, 0, 1, 1),
    ("clear", 1, 1, 1, 1),
    ("undo", 2, 0, 1, 1),
    ("redo", 2, 1, 1, 1),
)
"""Actions as buttons: row, column, rows, columns."""


class Dock(QgsDockWidget):
    """Widgets and nothing else: `plugin` connects them."""

    def __init__(self, actions, parent=None):
        """actions: accept, undo, redo, next, clear and settings by name, shown as buttons."""
        super().__init__("samgeo", parent)
        self.setObjectName("samgeo")
        self.guide = QLabel()
        self.guide.setTextFormat(Qt.TextFormat.RichText)
        self.guide.setWordWrap(True)
        self.add_raster = QPushButton(tr("Add a raster layer…"))
        self.set_up = QPushButton(tr("Set up the engine…"))
        self.set_up.clicked.connect(actions["settings"].trigger)
        self.raster = QgsMapLayerComboBox()
        self.raster.setFilters(QgsMapLayerProxyModel.Filter.RasterLayer)
        self.raster.setAllowEmptyLayer(True)
        self.target = QgsMapLayerComboBox()
        self.target.setFilters(QgsMapLayerProxyModel.Filter.PolygonLayer)
        self.target.setAllowEmptyLayer(True)
        self.target.setToolTip(tr("Objects are added to this layer; without one a GeoPackage is made."))
        self.new_target = QToolButton()
        self.new_target.setText(tr("New…"))
        self.label = QLineEdit()
        self.label.setPlaceholderText(tr("empty: what the model takes it for"))
        self.label.setToolTip(tr("What the next objects are; each label has a colour of its own."))
        self.square = QCheckBox(tr("Right-angled corners"))
        self.simplify = _number(" m", 0.1, tr("pixel-exact"))
        self.smallest = _number(" m²", 1.0, tr("keep all"))
        self.smallest.setToolTip(
            tr("Holes smaller than this are filled and loose parts left out; the largest part always stays.")
        )
        self.hover = QCheckBox(tr("Show what a click would find"))
        self.hover.setChecked(True)
        self.candidate = QLabel()
        self.candidate.setTextFormat(Qt.TextFormat.RichText)
        self.candidate.setWordWrap(True)
        self.busy = QProgressBar()
        self.busy.setRange(0, 0)
        self.busy.setTextVisible(False)
        self.busy.setMaximumHeight(6)
        self.status = QLabel()
        self.status.setWordWrap(True)
        self.setWidget(self._build(actions))
        self.show_candidate([], None)
        self.show_guide(has_engine=True, has_raster=True)
        self.set_busy(False)

    def _build(self, actions):
        form = QFormLayout()
        form.addRow(tr("Raster"), self.raster)
        target = QHBoxLayout()
        target.addWidget(self.target, 1)
        target.addWidget(self.new_target)
        form.addRow(tr("Save to"), target)
        form.addRow(tr("Label"), self.label)
        outline = QFormLayout()
        outline.addRow(tr("Simplify by"), self.simplify)
        outline.addRow(tr("Smallest piece"), self.smallest)
        outline.addRow(self.square)
        box = QGroupBox(tr("Outline"))
        box.setLayout(outline)
        settings = QToolButton()
        settings.setAutoRaise(True)
        _follow(settings, actions["settings"])
        below = QHBoxLayout()
        below.addWidget(self.hover, 1)
        below.addWidget(settings)
        layout = QVBoxLayout()
        layout.addWidget(self._framed())
        layout.addLayout(form)
        layout.addWidget(box)
        layout.addLayout(_buttons(actions))
        layout.addLayout(below)
        layout.addWidget(self.busy)
        layout.addWidget(self.status)
        layout.addStretch(1)
        widget = QWidget()
        widget.setLayout(layout)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(widget)
        area.setMinimumWidth(widget.minimumSizeHint().width() + area.verticalScrollBar().sizeHint().width())
        return area

    def _framed(self):
        """What to do next, in a frame."""
        inner = QVBoxLayout()
        for part in (self.guide, self.candidate, self.add_raster, self.set_up):
            inner.addWidget(part)
        frame = QFrame()
        frame.setFrameShape(QFrame.Shape.StyledPanel)
        frame.setLayout(inner)
        return frame

    def show_guide(self, has_engine, has_raster):
        """What to do next, for whoever sees this for the first time."""
        self.set_up.setVisible(not has_engine)
        self.add_raster.setVisible(has_engine and not has_raster)
        self.candidate.setVisible(has_engine and has_raster)
        if not has_engine:
            text = tr(
                "<b>Step 1 of 2: the engine.</b> The models run in a Python of their own beside QGIS. It is set up "
                "once, in one click or from a folder without a network; nothing leaves this machine."
            )
        elif not has_raster:
            text = tr("<b>Step 2 of 2: an image.</b> Choose a raster layer below: a file, XYZ tiles, WMS, ...")
        else:
            text = tr(
                "<b>Left click</b> on an object, <b>right click</b> beside it, <b>drag</b> a box around it. "
                "What is orange is what is saved."
            )
        self.guide.setText(text)

    def show_candidate(self, candidates, chosen):
        """Which of the masks is shown, and how sure the model is of it."""
        if chosen is None:
            self.candidate.setText(tr("Nothing is clicked yet."))
            return
        one = candidates[chosen]
        score = f"{one['score']:.2f}"
        if one["score"] < LOW_SCORE:
            score = f"<b>{score}, {tr('unsure')}</b>"
        what = f", {one['label']} {one['label_score']:.2f}" if one["label"] else ""
        self.candidate.setText(tr("Mask {} of {}: score {}{}").format(chosen + 1, len(candidates), score, what))

    def set_busy(self, busy):
        """Whether the engine is at work."""
        self.busy.setVisible(busy)

    def say(self, text):
        """The last sentence."""
        self.status.setText(text)


def _number(suffix, step, none):
    """A field for a number, of which 0 has a name."""
    field = QDoubleSpinBox()
    field.setRange(0, 1_000_000)
    field.setSingleStep(step)
    field.setSuffix(suffix)
    field.setSpecialValueText(none)
    field.setKeyboardTracking(False)
    return field


def _buttons(actions):
    grid = QGridLayout()
    for name, *place in BUTTONS:
        button = QPushButton()
        _follow(button, actions[name])
        grid.addWidget(button, *place)
    return grid


def _follow(button, action):
    """A button that does what an action does, and is enabled when that is."""

    def update():
        button.setEnabled(action.isEnabled())
        shortcut = action.shortcut().toString()
        button.setText(action.text() + (f" ({shortcut})" if 0 < len(shortcut) <= SHORT else ""))
        button.setToolTip(action.toolTip() + (f" ({shortcut})" if shortcut else ""))

    button.clicked.connect(action.trigger)
    action.changed.connect(update)
    update()
