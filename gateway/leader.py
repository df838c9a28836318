"""One gateway of a cell leads: it alone connects to the broker with the cell's client id.

The others stand by, and take over (gateway/runtime/lead.py). A leader that loses the lead leaves the broker.
"""

from __future__ import annotations

from gateway import metrics
from gateway.runtime.database import Troubles
from gateway.runtime.lead import Lead
from gateway.settings import Settings

COUNT = "update cells set epoch = epoch + 1 where cell = $1 returning epoch"
READ = "select epoch from cells where cell = $1"


class CellLead(Lead):
    """The lead in the cell of BIOGATE_CELL. `leading` is also for work that needs one owner in the cell."""

    def __init__(self, settings: Settings, troubles: Troubles) -> None:
        gauges, what = (metrics.LEADER, metrics.LEADERS_FROZEN), f"cell {settings.cell}"
        super().__init__(settings, troubles, *gauges, what=what, count=COUNT, read=READ, arguments=(settings.cell,))
