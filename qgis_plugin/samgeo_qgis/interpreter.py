# SPDX-License-Identifier: GPL-2.0-or-later
"""Which Python the engine runs in: one that the user names, or one that is made for it beside the profile."""

import os
import sys

from qgis.core import Qgis, QgsApplication, QgsSettings
from qgis.PyQt.QtCore import QObject, QProcess, pyqtSignal

from .engine import clean_process
from .texts import tr

KEY = "samgeo/python"
MODEL_KEY = "samgeo/model"
DEFAULT_MODEL = "samgeo-nano"
VARIABLE = "SAMGEO_PYTHON"
"""Names a Python, before what is set."""
FITS = "import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))"
"""What samgeo runs on."""


def own_folder():
    """Where environments are made: never in the plugin's folder, which updates replace."""
    return os.path.join(QgsApplication.qgisSettingsDirPath(), "samgeo-engine")


def new_folder():
    """A folder for another environment; one that works is left alone."""
    number = 1
    while os.path.exists(os.path.join(own_folder(), str(number))):
        number += 1
    return os.path.join(own_folder(), str(number))


def python_in(folder):
    """The interpreter of an environment."""
    return os.path.join(folder, "Scripts", "python.exe") if os.name == "nt" else os.path.join(folder, "bin", "python")


def find_python():
    """The Python that the engine runs in, or None: set by the user, or made here, which sets it too."""
    for path in (os.environ.get(VARIABLE), QgsSettings().value(KEY, "", str)):
        if path and os.path.isfile(path):
            return path
    return None


def model():
    """The model that is clicked with."""
    return QgsSettings().value(MODEL_KEY, "", str) or DEFAULT_MODEL


def command():
    """What starts the engine; without one, what says in its own words that there is none."""
    return [find_python() or "python3", "-m", "samgeo.worker"]


def base_python():
    """A Python of this machine that can make environments, or None. QGIS's own program is none."""
    versions = ("3.13", "3.12", "3.11", "3")
    names = ["python3.exe", "python.exe"] if os.name == "nt" else [f"bin/python{version}" for version in versions]
    for prefix in (sys.base_prefix, sys.prefix, "/usr/local", "/usr", "/opt/homebrew"):
        for name in names:
            path = os.path.join(prefix, name)
            if os.path.isfile(path) and _fits(path):
                return path
    return None


def _fits(python):
    process = clean_process()
    process.start(python, ["-c", FITS])
    return process.waitForFinished(10_000) and process.exitCode() == 0


class Installer(QObject):
    """Makes the environment and installs samgeo into it, in the background."""

    said = pyqtSignal(str)
    """A line of output."""
    done = pyqtSignal(bool, str)
    """Whether it worked, and the Python, or why not."""

    def __init__(self, base, folder, wheels=None, package="samgeo", parent=None):
        """base: a Python. folder: of the environment. wheels: a folder to install from, without a network."""
        super().__init__(parent)
        self._folder = folder
        source = ["--no-index", "--find-links", wheels] if wheels else []
        install = [python_in(folder), "-m", "pip", "install", "--disable-pip-version-check", *source, package]
        check = [python_in(folder), "-m", "samgeo", "doctor"]
        self._commands = [[base, "-m", "venv", folder], install, check]
        self._process = None

    def start(self):
        """Begin, or go on with the next command."""
        if not self._commands:
            self.done.emit(True, python_in(self._folder))
            return
        command = self._commands.pop(0)
        self.said.emit("$ " + " ".join(command))
        process = clean_process(self)
        process.setProcessChannelMode(QProcess.ProcessChannelMode.MergedChannels)
        process.readyRead.connect(self._read)
        process.finished.connect(self._finished)
        process.errorOccurred.connect(self._failed)
        self._process = process
        process.start(command[0], command[1:])

    def cancel(self):
        """Stop at once."""
        self._commands = []
        process, self._process = self._process, None
        if process is not None:
            for signal in (process.finished, process.errorOccurred, process.readyRead):
                signal.disconnect()
            process.kill()
            process.waitForFinished(2000)
            self.done.emit(False, tr("cancelled"))

    def _read(self):
        for line in bytes(self._process.readAll()).decode("utf-8", "replace").splitlines():
            self.said.emit(line)

    def _finished(self, code, status):
        if code or status == QProcess.ExitStatus.CrashExit:
            self.done.emit(False, tr("the last command ended with code {}").format(code))
        else:
            self.start()

    def _failed(self, error):
        if error == QProcess.ProcessError.FailedToStart:
            self.done.emit(False, tr("{} could not be started").format(self._process.program()))


def diagnose(engine):
    """Facts for a bug report, as text."""
    python = find_python()
    lines = [
        f"QGIS {Qgis.QGIS_VERSION}",
        f"QGIS's Python {sys.version.split()[0]}",
        f"engine's Python: {python or 'none: set one, or let the plugin make an environment'}",
        f"profile: {QgsApplication.qgisSettingsDirPath()}",
        f"engine runs: {engine is not None and engine.is_running}",
    ]
    if python is not None:
        process = clean_process()
        process.setProcessChannelMode(QProcess.ProcessChannelMode.MergedChannels)
        process.start(python, ["-m", "samgeo", "doctor"])
        process.waitForFinished(60_000)
        lines += ["", "samgeo doctor:", bytes(process.readAll()).decode("utf-8", "replace").rstrip()]
    if engine is not None and engine.log:
        lines += ["", "the engine's standard error:", engine.report()]
    return "\n".join(lines)
