"""All tests, four at once: `python -m tests.suite [argument of pytest …]`

Many of them kill, cut and wait for real servers, and beside three others on a small machine a wait may be too short. So
a few that failed are run once more, one after the other; who fails then has failed. Both runs are told in full.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

AT_ONCE = ("-n", "4", "--dist", "loadfile", "--no-loadscope-reorder")
ALONE = ("-n", "0", "--last-failed", "--last-failed-no-failures=none")
FAILED = Path(".pytest_cache/v/cache/lastfailed")
FEW = 4


def pytest(*arguments: str) -> int:
    return subprocess.run([sys.executable, "-m", "pytest", *arguments], check=False).returncode


def main() -> int:
    given = sys.argv[1:]
    FAILED.unlink(missing_ok=True)
    outcome = pytest(*AT_ONCE, *given)
    failed = len(json.loads(FAILED.read_text())) if FAILED.exists() else 0
    if outcome != 1 or not 1 <= failed <= FEW:  # 1: all were run, and some failed
        return outcome
    print(f"\n{failed} failed beside others, and are run again alone:", flush=True)
    return pytest(*ALONE, *given)


if __name__ == "__main__":
    sys.exit(main())
