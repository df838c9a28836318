"""`biogate accounts user|organization|key|give|list`: the first accounts, and what is done without one."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import asyncpg
import typer
from pydantic_settings import BaseSettings, SettingsConfigDict

from api.access.passwords import check_strength, checked, hash_now
from api.access.roles import Role, Scope
from api.access.tokens import ApiKey, code_hash, hashed, new_token
from api.admin.console import Organization, organization_id, run, write_secret
from api.settings import PasswordRounds
from schema.command_line import commands
from schema.console import Refused, Who, Why, settings, stop, table, tell, time, words

app = commands(
    "Accounts, organizations and keys. BIOGATE_DATABASE_URL has a login with the role biogate_operator. Tables begin "
    "with a line of headings; in a pipe their cells are told apart by tabs."
)

EMAIL = re.compile(r"[!-?A-~]+@[!-?A-~]+")
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")

AUDIT = "insert into audit (organization_id, who, action, subject, new, why) values ($1, $2, $3, $4, $5, $6)"
END_KEYS = """
update api_keys set ended_at = now() where organization_id = $1 and name = $2 and ended_at is null returning key_id"""
ADMINS = """
select string_agg(u.email, ', ' order by m.since)
  from organizations o join memberships m using (organization_id) join users u using (user_id)
 where o.name = $1 and m.role = 'admin'"""
LIST = """
with people as (
    select u.user_id, u.email, u.name, u.created_at,
           concat_ws(', ', case when disabled then 'disabled' end, case when not verified then 'unverified' end,
                     'last log-in ' || to_char(last_login_at at time zone 'UTC', 'YYYY-MM-DD')) as note
      from users u)
select o.name as organization, o.organization_id, m.since as at, 'member' as kind, u.email as what, u.name, m.role,
       u.note
  from organizations o join memberships m using (organization_id) join people u using (user_id)
 union all
select '-', null, u.created_at, 'account', u.email, u.name, '', u.note from people u
 where not exists (select from memberships m where m.user_id = u.user_id)
 union all
select o.name, o.organization_id, k.created_at, 'key', k.key_id, k.name, k.role,
       case when k.ended_at is not null or k.expires_at <= now() then 'ended'
            else coalesce('until ' || to_char(k.expires_at at time zone 'UTC', 'YYYY-MM-DD'), '') end
  from organizations o join api_keys k using (organization_id)
 union all
