"""`python -m samgeo.worker`: serve whoever started this process, until it asks to stop or goes away."""

from __future__ import annotations

import sys

from samgeo.worker.serving import main

if __name__ == "__main__":
    sys.exit(main())
