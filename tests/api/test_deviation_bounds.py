"""What an organization can take of the database by links, comments and places."""

from __future__ import annotations

from tests.api.operators import ORDER, Operator
from tests.api.plant import Plant
from tests.api.test_deviations import FIRST, opened, send
from tests.api.test_devices import operator

__all__ = ["operator"]


async def test_links_comments_versions_and_places_are_bounded(plant: Plant, operator: Operator) -> None:
    await plant.device("br-1")
    await opened(operator)
    path = f"/deviations/{FIRST}"
    await plant.sql.execute(
        "insert into deviation_links (deviation_id, type, kind, reference, who, why)"
        " select deviation_id, 'seen-in', 'device', g::text, 'eva', 'x' from deviations, generate_series(1, 200) g"
    )
    link = ORDER | {"type": "seen-in", "kind": "device", "reference": "br-1"}
    assert (await send(operator, "POST", f"{path}/links", link)).status_code == 409
    made = (await send(operator, "POST", f"{path}/comments", {"text": "x"})).json()["id"]
    await plant.sql.execute(
        "insert into deviation_comments (comment_id, version, deviation_id, text, who)"
        " select comment_id, g, deviation_id, text, who from deviation_comments, generate_series(2, 100) g"
    )
    assert (await send(operator, "PUT", f"{path}/comments/{made}", ORDER | {"text": "y"})).status_code == 409
    await plant.sql.execute(
        "insert into deviation_comments (comment_id, version, deviation_id, text, who)"
        " select 1000 + g, 1, deviation_id, 'x', 'eva' from deviations, generate_series(1, 999) g"
    )
    assert (await send(operator, "POST", f"{path}/comments", {"text": "x"})).status_code == 409
    await plant.sql.execute(
        "insert into locations (organization_id, path, kind) select 1, 'p' || n, 'hall' from generate_series(1, 1000) n"
    )
    place = ORDER | {"path": "more", "kind": "hall"}
    assert (await send(operator, "PUT", "/locations", place)).status_code == 409
