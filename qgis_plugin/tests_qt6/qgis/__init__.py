"""As QGIS 4 hands it out."""
