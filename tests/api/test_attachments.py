"""Attachments of deviations: what is taken, by its bytes; how it is given out; what it counts against."""

from __future__ import annotations

import hashlib

import httpx2
import pytest

from api.problems import Unsupported
from api.queries import attachments
from api.queries.attachments import media_type
from api.shapes.deviations import MOST_ATTACHED_BYTES
from tests.api.operators import Operator
from tests.api.test_deviations import FIRST, events, opened, send
from tests.api.test_devices import north, operator

__all__ = ["north", "operator"]

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))


async def attach(caller: Operator, content: bytes, name: str = "a.png", **options: str) -> httpx2.Response:
    return await caller.client.post(
        "/api/v1/deviation-attachments",
        params={"deviation": FIRST, "name": name, "why": "shows it"},
        content=content,
        headers=caller.headers | options,
    )


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a...", "image/gif"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "image/webp"),
        (b"%PDF-1.7\n", "application/pdf"),
        (b"time,value\n1,2\n", "text/csv"),
        ("Zeit;Wert\r\n1;2,5\r\n".encode("utf-8-sig"), "text/plain"),
        ("Zeit;Wert\r\n1;2\r\n".encode("utf-8-sig"), "text/csv"),
        ("Füllstand war zu hoch".encode(), "text/plain"),
        (b"<svg onload='alert(1)'/>", "text/plain"),
        (b"<script>alert(1)</script>", "text/plain"),
    ],
)
def test_what_a_file_is_its_bytes_tell(content: bytes, kind: str) -> None:
    assert media_type(content) == kind


@pytest.mark.parametrize("content", [b"MZ\x90\0", b"PK\x03\x04", b"\x7fELF", b"a\0b", b"\xff\xfea\0", b"\x1b[2J"])
def test_other_files_are_not_taken(content: bytes) -> None:
    with pytest.raises(Unsupported):
        media_type(content)


async def test_a_file_comes_back_as_it_was_and_is_saved_not_shown(operator: Operator) -> None:
    await opened(operator)
    made = await attach(operator, PNG, 'böse"<a>.html')
    assert made.status_code == 201, made.text
    said = made.json()
    assert (said["media_type"], said["sha256"]) == ("image/png", hashlib.sha256(PNG).hexdigest())
    answer = await send(operator, "GET", f"/deviations/{FIRST}/attachments/{said['id']}")
    assert answer.content == PNG
    policies = answer.headers.get_list("content-security-policy")
    assert "sandbox; default-src 'none'" in policies
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-disposition"] == (
        "attachment; filename=\"b_se__a_.html\"; filename*=UTF-8''b%C3%B6se%22%3Ca%3E.html"
    )
    action, _, new, why = (await events(operator))[-1]
    assert (action, new["sha256"], new["name"], why) == (
        *("deviation attach", said["sha256"], 'böse"<a>.html', "shows it"),
    )
    assert (await operator.get(f"/deviations/{FIRST}", "DeviationDetail"))["attachments"] == [said]


async def test_what_is_empty_too_large_a_form_or_of_another_kind_is_refused(operator: Operator) -> None:
    await opened(operator)
    assert (await attach(operator, b"")).status_code == 422
    assert (await attach(operator, b"MZ\x90\0")).status_code == 415
    assert (await attach(operator, b"x", **{"Content-Type": "multipart/form-data; boundary=x"})).status_code == 415
    assert (await attach(operator, b"a" * (MOST_ATTACHED_BYTES + 1))).status_code == 413
    assert (await operator.get(f"/deviations/{FIRST}"))["attachments"] == []


async def test_an_organization_has_a_share_and_the_other_its_own(
    operator: Operator, north: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attachments, "MOST_ALL_BYTES", 10)
    for caller in (operator, north):
        await opened(caller)
        assert (await attach(caller, b"a" * 9)).status_code == 201
    refused = await attach(operator, b"bb")
    assert (refused.status_code, "10 bytes" in refused.json()["detail"]) == (409, True)
    assert (await attach(operator, b"b")).status_code == 201


async def test_a_file_of_another_organization_is_not_there(operator: Operator, north: Operator) -> None:
    await opened(operator)
    number = (await attach(operator, PNG)).json()["id"]
    assert (await send(north, "GET", f"/deviations/{FIRST}/attachments/{number}")).status_code == 404
    assert (await attach(north, PNG)).status_code == 404
    await opened(north)
    assert (await send(north, "GET", f"/deviations/{FIRST}/attachments/{number}")).status_code == 404
