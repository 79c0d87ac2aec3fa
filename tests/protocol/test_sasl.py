"""SASL clients against the examples of the RFCs, and against servers that lie."""

from __future__ import annotations

import pytest

from streamkit.protocol.errors import AuthenticationError
from streamkit.protocol.sasl import ITERATIONS_MAX, ScramClient, parse_server_first, sasl_client

# RFC 7677, section 3.
NONCE = "rOprNGfwEbeRWgbNEkqO"
SERVER_NONCE = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
SERVER_FIRST = f"r={SERVER_NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096".encode()
SERVER_FINAL = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def rfc_client() -> ScramClient:
    return ScramClient("sha256", "user", "pencil", NONCE)


def test_plain_sends_name_and_password_once() -> None:
    client = sasl_client("PLAIN", "user", "pencil", lambda: "")
    assert client.respond(b"") == b"\0user\0pencil"
    assert not client.is_done
    assert client.respond(b"") is None
    assert client.is_done


def test_plain_refuses_a_nul() -> None:
    with pytest.raises(AuthenticationError, match="NUL"):
        sasl_client("PLAIN", "user", "pen\0cil", lambda: "")


def test_scram_sha_256_as_in_the_rfc() -> None:
    client = rfc_client()
    assert client.respond(b"") == f"n,,n=user,r={NONCE}".encode()
    proof = client.respond(SERVER_FIRST)
    expected = f"c=biws,r={SERVER_NONCE},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    assert proof == expected.encode()
    assert not client.is_done
    assert client.respond(SERVER_FINAL) is None
    assert client.is_done


def test_scram_name_is_escaped() -> None:
    client = sasl_client("SCRAM-SHA-512", "a=b,c", "x", lambda: NONCE)
    assert client.respond(b"") == f"n,,n=a=3Db=2Cc,r={NONCE}".encode()


def test_server_that_does_not_know_the_password_is_refused() -> None:
    client = rfc_client()
    client.respond(b"")
    client.respond(SERVER_FIRST)
    with pytest.raises(AuthenticationError, match="wrong signature"):
        client.respond(b"v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
    assert not client.is_done


def test_servers_error_is_told() -> None:
    client = rfc_client()
    client.respond(b"")
    client.respond(SERVER_FIRST)
    with pytest.raises(AuthenticationError, match="invalid-proof"):
        client.respond(b"e=invalid-proof")


@pytest.mark.parametrize(
    "message",
    [
        SERVER_FIRST.replace(b"rOpr", b"XOpr"),
        f"r={NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096".encode(),
        SERVER_FIRST.replace(b"4096", b"4095"),
        SERVER_FIRST.replace(b"4096", str(ITERATIONS_MAX + 1).encode()),
        SERVER_FIRST.replace(b"4096", b"-1"),
        SERVER_FIRST.replace(b"W22Z", b"W2?Z"),
        SERVER_FIRST.replace(b",i=4096", b""),
        b"e=other-error",
        b"\xff\xfe",
        b"",
    ],
)
def test_unacceptable_first_messages_are_refused(message: bytes) -> None:
    client = rfc_client()
    client.respond(b"")
    with pytest.raises(AuthenticationError):
        client.respond(message)


def test_server_first_is_read() -> None:
    first = parse_server_first(SERVER_FIRST.decode())
    assert (first.nonce, first.iterations, len(first.salt)) == (SERVER_NONCE, 4096, 16)


def test_unknown_mechanism_names_the_known_ones() -> None:
    with pytest.raises(AuthenticationError, match="SCRAM-SHA-512"):
        sasl_client("GSSAPI", "user", "x", lambda: "")
