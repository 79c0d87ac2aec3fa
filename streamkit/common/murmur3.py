"""MurmurHash3, 128 bits, as Kafka Streams hashes the rows of foreign-key joins."""

from __future__ import annotations

_MASK = 0xFFFF_FFFF_FFFF_FFFF
_C1 = 0x87C3_7B91_1142_53D5
_C2 = 0x4CF5_AD43_2745_937F
_N1 = 0x52DC_E729
_N2 = 0x3849_5AB5
_SEED = 104_729


def hash128(data: bytes) -> bytes:
    """The hash as Kafka writes it: two 64-bit numbers, big-endian.

    >>> hash128(b"").hex()
    '9d2764a018e329428c3cf3b035938518'
    """
    one = two = _SEED
    tail = len(data) & ~15
    for at in range(0, tail, 16):
        one ^= _mix_one(int.from_bytes(data[at : at + 8], "little"))
        one = ((_rotated(one, 27) + two) * 5 + _N1) & _MASK
        two ^= _mix_two(int.from_bytes(data[at + 8 : at + 16], "little"))
        two = ((_rotated(two, 31) + one) * 5 + _N2) & _MASK
    # A missing half of the tail is 0, and mixes to 0.
    two ^= _mix_two(int.from_bytes(data[tail + 8 :], "little"))
    one ^= _mix_one(int.from_bytes(data[tail : tail + 8], "little"))
    one ^= len(data)
    two ^= len(data)
    one = (one + two) & _MASK
    two = (two + one) & _MASK
    one, two = _finished(one), _finished(two)
    one = (one + two) & _MASK
    two = (two + one) & _MASK
    return one.to_bytes(8, "big") + two.to_bytes(8, "big")


def _mix_one(block: int) -> int:
    return _rotated(block * _C1 & _MASK, 31) * _C2 & _MASK


def _mix_two(block: int) -> int:
    return _rotated(block * _C2 & _MASK, 33) * _C1 & _MASK


def _rotated(number: int, by: int) -> int:
    return (number << by | number >> 64 - by) & _MASK


def _finished(number: int) -> int:
    number = (number ^ number >> 33) * 0xFF51_AFD7_ED55_8CCD & _MASK
    number = (number ^ number >> 33) * 0xC4CE_B9FE_1A85_EC53 & _MASK
    return number ^ number >> 33
