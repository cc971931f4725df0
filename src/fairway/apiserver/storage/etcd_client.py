"""Calls to the members of an etcd over gRPC, as bytes, with another member when one does not answer.

gRPC's own balancing would spread calls over the members; here they all go to one until it fails. So a watch and the
writes it has to show come from the same member, and a member that is down costs one failed call, not one of three.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable
from typing import Any, TypeVar

from fairway.apiserver.storage.contract import Compacted, StorageError
from fairway.apiserver.storage.etcd_address import EtcdAddress, is_secure, target_of
from fairway.apiserver.storage.etcd_messages import WATCH, WatchReply, watch_reply
from fairway.objects.codec import DecodeError

# etcd gives up on a request after 5 seconds and two elections (7 by default); a member that is cut off never says so.
_CALL_SECONDS = 5.0
_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # A machine that vanished closes no connection. etcd refuses pings more often than every 5 seconds.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    # So long may it take to connect: a busy machine, or a member on another continent, does not answer in no time.
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # What is sent again is decided where it is known what that would mean.
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
)
# A member without a leader ends our watch instead of keeping it silent.
_NEEDS_LEADER = (("hasleader", "true"),)


T = TypeVar("T")


class Unanswered(Exception):
    """No member has answered; whether the request was carried out is not known."""


class Outdated(Exception):
    """The revision asked for is compacted."""


class _Stream:
    """A watch at a member that others may find silent.

    They do not cancel its call: gRPC wakes nobody who waits to write to one that is cancelled while it connects, and
    the watch would wait for ever.
    """

    def __init__(self) -> None:
        self._left = False
        self._waiting: asyncio.Timeout | None = None

    def leave(self) -> None:
        """Whoever waits for the member waits no longer."""
        self._left = True
        if self._waiting is not None:
            self._waiting.reschedule(asyncio.get_running_loop().time())

    async def answer(self, awaited: Awaitable[T]) -> T:
        """Raises `Unanswered` when the member is left before the answer is there."""
        try:
            async with asyncio.timeout(0 if self._left else None) as self._waiting:
                return await awaited
        except TimeoutError:
            raise Unanswered("a call to the same member was not answered") from None
        finally:
            self._waiting = None


class EtcdClient:
    """Connects when it is first used; raises `StorageError` at once for files that cannot be read.

    ``patience`` is how long one call waits for a member, in seconds.
    """

    def __init__(self, address: EtcdAddress, *, patience: float = _CALL_SECONDS) -> None:
        self.address = address
        self._patience = patience
        self._grpc = _load()
        self._channels = [self._channel(endpoint) for endpoint in address.endpoints]
        self._current = 0
        self._streams: dict[int, set[_Stream]] = defaultdict(set)

    def _channel(self, endpoint: str) -> Any:
        target = target_of(endpoint)
        if is_secure(endpoint):
            return self._grpc.aio.secure_channel(target, self._credentials(), options=_OPTIONS)
        return self._grpc.aio.insecure_channel(target, options=_OPTIONS)

    def _credentials(self) -> Any:
        address, found = self.address, []
        for path in (address.authority, address.key, address.certificate):
            try:
                found.append(path.read_bytes() if path else None)
            except OSError as error:
                raise StorageError(f"cannot read {path} for etcd: {error.strerror}") from None
        return self._grpc.ssl_channel_credentials(*found)

    async def call(self, method: str, request: bytes) -> bytes:
        """One call to one member; raises `Unanswered`, `Outdated`, and `StorageError` when etcd refuses."""
        member = self._current
        try:
            reply: bytes = await self._channels[member].unary_unary(method)(request, timeout=self._patience)
        except self._grpc.aio.AioRpcError as error:
            raise self._explained(error, member) from None
        return reply

    async def ask(self, method: str, request: bytes, patience: float) -> bytes:
        """A call that may be made again: until somebody answers, for about ``patience`` seconds.

        Raises `StorageError` then, and `Outdated`.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience
        pause = 0.05
        while True:
            try:
                return await self.call(method, request)
            except Unanswered as error:
                if loop.time() + pause > deadline:
                    raise StorageError(self.silence(error)) from None
            await asyncio.sleep(pause)
            pause = min(2 * pause, 1.0)

    async def watch(self, request: bytes) -> AsyncGenerator[WatchReply, None]:
        """A watch's replies, until `Unanswered`; raises `Compacted` when it begins too early, and `StorageError`."""
        member = self._current
        call = self._channels[member].stream_stream(WATCH)(metadata=_NEEDS_LEADER)
        stream = _Stream()
        self._streams[member].add(stream)
        try:
            await stream.answer(call.write(request))
            while True:
                data = await stream.answer(call.read())
                if data is self._grpc.aio.EOF:
                    break
                reply = watch_reply(data)
                if reply.compacted:
                    raise Compacted(reply.compacted)
                if reply.canceled:
                    self._leave(member)
                    raise Unanswered(reply.reason or "the watch was canceled")
                yield reply
            error = Unanswered(f"{await call.details() or 'the watch has ended'}")
            self._leave(member)
            raise error
        except self._grpc.aio.AioRpcError as failure:
            raise self._explained(failure, member) from None
        except asyncio.InvalidStateError as failure:  # the call had ended before the request was written
            self._leave(member)
            raise Unanswered(str(failure)) from None
        except DecodeError as failure:
            raise StorageError(f"{self.address} does not speak as etcd does: {failure}") from None
        finally:
            self._streams[member].discard(stream)
            call.cancel()

    def silence(self, error: Unanswered) -> str:
        return f"etcd does not answer at {self.address}: {error}"

    def _leave(self, member: int) -> None:
        """Let the next call go to the next member, unless another call has seen to that, and the watches with it."""
        if member == self._current:
            self._current = (member + 1) % len(self._channels)
            for stream in self._streams.pop(member, ()):
                stream.leave()

    def _explained(self, error: Any, member: int) -> Exception:
        codes = self._grpc.StatusCode
        code, details = error.code(), error.details() or ""
        if code is codes.OUT_OF_RANGE and "compacted" in details:
            return Outdated()
        for part, advice in _ADVICE.items():
            if part in details:
                return StorageError(f"etcd at {self.address} refuses: {details}; {advice}")
        if code in (codes.INVALID_ARGUMENT, codes.PERMISSION_DENIED, codes.UNAUTHENTICATED, codes.UNIMPLEMENTED):
            return StorageError(f"etcd at {self.address} refuses: {details}")
        self._leave(member)
        return Unanswered(f"{code.name.lower().replace('_', ' ')}, {details}")

    async def close(self) -> None:
        for channel in self._channels:
            await channel.close()


_ADVICE = {
    "database space exceeded": "compact and defragment it, then `etcdctl alarm disarm`, or give it a larger "
    "--quota-backend-bytes",
    "too many operations": "start its members with a larger --max-txn-ops, or use fewer node ports in one Service",
    "request is too large": "start its members with a larger --max-request-bytes, or make the object smaller",
}


def _load() -> Any:
    try:
        import grpc
        import grpc.aio
    except ImportError:
        raise StorageError("etcd needs the Python package grpcio: pip install 'fairway[etcd]'") from None
    return grpc
