"""The client's side of SASL: PLAIN (RFC 4616) and SCRAM with SHA-256 and SHA-512 (RFC 5802).

Bytes in, bytes out; a nonce comes from outside. As Kafka does, names and passwords are UTF-8
without SASLprep, and there is no channel binding. SCRAM proves both ends: a server that does not
know the password is refused too.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from streamkit.protocol.errors import AuthenticationError

MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
ITERATIONS_MIN: Final = 4096
ITERATIONS_MAX: Final = 1_000_000
"""A server that asks for more would hold the event loop; Kafka's credentials end at 16384."""

_HASHES: Final = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}
_GS2_HEADER: Final = b"n,,"


class SaslClient(Protocol):
    """One authentication from the client's side."""

    @property
    def is_done(self) -> bool:
        """Whether the server has proved itself as far as the mechanism asks for it."""

    def respond(self, challenge: bytes) -> bytes | None:
        """The answer to the server's token, first of all to b""; None when nothing is left.

        Raises AuthenticationError.
        """


def sasl_client(
    mechanism: str, username: str, password: str, nonce: Callable[[], str]
) -> SaslClient:
    """The client of a mechanism. Raises AuthenticationError when there is none."""
    if mechanism == "PLAIN":
        return PlainClient(username, password)
    if mechanism in _HASHES:
        return ScramClient(_HASHES[mechanism], username, password, nonce())
    raise AuthenticationError(
        f"sasl.mechanism {mechanism} is unknown; use one of {', '.join(MECHANISMS)}"
    )


class PlainClient:
    """PLAIN: name and password as they are; only over TLS."""

    def __init__(self, username: str, password: str) -> None:
        if "\0" in username or "\0" in password:
            raise AuthenticationError("a SASL name or password holds a NUL character")
        self._token = f"\0{username}\0{password}".encode()
        self._is_sent = False
        self.is_done = False

    def respond(self, challenge: bytes) -> bytes | None:
        """The credentials, once."""
        self.is_done = self._is_sent
        self._is_sent = True
        return None if self.is_done else self._token


@dataclass(frozen=True, slots=True)
class ServerFirst:
    """The server's first SCRAM message."""

    text: str
    nonce: str
    salt: bytes
    iterations: int


class ScramClient:
    """SCRAM: three messages, in which both ends show that they know the password."""

    def __init__(self, hash_name: str, username: str, password: str, nonce: str) -> None:
        self._hash_name = hash_name
        self._password = password.encode()
        self._nonce = nonce
        name = username.replace("=", "=3D").replace(",", "=2C")
        self._first_bare = f"n={name},r={nonce}"
        self._server_signature = b""
        self._respond = self._send_first
        self.is_done = False

    def respond(self, challenge: bytes) -> bytes | None:
        """The next message of the exchange."""
        try:
            text = challenge.decode()
        except UnicodeDecodeError:
            raise AuthenticationError("the broker's SCRAM message is not UTF-8") from None
        return self._respond(text)

    def _send_first(self, challenge: str) -> bytes | None:
        self._respond = self._send_final
        return _GS2_HEADER + self._first_bare.encode()

    def _send_final(self, challenge: str) -> bytes | None:
        server = parse_server_first(challenge)
        if not server.nonce.startswith(self._nonce) or server.nonce == self._nonce:
            raise AuthenticationError("the broker's SCRAM nonce does not continue ours")
        salted = hashlib.pbkdf2_hmac(
            self._hash_name, self._password, server.salt, server.iterations
        )
        without_proof = f"c={b64encode(_GS2_HEADER).decode()},r={server.nonce}"
        signed = f"{self._first_bare},{server.text},{without_proof}".encode()
        client_key = self._mac(salted, b"Client Key")
        stored_key = hashlib.new(self._hash_name, client_key).digest()
        proof = _xor(client_key, self._mac(stored_key, signed))
        self._server_signature = self._mac(self._mac(salted, b"Server Key"), signed)
        self._respond = self._verify
        return f"{without_proof},p={b64encode(proof).decode()}".encode()

    def _verify(self, challenge: str) -> bytes | None:
        fields = _fields(challenge)
        if "e" in fields:
            raise AuthenticationError(f"the broker refused the SCRAM proof: {fields['e']}")
        signature = _base64(fields.get("v", ""))
        if not hmac.compare_digest(signature, self._server_signature):
            raise AuthenticationError("the broker does not know the password: wrong signature")
        self.is_done = True
        return None

    def _mac(self, key: bytes, data: bytes) -> bytes:
        return hmac.digest(key, data, self._hash_name)


def parse_server_first(text: str) -> ServerFirst:
    """Read `r=...,s=...,i=...`. Raises AuthenticationError."""
    fields = _fields(text)
    if "e" in fields or "m" in fields:
        raise AuthenticationError(f"the broker refused SCRAM: {text}")
    salt, count = _base64(fields.get("s", "")), fields.get("i", "")
    iterations = int(count) if count.isascii() and count.isdigit() and len(count) < 10 else 0
    if "r" not in fields or not salt or not ITERATIONS_MIN <= iterations <= ITERATIONS_MAX:
        raise AuthenticationError(f"the broker's SCRAM message is not acceptable: {text}")
    return ServerFirst(text, fields["r"], salt, iterations)


def _fields(text: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in text.split(","))
    return {name: value for name, _, value in pairs}


def _base64(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (Base64Error, ValueError):
        raise AuthenticationError("the broker's SCRAM message holds bad base64") from None


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))
