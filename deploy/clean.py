"""Remove everything that `make` made: the stack with its data, the virtual environment, the tools' caches.

Standard library only, as .venv goes too. Debian packages stay.
"""

from __future__ import annotations

import sys

from deploy.stack.local import held
from deploy.stack.paths import CHECKOUT, short
from deploy.stack.root import remove

CACHES = (".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", ".import_linter_cache", "__pycache__")
MADE = (".venv", ".stack", "build", "api/pages/static/vendor", *CACHES)
PACKAGES = ("schema", "gateway", "api", "device_sim", "deploy", "tests")


def main() -> int:
    if lock := held():
        print(f"A stack is running (it holds {short(lock)}): stop it first.", file=sys.stderr)
        return 1
    caches = [cache for package in PACKAGES for cache in (CHECKOUT / package).rglob("__pycache__")]
    for path in [*(CHECKOUT / name for name in MADE), *CHECKOUT.glob("*.egg-info"), *caches]:
        remove(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
