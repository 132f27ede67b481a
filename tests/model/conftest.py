"""A server of weights that behaves as a test wants, and members whose weights it has."""

import hashlib
import random
import subprocess
import sys
from pathlib import Path

import pytest

from samgeo.model.published import Digest, Published

CONTENT = b"PK\x03\x04" + random.Random(5).randbytes(300_000)
SHA256 = Digest(kind="sha256", hex=hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture(scope="session")
def weights_server(tmp_path_factory):
    """The address of a server in a process of its own."""
    file = tmp_path_factory.mktemp("server") / "weights"
    file.write_bytes(CONTENT)
    program = Path(__file__).with_name("weights_server.py")
    process = subprocess.Popen([sys.executable, program, file], stdout=subprocess.PIPE, text=True)
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def member(weights_server, tmp_path):
    """A member whose file the server has, by a behaviour of `weights_server`; each test has paths of its own."""

    def of(behaviour, **facts):
        given = {"size_bytes": len(CONTENT), "digest": SHA256} | facts
        base = f"{weights_server}/{behaviour}/{tmp_path.name}/"
        return Published(
            name="sam-vit-x", file="sam_vit_x.pth", base=base, parameters=1, input_px=1, good_for="tests", **given
        )

    return of
