"""Passwords have no place in a config: it is recorded with a run, shown in messages and written into files."""

from __future__ import annotations

import re

from ..errors import ConfigError

_PASSWORD = re.compile(r"://[^/?#@\s]*:[^/?#@\s]+@|://\S*[?&;](password|passwd|pwd|token|sslpassword)=", re.IGNORECASE)


def reject_password(name: str, text: str | None) -> None:
    """Raise ConfigError, which does not repeat it, for a `text` with the address of something and a password for it.

    `name` is the key or option whose value the text is.
    """
    if text and _PASSWORD.search(text):
        raise ConfigError(
            f"{name}: holds a password, which would be recorded with runs; leave it out of the address and set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD for a tracking server, PGPASSWORD (or ~/.pgpass) "
            "for PostgreSQL, or a line of ~/.netrc for a download"
        )
