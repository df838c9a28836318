"""The alarm rules that Biogate brings for the simulated plant."""

from __future__ import annotations

from pathlib import Path

import device_sim
from schema.alarms import files

FILE = Path(device_sim.__file__).parent / "alarm-rules.yaml"
RULES = {rule.name: rule for rule in files.load(FILE.read_bytes())}
