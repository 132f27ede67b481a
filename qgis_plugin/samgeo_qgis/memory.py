# SPDX-License-Identifier: GPL-2.0-or-later
"""What the panel is set to goes with the project: into its file, and back when it is opened."""

from qgis.core import QgsProject

SCOPE = "samgeo"


class Memory:
    """Keeps the state of a panel in the project that is open."""

    def __init__(self, dock):
        self._dock = dock
        project = QgsProject.instance()
        project.writeProject.connect(self._write)
        project.readProject.connect(self._read)
        project.cleared.connect(self._forget)
        self._read()

    def close(self):
        """Listen no longer."""
        project = QgsProject.instance()
        project.writeProject.disconnect(self._write)
        project.readProject.disconnect(self._read)
        project.cleared.disconnect(self._forget)

    def _write(self, document=None):
        project, dock = QgsProject.instance(), self._dock
        for name in ("raster", "target"):
            layer = getattr(dock, name).currentLayer()
            project.writeEntry(SCOPE, name, layer.id() if layer is not None else "")
        project.writeEntry(SCOPE, "label", dock.label.text())
        for name in ("simplify", "smallest"):
            project.writeEntryDouble(SCOPE, name, getattr(dock, name).value())
        for name in ("square", "hover"):
            project.writeEntryBool(SCOPE, name, getattr(dock, name).isChecked())

    def _read(self, document=None):
        project, dock = QgsProject.instance(), self._dock
        if "label" not in project.entryList(SCOPE, ""):  # a project that knows nothing of us
            return
        for name in ("raster", "target"):
            layer = project.mapLayer(project.readEntry(SCOPE, name)[0])
            if layer is not None:
                getattr(dock, name).setLayer(layer)
        dock.label.setText(project.readEntry(SCOPE, "label")[0])
        for name in ("simplify", "smallest"):
            getattr(dock, name).setValue(project.readDoubleEntry(SCOPE, name)[0])
        for name in ("square", "hover"):
            getattr(dock, name).setChecked(project.readBoolEntry(SCOPE, name)[0])

    def _forget(self):
        """Another project has labels of its own; how outlines are drawn stays."""
        self._dock.label.clear()
