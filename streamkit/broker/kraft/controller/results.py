"""What a controller operation gives back: records for the log, and the answer to send once they
are committed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from streamkit.broker.kraft.records import MetadataRecord
from streamkit.protocol.errors import ApiError, ErrorCode

R = TypeVar("R")

RECORDS_PER_OPERATION_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Outcome(Generic[R]):
    """Records to append as one atomic batch, and the response when they are committed."""

    records: tuple[MetadataRecord, ...]
    response: R


@dataclass(frozen=True, slots=True)
class ItemResult:
    """How one item of a request fared."""

    code: ErrorCode = ErrorCode.none
    message: str | None = None

    @property
    def is_ok(self) -> bool:
        """Whether the item succeeded."""
        return self.code is ErrorCode.none

    @classmethod
    def of(cls, error: ApiError) -> ItemResult:
        """The result of an item that failed."""
        return cls(error.code, error.message or None)


def check_record_count(count: int) -> None:
    """Raise POLICY_VIOLATION when an operation needs more records than one may."""
    if count > RECORDS_PER_OPERATION_MAX:
        raise ApiError(
            ErrorCode.policy_violation,
            f"the request needs {count} metadata records, the limit is {RECORDS_PER_OPERATION_MAX}",
        )
