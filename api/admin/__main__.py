"""`python -m api.admin …`: accounts and organizations, at the database, for who owns it."""

from __future__ import annotations

import typer

from api.admin import accounts as admin_accounts
from api.admin import audit as admin_audit
from api.admin import holds as admin_holds
from api.admin import sql as admin_sql

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Accounts, organizations and keys. BIOGATE_DATABASE_URL has the login of the database's owner. Tables begin "
    "with a line of headings; in a pipe their cells are told apart by tabs.",
)

app.command()(admin_accounts.user)
app.command()(admin_accounts.organization)
app.command()(admin_accounts.key)
app.command()(admin_accounts.give)
app.command("list")(admin_accounts.list_accounts)
app.add_typer(admin_sql.app, name="sql-login")
app.add_typer(admin_audit.app, name="audit")
app.add_typer(admin_holds.app, name="hold")

if __name__ == "__main__":
    app()
