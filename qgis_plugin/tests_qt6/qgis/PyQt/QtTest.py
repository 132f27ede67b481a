"""As QGIS 4 hands it out."""

from PyQt6.QtTest import *
