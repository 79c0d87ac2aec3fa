"""A client's connection to one broker: dialled, negotiated, authenticated, pipelined.

Answers come in the order of the requests; another correlation id than the one expected, bytes
that are no answer and an answer that is overdue end the connection, and all that is in flight
ends with `ConnectionLost`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from streamkit import __version__
from streamkit.common.errors import StreamkitError
from streamkit.common.seams import Seams
from streamkit.net.errors import (
    AuthenticationError,
    ConnectionBusyError,
    ConnectionLost,
    TlsError,
)
from streamkit.net.security import SecuritySettings, handshake_cut, tls_context, tls_error
from streamkit.protocol.apis import VERSIONS, ApiKey
from streamkit.protocol.errors import ErrorCode, MalformedMessage
from streamkit.protocol.frames import FrameBuffer, frame
from streamkit.protocol.messages import (
    Message,
    decode_response,
    encode_request_chunks,
    request_type,
)
from streamkit.protocol.negotiation import (
    Negotiated,
    negotiate,
    read_versions_response,
    retry_version,
    versions_request,
)
from streamkit.protocol.sasl import sasl_client
from streamkit.protocol.versions import fill, upgrade

__all__ = [
    "AuthenticationError",
    "Connection",
    "ConnectionBusyError",
    "ConnectionLost",
    "SecuritySettings",
    "TlsError",
]

IN_FLIGHT_MAX: Final = 1000
"""Requests without an answer on one connection; callers keep well below it."""

RESPONSE_BYTES_MAX: Final = 0x7FFFFFFF
WRITE_BYTES_HIGH: Final = 1 << 20
SOFTWARE_NAME: Final = "streamkit"

_TLS_RECORD: Final = (b"\x15\x03", b"\x16\x03")
"""How a TLS alert and a TLS handshake begin."""


@dataclass(slots=True)
class _InFlight:
    correlation_id: int
    api: int
    version: int
    answer: asyncio.Future[Any]
    deadline: float


class Connection(asyncio.Protocol):
    """One connection; made by `Connection.open`."""

    _transport: asyncio.Transport

    def __init__(self, host: str, port: int, client_id: str, request_timeout_ms: int) -> None:
        self.host = host
        self.port = port
        self._client_id = client_id
        self._timeout_s = request_timeout_ms / 1000
        self._loop = asyncio.get_running_loop()
        self._frames = FrameBuffer(RESPONSE_BYTES_MAX)
        self._in_flight: deque[_InFlight] = deque()
        self._negotiated = Negotiated({}, {}, {})
        self._next_id = 1
        self._timer: asyncio.TimerHandle | None = None
        self._writable: asyncio.Future[None] | None = None
        self._lost: StreamkitError | None = None
        self._has_received = False
        self._uses_sasl = False
        self._answers = 0

    @classmethod
    async def open(
        cls,
        seams: Seams,
        host: str,
        port: int,
        security: SecuritySettings,
        client_id: str,
        request_timeout_ms: int = 30_000,
    ) -> Connection:
        """Dial, agree on TLS and versions, authenticate.

        Raises ConnectionLost, TlsError or AuthenticationError, one clear line each.
        """
        connection = cls(host, port, client_id, request_timeout_ms)
        try:
            async with asyncio.timeout(connection._timeout_s):
                await connection._dial(seams, security)
                await connection._negotiate()
                if security.is_sasl:
                    await connection._authenticate(seams, security)
        except TimeoutError:
            connection.close()
            raise ConnectionLost(
                f"{host}:{port} did not answer within {request_timeout_ms} ms"
            ) from None
        except BaseException:
            connection.close()
            raise
        return connection

    @property
    def is_closed(self) -> bool:
        """Whether the connection can no longer be used."""
        return self._lost is not None

    @property
    def in_flight_count(self) -> int:
        """How many requests wait for their answers."""
        return len(self._in_flight)

    @property
    def features(self) -> Mapping[str, int]:
        """The cluster's finalized feature levels by name."""
        return self._negotiated.features

    @property
    def negotiated(self) -> Negotiated:
        """All that the broker said of itself."""
        return self._negotiated

    def version_of(self, api: int) -> int | None:
        """The newest version of an API that both ends speak; None when there is none."""
        return self._negotiated.version_of(api)

    async def call(self, message: Message, timeout_ms: int | None = None) -> Message:
        """Send a request and wait for its answer; None for a produce with acks=0.

        Raises ConnectionLost, also when the answer is overdue.
        """
        if self._writable is not None:
            await asyncio.shield(self._writable)
        return await self.send_nowait(message, timeout_ms)

    def send_nowait(self, message: Message, timeout_ms: int | None = None) -> asyncio.Future[Any]:
        """Send a request behind those in flight; the future gets its answer.

        Raises ConnectionLost when closed, ConnectionBusyError when IN_FLIGHT_MAX is reached.
        """
        if self._lost is not None:
            raise type(self._lost)(str(self._lost))
        if len(self._in_flight) >= IN_FLIGHT_MAX:
            raise ConnectionBusyError(f"{self.host}:{self.port}: {IN_FLIGHT_MAX} are in flight")
        correlation_id = self._next_id
        self._next_id = correlation_id % 0x7FFFFFFF + 1
        chunks = encode_request_chunks(correlation_id, self._client_id, message)
        answer: asyncio.Future[Any] = self._loop.create_future()
        if message.__api_key__ == ApiKey.PRODUCE and message.acks == 0:
            answer.set_result(None)
        else:
            timeout_s = self._timeout_s if timeout_ms is None else timeout_ms / 1000
            self._expect(correlation_id, message, answer, self._loop.time() + timeout_s)
        self._transport.writelines(frame(chunks))
        return answer

    async def wait_writable(self) -> None:
        """Wait until the broker has taken what was sent."""
        while self._writable is not None:
            await asyncio.shield(self._writable)

    def close(self) -> None:
        """Close; what is in flight ends with ConnectionLost."""
        self._end(ConnectionLost(f"the connection to {self.host}:{self.port} was closed"))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: the broker is there."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(WRITE_BYTES_HIGH)

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes came."""
        try:
            if not self._has_received:
                self._check_first(data)
            for answer in self._frames.feed(data):
                self._receive(answer)
        except MalformedMessage as error:
            self._end(ConnectionLost(f"{self.host}:{self.port} sent no valid answer: {error}"))
        except TlsError as error:
            self._end(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the connection is gone."""
        if isinstance(exc, ssl.SSLError):
            self._end(tls_error(exc, self.host, self.port))
        reason = f": {exc}" if exc is not None else self._hint()
        self._end(ConnectionLost(f"{self.host}:{self.port} closed the connection{reason}"))

    def pause_writing(self) -> None:
        """asyncio: the broker does not take what was sent."""
        if self._writable is None:
            self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        """asyncio: the broker has taken enough."""
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    async def _dial(self, seams: Seams, security: SecuritySettings) -> None:
        context = tls_context(security, seams.disk)
        hostname = self.host if context is not None else None
        try:
            await seams.network.dial(lambda: self, self.host, self.port, context, hostname)
        except ssl.SSLError as error:
            raise tls_error(error, self.host, self.port) from None
        except OSError as error:
            if context is not None and isinstance(error, ConnectionResetError):
                raise handshake_cut(self.host, self.port) from None
            raise ConnectionLost(f"{self.host}:{self.port}: {error}") from None

    async def _negotiate(self) -> None:
        version = VERSIONS[ApiKey.API_VERSIONS].max
        response = await self._ask_versions(version)
        older = retry_version(response)
        if older is not None:
            response = await self._ask_versions(older)
        self._negotiated = negotiate(response)

    async def _ask_versions(self, version: int) -> Message:
        return await self.send_nowait(versions_request(version, SOFTWARE_NAME, __version__))

    async def _authenticate(self, seams: Seams, security: SecuritySettings) -> None:
        mechanism = security.sasl_mechanism
        client = sasl_client(
            mechanism,
            security.sasl_username,
            security.sasl_password,
            lambda: seams.random.uuid4().hex,
        )
        self._uses_sasl = True
        await self._handshake(mechanism)
        token = client.respond(b"")
        while token is not None:
            token = client.respond(await self._exchange(token, security))
        assert client.is_done, "a SASL client that sends nothing more is done"

    async def _handshake(self, mechanism: str) -> None:
        request = fill(request_type(ApiKey.SASL_HANDSHAKE, 1), {"mechanism": mechanism})
        response = await self.send_nowait(request)
        if response.error_code != ErrorCode.none:
            offered = ", ".join(response.mechanisms) or "none: is security.protocol right?"
            raise AuthenticationError(
                f"{self.host}:{self.port} does not take sasl.mechanism {mechanism};"
                f" it offers: {offered}"
            )

    async def _exchange(self, token: bytes, security: SecuritySettings) -> bytes:
        version = self.version_of(ApiKey.SASL_AUTHENTICATE)
        if version is None:
            raise AuthenticationError(f"{self.host}:{self.port} does not offer SaslAuthenticate")
        request = fill(request_type(ApiKey.SASL_AUTHENTICATE, version), {"auth_bytes": token})
        response = upgrade(await self.send_nowait(request))
        if response.error_code != ErrorCode.none:
            raise AuthenticationError(
                f"{self.host}:{self.port} refused user {security.sasl_username!r} with"
                f" {security.sasl_mechanism}: {response.error_message}; check the name and password"
            )
        return bytes(response.auth_bytes)

    def _hint(self) -> str:
        # A broker that waits for SASL answers ApiVersions and closes at anything else.
        if self._uses_sasl or not self._negotiated.versions or self._answers > 1:
            return ""
        return " at our first request; if it asks for a password, set security.protocol to SASL_..."

    def _expect(
        self, correlation_id: int, message: Message, answer: asyncio.Future[Any], deadline: float
    ) -> None:
        api, version = int(message.__api_key__), int(message.__version__)
        self._in_flight.append(_InFlight(correlation_id, api, version, answer, deadline))
        if self._timer is None or deadline < self._timer.when():
            self._schedule(deadline)

    def _schedule(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(deadline, self._end_if_overdue)

    def _end_if_overdue(self) -> None:
        self._timer = None
        if not self._in_flight:
            return
        deadline = min(request.deadline for request in self._in_flight)
        if deadline > self._loop.time():
            self._schedule(deadline)
            return
        self._end(ConnectionLost(f"{self.host}:{self.port} did not answer in time"))

    def _check_first(self, data: bytes) -> None:
        self._has_received = True
        if data[:2] in _TLS_RECORD:
            raise TlsError(
                f"{self.host}:{self.port} speaks TLS; set security.protocol to SSL or SASL_SSL"
            )

    def _receive(self, data: memoryview) -> None:
        if not self._in_flight:
            raise MalformedMessage("an answer that nobody asked for")
        request = self._in_flight.popleft()
        try:
            message = self._decode(request, data)
        except MalformedMessage:
            self._in_flight.appendleft(request)
            raise
        self._answers += 1
        if not request.answer.done():
            request.answer.set_result(message)

    def _decode(self, request: _InFlight, data: memoryview) -> Message:
        if request.api == ApiKey.API_VERSIONS:
            correlation_id, message = read_versions_response(request.version, data)
        else:
            correlation_id, message = decode_response(request.api, request.version, data)
        if correlation_id != request.correlation_id:
            raise MalformedMessage(
                f"correlation id {correlation_id} instead of {request.correlation_id}"
            )
        return message

    def _end(self, error: StreamkitError) -> None:
        if self._lost is not None:
            return
        self._lost = error
        if self._timer is not None:
            self._timer.cancel()
        if hasattr(self, "_transport"):
            self._transport.close()
        self.resume_writing()
        while self._in_flight:
            answer = self._in_flight.popleft().answer
            if not answer.done():
                answer.set_exception(type(error)(str(error)))
