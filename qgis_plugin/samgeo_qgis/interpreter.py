# SPDX-License-Identifier: GPL-2.0-or-later
"""Which Python the engine runs in: one that the user names, or one that is made for it beside the profile."""

import os
import sys

from qgis.core import Qgis, QgsApplication, QgsSettings
from qgis.PyQt.QtCore import QObject, QProcess, QTimer, pyqtSignal

from .engine import clean_process
from .texts import tr

KEY = "samgeo/python"
MODEL_KEY = "samgeo/model"
DEFAULT_MODEL = "samgeo-nano"
VARIABLE = "SAMGEO_PYTHON"
"""Names a Python, before what is set."""
FITS = """
import os, sys
version = sys.version_info[:2]
torch = [name for folder in sys.argv[1:] for name in os.listdir(folder) if name.startswith("torch-")]
has_torch = any("-cp%d%d-" % version in name for name in torch)
sys.exit(not ((3, 11) <= version <= (3, 13) and (has_torch or len(sys.argv) == 1)))
"""
"""Fails in a Python that samgeo does not run on, or for which a folder of packages is not: torch is for one version."""


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


def bases():
    """Programs of this machine that may be a Python which can make environments. QGIS's own is none."""
    versions = ("3.13", "3.12", "3.11", "3")
    names = ["python3.exe", "python.exe"] if os.name == "nt" else [f"bin/python{version}" for version in versions]
    prefixes = (sys.base_prefix, sys.prefix, "/usr/local", "/usr", "/opt/homebrew")
    paths = [os.path.join(prefix, name) for prefix in prefixes for name in names]
    return [path for path in dict.fromkeys(paths) if os.path.isfile(path)]


class Run(QObject):
    """A command in the background, heard of once."""

    ended = pyqtSignal(bool, str)
    """Whether it went well and in time, and what it wrote."""

    def __init__(self, command, most_ms, parent=None):
        super().__init__(parent)
        self._command, self._process = command, clean_process(self)
        self._process.setProcessChannelMode(QProcess.ProcessChannelMode.MergedChannels)
        self._process.finished.connect(
            lambda code, status: self._end(code == 0 and status == QProcess.ExitStatus.NormalExit)
        )
        self._process.errorOccurred.connect(self._failed)
        self._clock = QTimer(self)
        self._clock.setSingleShot(True)
        self._clock.setInterval(most_ms)
        self._clock.timeout.connect(lambda: self._end(False))

    def start(self):
        """Begin."""
        self._clock.start()
        self._process.start(self._command[0], self._command[1:])

    def stop(self):
        """End it at once; nobody is told."""
        self._clock.stop()
        self._process.blockSignals(True)
        if self._process.state() != QProcess.ProcessState.NotRunning:
            self._process.kill()
            self._process.waitForFinished(2000)

    def _failed(self, error):
        if error == QProcess.ProcessError.FailedToStart:
            self._end(False)

    def _end(self, worked):
        text = bytes(self._process.readAll()).decode("utf-8", "replace")
        self.stop()
        self.ended.emit(worked, text)


class Search(QObject):
    """Looks for a Python that can make environments, in the background."""

    found = pyqtSignal(str)
    """Its path, or nothing."""

    def __init__(self, wheels=None, parent=None):
        """wheels: a folder of packages that the Python must fit."""
        super().__init__(parent)
        self._paths, self._run = bases(), None
        self._folders = [wheels] if wheels else []

    def start(self):
        """Begin, or go on with the next program."""
        if not self._paths:
            self.found.emit("")
            return
        path = self._paths.pop(0)
        self._run = Run([path, "-c", FITS, *self._folders], 10_000, self)
        self._run.ended.connect(lambda fits, text: self.found.emit(path) if fits else self.start())
        self._run.start()

    def stop(self):
        """End it at once; nobody is told."""
        if self._run is not None:
            self._run.stop()


class Installer(QObject):
    """Makes the environment and installs samgeo into it, in the background."""

    said = pyqtSignal(str)
    """A line of output."""
    done = pyqtSignal(bool, str)
    """Whether it worked, and the Python, or why not."""

    def __init__(self, base, folder, wheels=None, package="samgeo", parent=None):
        """base: a Python. folder: of the environment. wheels: a folder to install from, without a network.

        What its requirements.txt says, checksums above all, is held against each package in it.
        """
        super().__init__(parent)
        self._folder, self._wrong = folder, ""
        source = ["--no-index", "--find-links", wheels] if wheels else []
        listed = os.path.join(wheels, "requirements.txt") if wheels else ""
        what = ["--require-hashes", "--requirement", listed] if os.path.isfile(listed) else [package]
        install = [python_in(folder), "-m", "pip", "install", "--disable-pip-version-check", *source, *what]
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
            if line.startswith("ERROR:") and not self._wrong:
                self._wrong = line
            self.said.emit(line)

    def _finished(self, code, status):
        if code or status == QProcess.ExitStatus.CrashExit:
            told = tr("the last command ended with code {}").format(code)
            self.done.emit(False, f"{told}: {self._wrong}" if self._wrong else told)
        else:
            self.start()

    def _failed(self, error):
        if error == QProcess.ProcessError.FailedToStart:
            self.done.emit(False, tr("{} could not be started").format(self._process.program()))


def diagnose(engine, then, parent=None):
    """Facts for a bug report: `then(text)` is called with them later. Returns the `Run` that they wait for, or None."""
    python = find_python()
    lines = [
        f"QGIS {Qgis.QGIS_VERSION}",
        f"QGIS's Python {sys.version.split()[0]}",
        f"engine's Python: {python or 'none: set one, or let the plugin make an environment'}",
        f"profile: {QgsApplication.qgisSettingsDirPath()}",
        f"engine runs: {engine is not None and engine.is_running}",
    ]
    log = ["", "the engine's standard error:", engine.report()] if engine is not None and engine.log else []
    if python is None:
        then("\n".join(lines + log))
        return None
    run = Run([python, "-m", "samgeo", "doctor"], 60_000, parent)
    run.ended.connect(lambda worked, text: then("\n".join([*lines, "", "samgeo doctor:", text.rstrip(), *log])))
    run.start()
    return run
