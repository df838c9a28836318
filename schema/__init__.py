"""The contract: topics, message types, quarantine reasons and the SQL schema; and what all parts do alike
(`console.py`, `private.py`). It imports no other package of the product."""
