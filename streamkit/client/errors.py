"""The one place where the client turns protocol error codes into exceptions.

The class of an exception says what its catcher does (`common/errors.py`); `code` says what the
broker answered.
"""

from __future__ import annotations

from typing import Final

from streamkit.common.errors import (
    AbortTransactionError,
    FatalError,
    RefreshMetadataError,
    RejoinError,
    RetriableError,
    StreamkitError,
    UsageError,
)
from streamkit.common.model import TopicPartition
from streamkit.protocol.errors import ErrorCode, ErrorKind, error_code, kind_of


class CodedError(StreamkitError):
    """An error that a broker answered; `code` is Kafka's."""

    code: ErrorCode = ErrorCode.unknown_server_error


class BrokerRetriableError(CodedError, RetriableError):
    """The broker asks for the same request again after a back-off."""


class BrokerRefreshError(CodedError, RefreshMetadataError):
    """The broker asks for fresh metadata or another coordinator, then the same request."""


class BrokerAbortError(CodedError, AbortTransactionError):
    """The broker asks to abort the transaction."""


class BrokerRejoinError(CodedError, RejoinError):
    """The member or the producer was fenced."""


class BrokerFatalError(CodedError, FatalError):
    """The broker refuses, and would again."""


class BrokerUsageError(CodedError, UsageError):
    """The broker refuses what only the user can change."""


class UnknownTopicError(BrokerRefreshError):
    """The topic or partition does not exist (yet)."""


class TopicExistsError(BrokerUsageError):
    """The topic is there already."""


class AuthorizationError(BrokerUsageError):
    """The user may not do this; an ACL is missing."""


class RecordTooLargeError(BrokerUsageError):
    """A batch is larger than the topic's `max.message.bytes`."""


class OffsetOutOfRangeError(CodedError):
    """A position lies outside of the log: seek, or reset by `auto.offset.reset`."""

    code = ErrorCode.offset_out_of_range


class LogTruncationError(OffsetOutOfRangeError):
    """The leader's log lacks records that were read, or has others in their place (KIP-320).

    `tp` was read up to `position` under `leader_epoch`; both logs are the same below
    `divergent_offset`, which is None when the leader cannot tell. Seek there to go on, or set
    `auto.offset.reset`, and the consumer does.
    """

    def __init__(
        self,
        tp: TopicPartition,
        position: int,
        leader_epoch: int,
        divergent_offset: int | None,
        divergent_epoch: int = -1,
    ) -> None:
        self.tp = tp
        self.position = position
        self.leader_epoch = leader_epoch
        self.divergent_offset = divergent_offset
        self.divergent_epoch = divergent_epoch
        where = "an unknown offset" if divergent_offset is None else f"offset {divergent_offset}"
        super().__init__(
            f"the log of {tp} was truncated at {where}: it had been read up to offset {position} "
            f"under leader epoch {leader_epoch}; seek, or set auto.offset.reset"
        )


class StaleMemberEpochError(CodedError):
    """The member's epoch has moved on: do it again with the epoch of the last heartbeat."""


class DeliveryTimeoutError(RetriableError):
    """A batch was not acknowledged within `delivery.timeout.ms`; it may or may not be there."""


class UnsupportedByBrokerError(FatalError):
    """The broker lacks an API, or the version of it that is needed."""


class ClosedError(StreamkitError):
    """The client was closed before this was done."""


_SPECIAL: Final[dict[ErrorCode, type[CodedError]]] = {
    ErrorCode.offset_out_of_range: OffsetOutOfRangeError,
    ErrorCode.unknown_topic_or_partition: UnknownTopicError,
    ErrorCode.unknown_topic_id: UnknownTopicError,
    ErrorCode.topic_already_exists: TopicExistsError,
    ErrorCode.message_too_large: RecordTooLargeError,
    ErrorCode.record_list_too_large: RecordTooLargeError,
    # The streams group protocol and the member's epoch rules say "join again".
    ErrorCode.fenced_member_epoch: BrokerRejoinError,
    ErrorCode.rebalance_in_progress: BrokerRejoinError,
    ErrorCode.stale_member_epoch: StaleMemberEpochError,
    ErrorCode.unsupported_version: BrokerFatalError,
    **dict.fromkeys(
        (
            ErrorCode.topic_authorization_failed,
            ErrorCode.group_authorization_failed,
            ErrorCode.cluster_authorization_failed,
            ErrorCode.transactional_id_authorization_failed,
            ErrorCode.delegation_token_authorization_failed,
        ),
        AuthorizationError,
    ),
    **dict.fromkeys(
        (
            ErrorCode.invalid_topic_exception,
            ErrorCode.invalid_partitions,
            ErrorCode.invalid_replication_factor,
            ErrorCode.invalid_replica_assignment,
            ErrorCode.invalid_config,
            ErrorCode.invalid_group_id,
            ErrorCode.policy_violation,
            ErrorCode.topic_deletion_disabled,
            ErrorCode.group_id_not_found,
            ErrorCode.transactional_id_not_found,
            ErrorCode.non_empty_group,
            ErrorCode.group_subscribed_to_topic,
            ErrorCode.offset_metadata_too_large,
            ErrorCode.feature_update_failed,
            ErrorCode.invalid_update_version,
            ErrorCode.sasl_authentication_failed,
            ErrorCode.unsupported_sasl_mechanism,
            ErrorCode.unsupported_compression_type,
            ErrorCode.invalid_record,
            ErrorCode.invalid_timestamp,
        ),
        BrokerUsageError,
    ),
}

_BY_KIND: Final[dict[ErrorKind, type[CodedError]]] = {
    ErrorKind.REFRESH_METADATA: BrokerRefreshError,
    ErrorKind.RETRIABLE: BrokerRetriableError,
    ErrorKind.ABORT: BrokerAbortError,
    ErrorKind.RECOVERABLE: BrokerRejoinError,
    ErrorKind.OWN_RULE: BrokerFatalError,
    ErrorKind.FATAL: BrokerFatalError,
}


def error_for(code: int, what: str, message: str | None = None) -> CodedError:
    """The exception of a code; `what` names the request and its ids, `message` is the broker's."""
    known = error_code(code)
    kind = _SPECIAL.get(known) or _BY_KIND.get(kind_of(known), BrokerFatalError)
    error = kind(f"{what}: {known.name.upper()}" + (f" ({message})" if message else ""))
    error.code = known
    return error


def raise_for(code: int, what: str, message: str | None = None) -> None:
    """Raise the exception of a code; nothing for NONE."""
    if code:
        raise error_for(code, what, message)


def code_of(error: BaseException) -> ErrorCode | None:
    """The broker's code behind an exception; None when the client itself raised it."""
    return error.code if isinstance(error, CodedError) else None
