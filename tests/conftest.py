"""What all tests share: how hard Hypothesis tries, and where the real imagery lies."""

import os
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
