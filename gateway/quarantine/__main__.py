"""`python -m gateway.quarantine`: list, show, replay and discard rejected messages."""

from gateway.quarantine.console import app

if __name__ == "__main__":
    app()
