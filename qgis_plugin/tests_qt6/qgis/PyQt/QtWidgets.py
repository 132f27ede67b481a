"""As QGIS 4 hands it out: what Qt 6 moved to QtGui is here too."""

from PyQt6.QtGui import QAction, QActionGroup, QShortcut
from PyQt6.QtWidgets import *
