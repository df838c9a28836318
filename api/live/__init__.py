"""Live feeds: `hub.py` reads once for all who listen, `member.py` is one of them, `forms.py` what is sent, `feeding.py`
sends it to one client, by socket or as server-sent events."""
