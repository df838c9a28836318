"""The forms of a page, with what a browser would send if somebody pressed their button."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

Fields = dict[str, Any]


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, Fields]] = []
        self._fields: Fields = {}
        self._select = self._area = ""
        self._options: list[tuple[str, bool]] = []
        self._text: list[str] | None = None
        self._option: tuple[str | None, bool] | None = None

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        name, value = given.get("name") or "", given.get("value")
        if tag == "form":
            self._fields = {}
            self.found.append((given.get("action") or "", self._fields))
        elif tag == "input" and name and (given.get("type") not in {"checkbox", "radio"} or "checked" in given):
            self._fields.setdefault(name, []).append(value or "")
        elif tag == "select":
            self._select, self._options = name, []
        elif tag == "option" and self._select:
            self._option, self._text = (value, "selected" in given), []
        elif tag == "textarea":
            self._area, self._text = name, []

    def handle_data(self, data: str) -> None:
        if self._text is not None:
            self._text.append(data)

    def handle_endtag(self, tag: str) -> None:
        text = "".join(self._text or [])
        if tag == "textarea":
            self._fields.setdefault(self._area, []).append(text.replace("\n", "\r\n"))
            self._text = None
        elif tag == "option" and self._option is not None:
            value, is_selected = self._option
            self._options.append((text if value is None else value, is_selected))
            self._option = self._text = None
        elif tag == "select" and self._select:
            chosen = [value for value, is_selected in self._options if is_selected] or [self._options[0][0]]
            self._fields.setdefault(self._select, []).extend(chosen[-1:])
            self._select = ""


def forms(html: str, address: str) -> list[Fields]:
    """Return the forms of a page that are sent to an address that ends so: field → values."""
    parser = _Forms()
    parser.feed(html)
    return [fields for action, fields in parser.found if action.endswith(address)]
