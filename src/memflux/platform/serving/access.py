"""The bearer token that guards an endpoint: made, written for its owner alone, and read back."""

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from memflux.errors import DataError, InvalidValue

TOKEN_BYTES = 32
SHORTEST = 16  # characters


def new_token() -> str:
    """A fresh random token of 256 bits, URL-safe."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def check_token(token: str) -> str:
    """`token`, or InvalidValue where it is too short or cannot travel in an HTTP header."""
    if len(token) < SHORTEST or not token.isascii() or not token.isprintable() or " " in token:
        raise InvalidValue(
            f"the token has {len(token)} characters or some that HTTP does not carry; "
            f"give at least {SHORTEST} printable ASCII characters without blanks."
        )
    return token


def write_token(path: Path, token: str) -> None:
    """Write `token` to a new file that only its owner can read (mode 0600).

    Raises InvalidValue where the file exists: a token in use is not overwritten, and a file that
    somebody else prepared there is not trusted.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise InvalidValue(f"{path} exists; remove it or name another file for the token.") from None
    with os.fdopen(handle, "w") as file:
        file.write(check_token(token) + "\n")


def read_token(path: Path) -> str:
    """The token in `path`; raises DataError where there is none, or where others may read it."""
    try:
        mode = path.stat().st_mode
        token = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the token file {path} cannot be read: {error}") from None
    if mode & 0o077:
        raise DataError(f"the token file {path} is open to others (mode {mode & 0o777:04o}); run chmod 600 on it.")
    return check_token(token)


def token_in(path: Path) -> str:
    """The token in `path`, made and written first where there is no such file."""
    if not path.exists():
        write_token(path, new_token())
    return read_token(path)


def digest(token: str) -> str:
    """What a server keeps instead of the token itself."""
    return hashlib.sha256(token.encode()).hexdigest()


def matches(header: str, expected: str) -> bool:
    """Whether an Authorization header carries the token with digest `expected`, in constant time."""
    scheme, _, token = header.partition(" ")
    return hmac.compare_digest(digest(token.strip()), expected) and scheme.lower() == "bearer"
