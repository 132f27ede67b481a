"""`python -m samgeo` is the command `samgeo`."""

from samgeo.cli import main

if __name__ == "__main__":
    main()
