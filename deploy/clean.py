"""Remove everything that `make` made: the stack with its data, the virtual environment, the tools' caches.

Standard library only, as .venv goes too. Debian packages stay.
"""

from __future__ import annotations

import sys

from deploy.stack.paths import CHECKOUT, STACK, short
from deploy.stack.process import holders
from deploy.stack.root import remove

MADE = (
    ".venv",
    ".stack",
    "build",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
    ".hypothesis",
    ".import_linter_cache",
)
PACKAGES = ("schema", "gateway", "api", "device_sim", "deploy", "tests")


def main() -> int:
    for lock in (STACK / "run").rglob("*.lock"):
        if holders(lock):
            print(f"A stack is running (it holds {short(lock)}): stop it first.", file=sys.stderr)
            return 1
    for name in MADE:
        remove(CHECKOUT / name)
    for path in [*CHECKOUT.glob("*.egg-info"), CHECKOUT / "__pycache__"]:
        remove(path)
    for package in PACKAGES:
        for cache in [*(CHECKOUT / package).rglob("__pycache__")]:
            remove(cache)
    return 0


if __name__ == "__main__":
    sys.exit(main())
