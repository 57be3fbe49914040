"""Errors a user can act on: each is printed as one line, without a traceback."""

from __future__ import annotations

import errno

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class UserError(Exception):
    """Something the user can mend. The message says what, where and what to do; `exit_code` is the command's."""

    exit_code = 1


class ConfigError(UserError):
    """A config key, option, type or value that is not accepted."""

    exit_code = 2


class DataError(UserError):
    """A data set that cannot be found, read or trained on."""


class TrainingError(UserError):
    """A fit that cannot go on, such as a loss that is no longer finite."""


class TrackingError(UserError):
    """A tracking store that cannot be reached or written."""


class SweepError(UserError):
    """A sweep or search of which jobs failed, or that cannot go on."""


class ClusterError(UserError):
    """A Ray cluster that cannot be used."""


class BundleError(UserError):
    """An exported model that is missing, damaged, made by another version, or out of its tolerance."""


class RerunError(UserError):
    """A repeated run that does not come out as it did, or that cannot be compared."""


class GateError(UserError):
    """A model that may not take an alias: found worse than its holder, or not comparable with it."""


def is_of_surroundings(error: BaseException | None) -> bool:
    """Return whether disk, memory, store or cluster failed, and not the work itself: tried again, it may succeed."""
    while error is not None:
        full = isinstance(error, OSError) and error.errno in (*DISK_FULL, errno.ENOMEM)
        if full or isinstance(error, MemoryError | TrackingError | ClusterError):
            return True
        error = error.__cause__ or error.__context__
    return False
