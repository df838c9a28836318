"""The PDF of a report with its signatures behind it."""

from __future__ import annotations

import hashlib
import io
from datetime import UTC, datetime, timedelta

from pypdf import PdfReader

from tests.api.accounts import Served
from tests.api.people import ADA, ada, api
from tests.api.plant import Plant
from tests.api.test_reports import asked, done, read, worker_environment
from tests.api.test_signatures import sign

__all__ = ["ada", "api", "worker_environment"]


async def test_a_signed_copy_is_the_pdf_with_pages_of_signatures_behind_it(
    plant: Plant, client: Served, ada: dict[str, str], api: Served
) -> None:
    await plant.device("br-1")
    begins = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    await asked(client, "/runs", run="B-1", devices=["br-1"], begins=begins)
    number = await done(plant, client, kind="batch", run="B-1")
    path = f"/api/v1/reports/{number}/signed.pdf"
    original = await read(client, number, "pdf")
    none = await client.get(path)
    assert "Nobody has signed this report." in pages(none.content)[-1]

    signed = await sign(api, ada, f"report/{number}", meaning="approved")
    assert signed.status_code == 201, signed.text
    copies = [(await client.get(path)).content for _ in range(2)]
    assert copies[0] == copies[1]
    assert copies[0].startswith(original)
    found = pages(copies[0])
    assert found[:-1] == pages(original)
    words = " ".join(found[-1].split())
    one = signed.json()
    at = f"{one['at'][:10]} {one['at'][11:19]} UTC"
    assert f"ada E-mail {ADA} Meaning approved When {at} State intact" in words
    together = words.replace(" ", "")
    assert one["digest"] in together
    assert hashlib.sha256(original).hexdigest() in together


async def test_a_report_without_a_pdf_has_no_signed_copy(plant: Plant, client: Served) -> None:
    number = await plant.sql.fetchval(
        "insert into reports (report_id, organization_id, kind, title, subtitle, begins, ends, template,"
        " template_version, made_by, made_at, document, html, no_pdf) values (gen_random_uuid(), 1, 'shift', 'Shift',"
        " 'x', now(), now(), 'shift', 0, 'x', now(), '{}', '<html></html>', 'no Pango') returning report_id"
    )
    answer = await client.get(f"/api/v1/reports/{number}/signed.pdf")
    assert (answer.status_code, "has no PDF: no Pango" in answer.text) == (409, True)


def pages(content: bytes) -> list[str]:
    return [page.extract_text() for page in PdfReader(io.BytesIO(content)).pages]
