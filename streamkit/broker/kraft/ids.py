"""Ids as Kafka writes them in files: base64, safe for URLs, without padding."""

from __future__ import annotations

import base64
import binascii
from uuid import UUID

ID_LENGTH = 22
ZERO_ID = UUID(int=0)
METADATA_TOPIC_ID = UUID(int=1)
"""The fixed id of `__cluster_metadata`."""


def id_text(value: UUID | None) -> str:
    """The 22 characters of an id; None is the zero id."""
    return base64.urlsafe_b64encode((value or ZERO_ID).bytes).decode().rstrip("=")


def parse_id(text: str) -> UUID | None:
    """The id of 22 characters; None for the zero id. Raises ValueError for anything else."""
    if len(text) != ID_LENGTH:
        raise ValueError(f"{text!r} is not an id of {ID_LENGTH} characters")
    try:
        value = UUID(bytes=base64.urlsafe_b64decode(text + "=="))
    except binascii.Error:
        raise ValueError(f"{text!r} is not an id of {ID_LENGTH} characters") from None
    return value if value.int else None
