# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the engine comes from: a Python that has samgeo, or one click that makes one; and a report for bugs."""

from qgis.core import QgsSettings
from qgis.gui import QgsFileWidget
from qgis.PyQt.QtWidgets import (
    QApplication,
    QDialog,
    QDialogButtonBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QVBoxLayout,
)

from . import interpreter
from .texts import tr


class EngineDialog(QDialog):
    """Name a Python, or make an environment."""

    def __init__(self, engine, parent=None):
        super().__init__(parent)
        self.setWindowTitle(tr("The engine of samgeo"))
        self.setMinimumWidth(560)
        self._engine, self._installer, self._is_closed = engine, None, False
        self._search = self._report = None
        about = QLabel(
            tr(
                "The engine is the Python package samgeo. It runs beside QGIS in a Python of its own, so that neither "
                "can harm the other. Nothing leaves this machine."
            )
        )
        about.setWordWrap(True)
        self.python = QgsFileWidget()
        self.python.setFilePath(QgsSettings().value(interpreter.KEY, "", str))
        self.python.setToolTip(tr("A python program of an environment in which samgeo is installed"))
        self.wheels = QgsFileWidget()
        self.wheels.setStorageMode(QgsFileWidget.StorageMode.GetDirectory)
        self.wheels.setToolTip(tr("To install without a network: a folder with the packages"))
        self.model = QLineEdit(QgsSettings().value(interpreter.MODEL_KEY, "", str))
        self.model.setPlaceholderText(interpreter.DEFAULT_MODEL)
        self.model.setToolTip(tr("What `samgeo models` lists and has fetched, or a file of weights"))
        self.cache = QLabel(tr("not known yet"))
        self.empty = QPushButton(tr("Empty"))
        self.empty.setToolTip(tr("What was encoded is kept on disk, so that clicks there are answered at once."))
        self.empty.clicked.connect(lambda checked: self._ask_cache(clear=True))
        self.make = QPushButton(tr("Make an environment now"))
        self.make.clicked.connect(self.install)
        self.report = QPushButton(tr("Diagnose"))
        self.report.clicked.connect(self.diagnose)
        self.text = QPlainTextEdit()
        self.text.setReadOnly(True)
        self.text.setMinimumHeight(180)
        form = QFormLayout()
        form.addRow(tr("Python with samgeo"), self.python)
        form.addRow(tr("Offline folder"), self.wheels)
        form.addRow(tr("Model"), self.model)
        kept = QHBoxLayout()
        kept.addWidget(self.cache, 1)
        kept.addWidget(self.empty)
        form.addRow(tr("Cache"), kept)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel)
        self.ok = buttons.button(QDialogButtonBox.StandardButton.Ok)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        for part in (about, self.make, self.report, self.text):
            layout.addWidget(part)
        layout.insertLayout(1, form)
        layout.addWidget(buttons)
        found = interpreter.find_python()
        self.text.setPlainText(found or tr("There is no engine yet."))
        self.empty.setEnabled(found is not None)
        if found is not None:
            self._ask_cache()

    def accept(self):
        """Remember Python and model."""
        QgsSettings().setValue(interpreter.MODEL_KEY, self.model.text().strip())
        QgsSettings().setValue(interpreter.KEY, self.python.filePath().strip())
        super().accept()

    def _ask_cache(self, **header):
        """How much is kept; the dialog may be gone when that is known."""

        def told(answer, payload):
            if not self._is_closed:
                self.cache.setText(
                    tr("{:.0f} of at most {:.0f} MB").format(answer["bytes"] / 1e6, answer["most_bytes"] / 1e6)
                )

        self._engine.ask("cache", told, lambda message: None, **header)

    def done(self, result):
        """Closed, in whatever way; what is under way stops."""
        self._is_closed = True
        for one in (self._search, self._report):
            if one is not None:
                one.stop()
        if self._installer is not None:
            self._installer.cancel()
        super().done(result)

    def install(self):
        """Make the environment; there is no OK meanwhile, which would throw it away."""
        self._is_making(True)
        self.text.clear()
        self._search = interpreter.Search(self.wheels.filePath() or None, self)
        self._search.found.connect(self._found)
        self._search.start()

    def _is_making(self, making):
        self.make.setEnabled(not making)
        self.ok.setEnabled(not making)

    def _found(self, base):
        if not base:
            self.text.setPlainText(
                tr("No Python was found here that the folder has packages for. Fix: install that version.")
                if self.wheels.filePath()
                else tr("No Python 3.11 or later was found here. Fix: install one, or name yours above.")
            )
            self._is_making(False)
            return
        self._installer = interpreter.Installer(
            base, interpreter.new_folder(), self.wheels.filePath() or None, parent=self
        )
        self._installer.said.connect(self.text.appendPlainText)
        self._installer.done.connect(self._done)
        self._installer.start()

    def diagnose(self):
        """Show the report when it is there, and keep it for pasting."""
        self.report.setEnabled(False)
        self._report = interpreter.diagnose(self._engine, self._diagnosed, self)

    def _diagnosed(self, text):
        self.report.setEnabled(True)
        self.text.setPlainText(text)
        QApplication.clipboard().setText(text)

    def _done(self, worked, what):
        self._installer = None
        self._is_making(False)
        if worked:
            self.python.setFilePath(what)
        self.text.appendPlainText(tr("Ready: {}").format(what) if worked else tr("It did not work: {}").format(what))
