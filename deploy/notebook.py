"""Copy the tutorial notebook beside the user's data, and say how to open it: `make notebook`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from deploy.stack.paths import CHECKOUT, short

TUTORIAL = CHECKOUT / "docs" / "tutorial.ipynb"
USUAL = CHECKOUT / "notebooks"
HOW = """
While `make up` runs, give the notebook address and key, and open it:

    set -a; . .stack/env; set +a
    python3 -m venv {folder}/.venv
    {folder}/.venv/bin/pip install . pandas jupyterlab
    {folder}/.venv/bin/jupyter lab {copy}

Any other program for notebooks will do, with a Python that has Biogate's package and pandas: docs/python.md."""


def copy(folder: Path) -> str:
    """Copy the tutorial into the folder and return what to tell; a copy that is another one stays as it is."""
    place = folder / TUTORIAL.name
    if place.exists() and place.read_bytes() != TUTORIAL.read_bytes():
        return (
            f"{short(place)} is not the tutorial of this version, or you have changed it: it stays as it is.\n"
            f"For a new copy name another folder: make notebook ARGS=FOLDER"
        )
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(TUTORIAL, place)
    return f"{short(place)} is ready."


def main() -> None:
    if len(sys.argv) > 2:
        sys.exit("one folder, or none: make notebook ARGS=FOLDER")
    folder = Path(sys.argv[1]).resolve() if len(sys.argv) == 2 else USUAL
    try:
        print(copy(folder))
    except OSError as error:
        sys.exit(f"{short(folder)} cannot have the notebook: {error.strerror}")
    print(HOW.format(folder=short(folder), copy=short(folder / TUTORIAL.name)))


if __name__ == "__main__":
    main()
