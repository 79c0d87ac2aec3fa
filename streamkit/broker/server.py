"""The server's brain: from a frame to a handler and back.

One `Dispatcher` answers all connections. What Kafka does not answer, it does not either: an API
that is not served, an unknown version (but of ApiVersions) and bytes that are no request close
the connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from streamkit.broker.context import BrokerParts, RequestContext
from streamkit.broker.handlers import SERVED, Handle, ServedApi
from streamkit.common.seams import Piece
from streamkit.net.errors import CloseConnection
from streamkit.net.server import ConnectionInfo, Frame
from streamkit.protocol.apis import ApiKey
from streamkit.protocol.error_codes import error_codes
from streamkit.protocol.errors import ApiError, UnsupportedVersionError
from streamkit.protocol.messages import (
    Chunks,
    Message,
    Request,
    decode_request,
    encode_response,
    encoded_response,
)
from streamkit.protocol.quick import EncodedBody
from streamkit.protocol.versions import canonical_response, downgrade, fill, upgrade


class Dispatcher:
    """Answers requests; those that come before `serve` wait for it."""

    def __init__(self, served: Mapping[int, ServedApi] = SERVED) -> None:
        self._served = served
        self._handlers: dict[int, Handle] = {}
        self._parts: BrokerParts | None = None
        self._is_ready = asyncio.Event()

    def serve(self, parts: BrokerParts) -> None:
        """From now on requests are answered."""
        self._parts = parts
        self._is_ready.set()

    async def answer(self, frame: Frame, connection: ConnectionInfo) -> Sequence[Piece] | None:
        """The answer to one request; None when it gets none. Raises CloseConnection."""
        parts = self._parts
        if parts is None:
            await self._is_ready.wait()
            parts = self._parts
            assert parts is not None, "ready without the broker's parts"
        try:
            request = decode_request(frame)
        except UnsupportedVersionError as error:
            return _refuse_version(error)
        served = self._served.get(request.api_key)
        if served is None or request.api_version not in served.versions:
            raise CloseConnection(
                f"{request.api_key.name} version {request.api_version} is not served"
            )
        monotonic_ms = parts.seams.clock.monotonic_ms
        started_ms = monotonic_ms()
        ctx = RequestContext(parts, request.api_version, request.client_id or "", connection.host)
        handle = self._handlers.get(served.api)
        if handle is None:
            handle = self._handlers[served.api] = served.load()
        if served.is_native:
            response = await handle(ctx, request.message)
        else:
            response = await _translated(served, handle, ctx, request)
        chunks: Sequence[Piece] | None = None
        if type(response) is EncodedBody:
            chunks = encoded_response(request.correlation_id, response)
        elif response is not None:
            parts.metrics.note_errors(request.api_key, error_codes(response))
            chunks = encode_response(request.correlation_id, response)
        total_ms = monotonic_ms() - started_ms
        times = parts.metrics.times(request.api_key, request.api_version)
        times.note(len(frame), total_ms, ctx.waited_ms)
        return chunks


async def _translated(
    served: ServedApi, handle: Handle, ctx: RequestContext, request: Request
) -> Message:
    """What a handler that knows the canonical version answers to another one."""
    try:
        values = await handle(ctx, upgrade(request.message))
    except ApiError as error:
        values = {"error_code": error.code}
    if isinstance(values, Mapping):
        values = fill(canonical_response(served.api), values)
    return downgrade(values, request.api_version)


def _refuse_version(error: UnsupportedVersionError) -> Chunks:
    if error.api_key != ApiKey.API_VERSIONS:
        raise CloseConnection(str(error))
    from streamkit.broker.handlers.api_versions import unsupported_version

    return encode_response(error.correlation_id, unsupported_version())
