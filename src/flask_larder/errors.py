"""The errors of this package: one base, and one class for each party at fault."""


class LarderError(Exception):
    """Base of everything that Flask-Larder raises on purpose."""


class InvalidConfig(LarderError, ValueError):
    """A ``CACHE_*`` setting, or the app, cannot be used. Raised at start-up."""


class InvalidPolicy(LarderError, ValueError):
    """An option of ``cached`` has a value that cannot be used. Raised where it is written."""


class InvalidPurge(LarderError, ValueError):
    """What is to be purged is named so that nothing can be meant. Nothing was purged."""


class InvalidKey(LarderError, TypeError):
    """A key is no text."""


class NotInitialised(LarderError, RuntimeError):
    """The cache was used for an app that it was not initialised for, or for none."""


class StoreUnavailable(LarderError):
    """The store did not answer, or refused. Cached views answer without it."""


class UnstorableValue(LarderError, TypeError):
    """A value has a type that is not stored, since it would not come back the same."""


class CorruptEntry(LarderError):
    """Bytes from the store are not what this release writes. Treated as a miss."""
