"""What the API loads before anybody has asked for it."""

from __future__ import annotations

import subprocess
import sys

CODE = "import sys, api.app; print(*sorted({'pyarrow', 'pandas', 'polars'} & sys.modules.keys()))"


def test_the_api_starts_without_what_files_alone_need() -> None:
    """pyarrow takes 40 MB, which most processes of the API never need."""
    assert subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True).stdout == "\n"
