"""What `almenara user` does."""

import argparse
import getpass
import json
import sys
from pathlib import Path

from console.passwords import MAX_BYTES, PasswordError
from console.tokens import make_token, revoke_token
from console.users import (
    User,
    Users,
    add_user,
    check_user,
    find_user,
    remove_user,
    set_password,
)
from shared.errors import ConfigError
from shared.routing import Routing
from shared.settings import Settings

_STANDARD_INPUT = "-"


def user(options: argparse.Namespace, settings: Settings) -> int:
    """Add, remove or list users, or change a password."""
    path = settings.users_path
    if options.do == "list":
        return _list(path, as_json=options.json)
    if options.name is None:
        raise ConfigError(f"`user {options.do}` needs a NAME", remedy="see `almenara user --help`")
    if options.do == "add":
        wanted = {"roles": options.role, "departments": options.department}
        routing = Routing.load(settings.routing)
        check_user(path, options.name, routing=routing, **wanted)
        password = _new_password(options.password_file)
        added = add_user(path, options.name, password, routing=routing, **wanted)
        _say(f"{added.name} may log in: {_described(added)}")
    elif options.do == "token":
        _token(path, options.name, revoke=options.revoke)
    elif options.do == "passwd":
        name = find_user(path, options.name).name
        set_password(path, name, _new_password(options.password_file))
        _say(f"{name} has another password; sessions with the old one end")
    else:
        _say(f"{remove_user(path, options.name).name} may not log in any more; open sessions end")
    return 0


def _token(path: Path, name: str, *, revoke: bool) -> None:
    if revoke:
        _say(f"{revoke_token(path, name)} has no token any more")
    else:
        # Alone on its line, so that a script can take it.
        _say(make_token(path, name))
        sys.stderr.write("this token is shown this once; it reads feeds, as `Authorization: Bearer ...`\n")


def _list(path: Path, *, as_json: bool) -> int:
    users = Users.load(path).all()
    if as_json:
        _say(json.dumps([each.to_json() | {"created_at": each.created_at} for each in users]))
    elif users:
        width = max(len(each.name) for each in users)
        for each in users:
            _say(f"{each.name:<{width}}  {_described(each)}")
    else:
        _say(f"nobody may log in yet: {path} has no user")
    return 0


def _described(one: User) -> str:
    departments = ", ".join(one.departments) or "no department"
    return f"{', '.join(one.roles)}; {departments}{'; has a token' if one.has_token else ''}"


def _new_password(file: Path | None) -> str:
    if file is not None:
        return _first_line(file)
    if not sys.stdin.isatty():
        raise ConfigError(
            "there is no terminal to ask for a password at",
            remedy="`--password-file FILE` takes it from a file's first line, `-` from standard input",
        )
    password = getpass.getpass("Password: ")
    if getpass.getpass("Once more: ") != password:
        raise PasswordError("the two are not the same", remedy="try again")
    return password


def _first_line(file: Path) -> str:
    longest = MAX_BYTES + 2  # one too many, and the line's end
    try:
        if str(file) == _STANDARD_INPUT:
            line = sys.stdin.buffer.readline(longest)
        else:
            with file.open("rb") as opened:
                line = opened.readline(longest)
        return line.decode().rstrip("\r\n")
    except OSError as error:
        raise ConfigError(f"the password file {file} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PasswordError("the password is not in UTF-8", remedy="save it as UTF-8") from error


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
