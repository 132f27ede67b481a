"""Qt 6 without QGIS: `qgis.PyQt` is PyQt6, and of `qgis.core` and `qgis.gui` there is what the plugin names."""

import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
sys.path[:0] = [str(HERE), os.environ.get("SAMGEO_PLUGIN", str(HERE.parent))]
sys.path.append(str(HERE.parent / "tests"))  # for what both lanes use


@pytest.fixture(autouse=True)
def what_slots_raise(monkeypatch):
    """Fails the test; without a hook PyQt6 ends the process and nobody reads why."""
    raised = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, trace: raised.append(error))
    yield
    if raised:
        raise raised[0]
