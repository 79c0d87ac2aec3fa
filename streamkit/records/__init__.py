"""Record batches: reading, filling, compression and control records."""

from streamkit.records.batch import DecodedBatch
from streamkit.records.codec import (
    COMPILED,
    BatchBuilder,
    BatchHeader,
    check_records,
    decode,
    encode,
    read_header,
    scan,
    verify_crc,
)
from streamkit.records.compression import Compression, compression_of
from streamkit.records.control import (
    ControlType,
    EndTxnMarker,
    build_control,
    control_key,
    end_txn_marker,
    parse_control_key,
    parse_end_txn_marker,
)

__all__ = [
    "BatchBuilder",
    "BatchHeader",
    "Compression",
    "ControlType",
    "DecodedBatch",
    "EndTxnMarker",
    "build_control",
    "check_records",
    "compression_of",
    "control_key",
    "decode",
    "encode",
    "end_txn_marker",
    "is_compiled",
    "parse_control_key",
    "parse_end_txn_marker",
    "read_header",
    "scan",
    "verify_crc",
]


def is_compiled() -> bool:
    """Whether the codec runs compiled (about 30 times as fast as interpreted)."""
    return COMPILED
