"""Says in words for people what a text must be, for each regular expression that checks texts."""

from __future__ import annotations

LETTERS = "small letters, digits and '-'"
PATTERNS = {
    "^[a-z0-9][a-z0-9-]{0,39}$": f"is a name of 1 to 40 {LETTERS}; the first is no '-'",
    "^[a-z0-9][a-z0-9-]{0,63}$": f"is a name of 1 to 64 {LETTERS}; the first is no '-'",
    "^[a-z][a-z0-9-]{0,63}$": f"is a name of 1 to 64 {LETTERS}; the first is a letter",
    "^[a-z2-7]{12}$": "is 12 small letters and digits from 2 to 7, as in the list of keys",
    "^[0-9a-f]{32}$": "is 32 digits and small letters from a to f, as in the list of handshakes",
    "^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$": "is a time of the day like 06:30, or 24:00",
}
