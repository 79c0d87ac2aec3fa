"""The exceptions whose class says what the catcher must do.

Protocol error codes are translated to these at one place on each side: `client/errors.py` and
`broker/errors.py`. Messages carry ids, epochs, offsets and what to do next.
"""

from __future__ import annotations


class StreamkitError(Exception):
    """Every error that streamkit raises on purpose."""


class UsageError(StreamkitError):
    """The user must change a command, a program or a configuration; one line, exit status 2."""


class AlreadySaidError(UsageError):
    """As above, and a child process has said on standard error what to change."""


class ConfigError(UsageError):
    """A configuration key is unknown or its value is refused; the message names the key."""


class TopologyError(UsageError):
    """A topology cannot be built; the message names the operator, the topic and the fix."""


class FatalError(StreamkitError):
    """Stop: going on can only do harm or fail again."""


class RetriableError(StreamkitError):
    """Try the same thing again after a back-off."""


class RefreshMetadataError(RetriableError):
    """Look up metadata or the coordinator again, then retry."""


class AbortTransactionError(StreamkitError):
    """Abort the transaction, then go on with a new one (KIP-1050)."""


class RejoinError(StreamkitError):
    """The member or producer was fenced: close the tasks without commit and join again."""


class TaskCorruptedError(StreamkitError):
    """The state of a task does not fit its changelog: wipe it and restore."""


class CorruptBatchError(StreamkitError):
    """Bytes are not a whole, intact record batch (CORRUPT_MESSAGE)."""


class StorageError(StreamkitError):
    """The disk failed or is full; the log is offline (KAFKA_STORAGE_ERROR)."""


class SerializationError(StreamkitError):
    """A key or value cannot be turned into bytes or back; the message says which and why."""


class RetriableSerializationError(SerializationError, RetriableError):
    """As above, but for now only: what is needed for it cannot be reached. Try again."""


class DeserializationError(SerializationError):
    """A record that was read has a key or value that is not what its serde expects."""


class ProductionError(StreamkitError):
    """A record cannot be written: it does not serialise, or it is too large."""
