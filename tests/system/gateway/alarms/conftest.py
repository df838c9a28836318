"""The evaluator as a process, as in the fast tests of it."""

from __future__ import annotations

from tests.gateway.alarms.conftest import alarms, plant, standby

__all__ = ["alarms", "plant", "standby"]
