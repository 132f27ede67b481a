# SPDX-License-Identifier: GPL-2.0-or-later
"""The engine: samgeo in its own interpreter, as a child process. QGIS lives on whatever becomes of it."""

from qgis.PyQt.QtCore import QObject, QProcess, QProcessEnvironment, QTimer, pyqtSignal

from .frames import PROTOCOL, Decoder, encode
from .texts import tr

SCRUBBED = ("PYTHON", "PIP_", "VIRTUAL_ENV", "CONDA", "PROJ_", "GDAL_", "LD_", "DYLD_", "QGIS_", "QT_")
"""Variables that begin so are QGIS's own and would lead another Python astray."""
KEPT_LINES = 200
"""Lines of the child's standard error that a report shows."""


def clean_environment():
    """The environment for another Python: without what QGIS set for its own."""
    environment = QProcessEnvironment.systemEnvironment()
    for name in list(environment.keys()):
        if name.upper().startswith(SCRUBBED):
            environment.remove(name)
    environment.insert("PYTHONSAFEPATH", "1")
    environment.insert("PYTHONUTF8", "1")
    return environment


def clean_process(parent=None):
    """A process for another Python, not started yet."""
    process = QProcess(parent)
    process.setProcessEnvironment(clean_environment())
    return process


class Engine(QObject):
    """A worker that is asked and answers later."""

    died = pyqtSignal(str)
    """Why, in a sentence; what was asked stays without an answer."""

    def __init__(self, command, parent=None):
        """command: a program and its arguments, such as ["/usr/bin/python3", "-m", "samgeo.worker"]."""
        super().__init__(parent)
        self.command = command
        self.log = []
        self._process = None
        self._decoder = Decoder()
        self._waiting = {}
        self._last = 0

    @property
    def is_running(self):
        """True from the start until the end or death."""
        return self._process is not None

    def start(self):
        """Start the child, unless it runs."""
        if self.is_running:
            return
        self.log.clear()
        self._decoder = Decoder()
        process = clean_process(self)
        process.readyReadStandardOutput.connect(self._read)
        process.readyReadStandardError.connect(self._drain)
        process.finished.connect(self._finished)
        process.errorOccurred.connect(self._failed)
        self._process = process
        process.start(self.command[0], self.command[1:])
        if self._process is None:  # on some systems it is known at once that it cannot be started
            return
        self.ask("hello", lambda header, payload: None, self._refused, protocol=PROTOCOL)

    def ask(self, op, then, failed, payload=b"", **header):
        """Ask; `then(header, payload)` or `failed(message)` comes later, or neither if the engine dies. Returns an id.

        An answer that was dropped as stale calls neither.
        """
        self.start()
        if self._process is None:
            return 0
        self._last += 1
        self._waiting[self._last] = then, failed
        self._process.write(encode({"id": self._last, "op": op, **header}, payload))
        return self._last

    def forget(self, number):
        """Nobody wants the answer to a request any more."""
        if self._waiting.pop(number, None) is not None and self._process is not None:
            self._last += 1
            self._process.write(encode({"id": self._last, "op": "cancel", "target": number}))

    def stop(self, at_once=False):
        """End the child, whatever it is doing; at_once: without a moment to end by itself. Nobody is told."""
        process, self._process = self._process, None
        self._waiting.clear()
        if process is None:
            return
        for signal in (
            process.finished,
            process.errorOccurred,
            process.readyReadStandardOutput,
            process.readyReadStandardError,
        ):
            signal.disconnect()
        process.closeWriteChannel()
        if at_once or not process.waitForFinished(300):
            process.kill()
            process.waitForFinished(2000)
        process.deleteLater()

    def report(self):
        """What the child said on its standard error, for a bug report."""
        return "\n".join(self.log)

    def _read(self):
        frames = self._decoder.feed(bytes(self._process.readAllStandardOutput()))
        wrong = None
        for header, payload in frames:
            then, failed = self._waiting.pop(header.get("id"), (None, None))
            if then is None or "dropped" in header:
                continue
            try:
                if "error" in header:
                    failed(header["error"]["message"])
                else:
                    then(header, payload)
            except Exception as error:  # the other answers are heard all the same
                wrong = wrong or error
            if self._process is None:  # somebody stopped it in between
                break
        if wrong is not None:
            raise wrong

    def _drain(self):
        if self._process is not None:
            self._note(self._process)

    def _note(self, process):
        text = bytes(process.readAllStandardError()).decode("utf-8", "replace")
        self.log = [*self.log, *text.splitlines()][-KEPT_LINES:]

    def _refused(self, message):
        self.stop()
        self.died.emit(message)

    def _finished(self, code, status):
        crashed = status == QProcess.ExitStatus.CrashExit
        why = tr("the engine crashed (code {})") if crashed else tr("the engine ended (code {})")
        self._bury(why.format(code))

    def _failed(self, error):
        if error == QProcess.ProcessError.FailedToStart:
            self._bury(tr("{} could not be started").format(self.command[0]))

    def _bury(self, why):
        process, self._process = self._process, None
        if process is None:
            return
        self._waiting.clear()
        self._note(process)
        process.deleteLater()
        last = next((line for line in reversed(self.log) if line.strip()), "")
        QTimer.singleShot(0, lambda: self.died.emit(f"{why}{': ' + last if last else ''}"))
