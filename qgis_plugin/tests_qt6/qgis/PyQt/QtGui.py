"""As QGIS 4 hands it out."""

from PyQt6.QtGui import *
