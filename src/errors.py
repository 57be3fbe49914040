"""Errors a user can act on: each is printed as one line, without a traceback."""

from __future__ import annotations


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
