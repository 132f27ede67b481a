"""What all tests share: how hard Hypothesis tries, and where the real imagery lies."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Tests run in parallel processes: more threads than cores would wait for each other. Set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples on every run, so that a failure belongs to the change that caused it. `make sweep` tries more.
settings.register_profile("default", derandomize=True, deadline=None, max_examples=100)
settings.register_profile(
    "sweep", deadline=None, max_examples=2000, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real labelled imagery, which is not part of the repository."""
    folder = Path(os.environ.get("SAMGEO_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real imagery: {folder} is not there; set SAMGEO_DATA to its folder")
    return folder


@pytest.fixture
def model():
    """The oracle, which counts what it is asked."""
    from tests.clicked import Counting

    return Counting()


@pytest.fixture
def session(model):
    """A session on the scene of `tests.clicked`, with nothing clicked."""
    from samgeo.session import Session
    from tests.clicked import GRID, NO_CACHE, SCENE

    with Session(SCENE.image, GRID, model=model, settings=NO_CACHE) as opened:
        yield opened


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a test marked `alone` in a fresh process: forks of one that ran other tests inherit their threads' locks."""
    if item.get_closest_marker("alone") is None or "PYTEST_XDIST_WORKER" not in os.environ:
        return None
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    line = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", item.nodeid]
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    skipped = done.returncode == 0 and "1 skipped" in done.stdout
    report = pytest.TestReport(
        nodeid=item.nodeid,
        location=item.location,
        keywords={},
        outcome="skipped" if skipped else "failed" if done.returncode else "passed",
        longrepr=(item.nodeid, 0, "Skipped: see the test alone") if skipped else done.stdout + done.stderr,
        when="call",
    )
    item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    item.session._setupstate.teardown_exact(nextitem)  # what tests before it in its module have set up
    return True
