# SPDX-License-Identifier: GPL-2.0-or-later
"""Keys of the tool, over the map and in the panel, and never while the user types."""

from qgis.PyQt.QtCore import QEvent, QObject, Qt
from qgis.PyQt.QtGui import QKeySequence
from qgis.PyQt.QtWidgets import QAbstractSpinBox, QApplication, QLineEdit


class Keys(QObject):
    """Presses actions when their keys are pressed over the map or in the panel, and nowhere else.

    They are taken before QGIS's own shortcuts are, so that Ctrl+Z means the last click while there is one; and what is
    typed into a field is no command.
    """

    def __init__(self, actions, wants, parent=None):
        """wants: whether an action, by its name, is to have its key now."""
        super().__init__(parent)
        self._actions, self._wants = actions, wants

    def eventFilter(self, watched, event):
        """Take a key from the shortcuts when it is announced, and act when it comes."""
        if event.type() not in (QEvent.Type.ShortcutOverride, QEvent.Type.KeyPress):
            return False
        if isinstance(QApplication.focusWidget(), (QLineEdit, QAbstractSpinBox)):
            return False
        action = self._meant(event)
        if action is None:
            return False
        if event.type() == QEvent.Type.KeyPress:
            action.trigger()
        event.accept()
        return True

    def _meant(self, event):
        modifiers = event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier
        value = getattr(modifiers, "value", modifiers)  # an enum in Qt 6, a number in Qt 5
        key = Qt.Key.Key_Return if event.key() == Qt.Key.Key_Enter else event.key()
        pressed = QKeySequence(int(value) | int(key))
        for name, action in self._actions.items():
            if action.isEnabled() and action.shortcut() == pressed and self._wants(name):
                return action
        return None