select o.name, o.organization_id, o.created_at, 'organization', o.name, o.title, '', '' from organizations o
 order by 2, 3, 4"""


def _email(text: str) -> str:
    if len(text) > 254 or not EMAIL.fullmatch(text):
        raise typer.BadParameter(f"{text!r} is not an e-mail address")
    return text.lower()


def _organization_name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise typer.BadParameter(f"{text!r} is not a name: use 1 to 40 small letters, digits and '-'")
    return text


@app.command()
def user(
    email: Annotated[str, typer.Argument(parser=_email, metavar="EMAIL", help="what they log in with")],
    *,
    name: Annotated[str | None, typer.Option(parser=words, metavar="TEXT", help="for a new account")] = None,
    organization: Organization = "main",
    role: Annotated[Role, typer.Option(help="in that organization")] = Role.ADMIN,
    password_file: Annotated[
        Path | None, typer.Option(help="file with the password in its first line; without it, it is asked for")
    ] = None,
    password_reset: Annotated[bool, typer.Option(help="give a known account a new password; it is logged out")] = False,
    known: Annotated[bool, typer.Option(help="a known account may become a member with the password it has")] = False,
    why: Why = "by hand",
    who: Who,
) -> None:
    """Make an account and a member. What is there already is left alone: the password too, and the role. Anybody may
    have registered with that address: so a known account becomes a member only if you say so."""

    async def find(connection: asyncpg.Connection) -> bool:
        await organization_id(connection, organization)
        return bool(await connection.fetchval("select true from users where email = $1", email))

    is_there = run(find)
    if password_reset and not is_there:
        stop(f"there is no account {email}")
    password_hash = _hashed(password_file, email, name or "") if password_reset or not is_there else None

    async def work(connection: asyncpg.Connection) -> list[str]:
        done = []
        its_id = await organization_id(connection, organization)
        user_id = await connection.fetchval("select user_id from users where email = $1 for update", email)
        if user_id is None:
            user_id = await connection.fetchval(
                "insert into users (email, name, password_hash) values ($1, $2, $3) returning user_id",
                *(email, name or email.partition("@")[0], password_hash),
            )
            await connection.execute(AUDIT, 1, who, "account create", f"user/{email}", None, why)
            done.append("account made")
        elif password_reset:
            await connection.execute("update users set password_hash = $2 where user_id = $1", user_id, password_hash)
            await connection.execute(
                "update sessions set ended_at = now() where user_id = $1 and ended_at is null", user_id
            )
            await connection.execute(AUDIT, 1, who, "password reset", f"user/{email}", None, why)
            done.append("password changed, logged out everywhere")
        else:
            done.append("there was such an account")
        joined = await connection.fetchval(
            "insert into memberships (organization_id, user_id, role) values ($1, $2, $3)"
            " on conflict do nothing returning role",
            *(its_id, user_id, role.value),
        )
        if joined is not None and not (known or password_reset or "account made" in done):
            raise Refused(
                f"there is an account {email}, and somebody else may have registered it: say --password-reset to give "
                f"it a password, or --known if you know whose it is"
            )
        if joined is not None:
            new = json.dumps({"role": role.value})
            await connection.execute(AUDIT, its_id, who, "member join", f"user/{email}", new, why)
            await connection.execute("select notice_send('biogate_accounts', '')")
            done.append(f"{role.value} of {organization}")
        else:
            has = "select role from memberships where organization_id = $1 and user_id = $2"
            done.append(f"was {await connection.fetchval(has, its_id, user_id)} of {organization} already")
        if known or password_reset:
            await connection.execute("select account_change($1, null, true, $2, $3)", user_id, who, why)
        return done

    tell(f"{email}: {'; '.join(run(work))}")


def _account_command(verb: str, disabled: bool) -> None:
    """Add the command that disables or enables an account, as PATCH /api/v1/accounts does."""

    def command(
        email: Annotated[str, typer.Argument(parser=_email, metavar="EMAIL", help="what they log in with")],
        *,
        why: Why,
        who: Who,
    ) -> None:
        async def work(connection: asyncpg.Connection) -> None:
            user_id = await connection.fetchval("select user_id from users where email = $1", email)
            if user_id is None:
                raise Refused(f"there is no account {email}")
            await connection.execute("select account_change($1, $2, null, $3, $4)", user_id, disabled, who, why)

        run(work)
        tell(f"{email}: {verb}d")

    ends = "its sessions and open invitations end" if disabled else "the person logs in again"
    app.command(verb, help=f"{verb.capitalize()} an account: {ends}.")(command)


_account_command("disable", disabled=True)
_account_command("enable", disabled=False)


@app.command()
def link(
    email: Annotated[str, typer.Argument(parser=_email, metavar="EMAIL", help="who is logged in by it")],
    *,
    url: Annotated[str, typer.Option(help="address of the API, as the browser knows it")] = "http://127.0.0.1:8000",
    hours: Annotated[float, typer.Option(min=0.01, max=168, help="how long it can be used")] = 1,
    organization: Organization = "main",
    role: Annotated[Role, typer.Option(help="of an account that is made by it")] = Role.ADMIN,
    to: Annotated[Path | None, typer.Option(help="file for the link; without it, it is printed")] = None,
    why: Why = "by hand",
    who: Who,
) -> None:
    """Make a link that logs a browser in once. A missing account is made, and nobody has its password."""
    code, expires = new_token(), datetime.now(UTC) + timedelta(hours=hours)

    async def work(connection: asyncpg.Connection) -> None:
        its_id = await organization_id(connection, organization)
        user_id = await connection.fetchval("select user_id from users where email = $1", email)
        if user_id is None:
            rounds = settings(PasswordSettings).api_password_rounds
            user_id = await connection.fetchval(
                "insert into users (email, name, password_hash, has_password) values ($1, $2, $3, false)"
                " returning user_id",
                *(email, email.partition("@")[0], hash_now(new_token(), rounds)),
            )
            await connection.execute(AUDIT, 1, who, "account create", f"user/{email}", None, why)
            await connection.execute(
                "insert into memberships (organization_id, user_id, role) values ($1, $2, $3)",
                *(its_id, user_id, role.value),
            )
            new = json.dumps({"role": role.value})
            await connection.execute(AUDIT, its_id, who, "member join", f"user/{email}", new, why)
        await connection.execute(
            "select log_in_link_make($1, $2, $3, $4, $5)", user_id, code_hash(code), expires, who, why
        )

    run(work)
    made = f"{url.rstrip('/')}/enter?code={code}"
    if to is None:
        tell(made)
    else:
        write_secret(to, f"{made}\n", replace=True)


@app.command()
def organization(
    name: Annotated[str, typer.Argument(parser=_organization_name, metavar="NAME", help="for addresses and settings")],
    *,
    title: Annotated[str | None, typer.Option(parser=words, metavar="TEXT", help="what people call it")] = None,
    why: Why = "by hand",
    who: Who,
) -> None:
    """Make an organization. If there is one of that name, it is left alone."""

    async def work(connection: asyncpg.Connection) -> str:
        made = await connection.fetchval(
            "insert into organizations (name, title) values ($1, $2)"
            " on conflict (name) do nothing returning organization_id",
            *(name, title or name),
        )
        if made is not None:
            new = json.dumps({"title": title or name})  # as an object: it has no admin yet
            await connection.execute(AUDIT, made, who, "organization create", f"organization/{name}", new, why)
            return "organization made"
        # Whoever has an account can have made it, to be given what was meant for another one.
        admins = await connection.fetchval(ADMINS, name)
        return f"there was such an organization; its admins: {admins or 'none'}"

    tell(f"{name}: {run(work)}")


@app.command()
def key(
    *,
    name: Annotated[str, typer.Option(parser=words, metavar="TEXT", help="what it is for")],
    to: Annotated[Path, typer.Option(help="new file for the key; FILE.header beside it is for curl -H @FILE.header")],
    organization: Organization = "main",
    role: Annotated[Role, typer.Option(help="what it may do at most")] = Role.VIEWER,
    scope: Annotated[list[Scope] | None, typer.Option(help="what it is for; repeat; without: all")] = None,
    expires_days: Annotated[float | None, typer.Option(min=0.001, max=36500, help="without: never")] = None,
    replace: Annotated[bool, typer.Option(help="the file may be there; other keys of that name end")] = False,
    why: Why = "by hand",
    who: Who,
) -> None:
    """Make an API key. It is written into new files that only you can read, and shown nowhere."""
    made, header = ApiKey.new(), to.with_name(to.name + ".header")
    scopes = sorted({one.value for one in scope or Scope})
    expires = None if expires_days is None else datetime.now(UTC) + timedelta(days=expires_days)

    async def work(connection: asyncpg.Connection) -> None:
        its_id = await organization_id(connection, organization)
        for old in await connection.fetch(END_KEYS, its_id, name) if replace else ():
            await connection.execute(AUDIT, its_id, who, "key end", f"key/{old['key_id']}", None, why)
        await connection.execute(
            """insert into api_keys (key_id, organization_id, name, role, scopes, secret_hash, created_by, expires_at)
               values ($1, $2, $3, $4, $5, $6, $7, $8)""",
            *(made.key_id, its_id, name, role.value, scopes, hashed(made.secret), who, expires),
        )
        new = json.dumps({"name": name, "role": role, "scopes": scopes, "expires_at": expires and expires.isoformat()})
        await connection.execute(AUDIT, its_id, who, "key create", f"key/{made.key_id}", new, why)
        write_secret(to, f"{made}\n", replace=replace)
        try:
            write_secret(header, f"Authorization: Bearer {made}\n", replace=replace)
        except Refused:
            to.unlink()  # it would be of no use
            raise

    run(work)
    tell(f"key {made.key_id} of {organization}, {role.value}: in {to}")


@app.command()
def give(
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="its name")],
    organization: Annotated[str, typer.Argument(metavar="ORGANIZATION", help="whose it will be, with all it has sent")],
    *,
    why: Why,
    who: Who,
) -> None:
    """Give a device to another organization."""

    async def work(connection: asyncpg.Connection) -> str:
        taker = await organization_id(connection, organization)
        now = await connection.fetchrow(
            "select organization_id, o.name from devices d join organizations o using (organization_id)"
            " where d.name = $1",
            device,
        )
        if now is None:
            raise Refused(f"there is no device {device}")
        if now["organization_id"] == taker:
            return f"was {organization}'s already"
        first = await connection.fetchval("select name from organizations where organization_id = 1")
        steps = [organization] if 1 in {taker, now["organization_id"]} else [first, organization]
        for step in steps:  # between two others by way of the first, which is what organizations themselves can do
            await connection.execute(
                "select set_config('biogate.organization', organization_id::text, true) from devices where name = $1",
                device,
            )
            await connection.execute("select api.device_give($1, $2, $3, $4)", device, step, who, why)
        return f"was {now['name']}'s, is {organization}'s"

    tell(f"{device}: {run(work)}")


@app.command("list")
def list_accounts() -> None:
    """List all organizations, their members and their keys; last the accounts that are in no organization."""

    async def read(connection: asyncpg.Connection) -> list[asyncpg.Record]:
        return list(await connection.fetch(LIST))

    table(
        "ORGANIZATION|WHAT|WHICH|NAME|ROLE|SINCE|NOTE",
        (
            (row["organization"], row["kind"], row["what"], row["name"], row["role"], time(row["at"]), row["note"])
            for row in run(read)
        ),
    )


class PasswordSettings(BaseSettings):
    """How much work a password's hash takes."""

    model_config = SettingsConfigDict(env_prefix="BIOGATE_", frozen=True, extra="ignore")

    api_password_rounds: PasswordRounds = 12


def _hashed(file: Path | None, *about: str) -> str:
    return hash_now(_password(file, about), settings(PasswordSettings).api_password_rounds)


def _password(file: Path | None, about: Iterable[str]) -> str:
    try:
        if file is not None:
            text = file.read_text("utf-8-sig").partition("\n")[0].rstrip("\r")
        elif sys.stdin.isatty():
            text = str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
        else:
            stop("say --password-file: there is no terminal to ask at")
        check_strength(checked(text), about)
        return text
    except (OSError, UnicodeDecodeError) as error:
        stop(f"{file} cannot be read: {error}")
    except ValueError as error:
        stop(f"the password {error}")
