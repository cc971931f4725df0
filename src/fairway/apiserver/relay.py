"""A request carried on to an endpoint, and its answer back, bit by bit.

::

    client ══ request, body ══▶ relay ══▶ endpoint        without the client's credentials
    client ◀══ status, body ══  relay ◀══ endpoint        for as long as both stay

The client that goes away ends the conversation; an endpoint that cannot be reached is a 503 in Kubernetes' words, one
that breaks off cuts the connection, so that nobody takes half an answer for a whole one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING
from urllib.parse import quote

from fairway.apiserver.forwarding import Place, Way
from fairway.apiserver.requests import Receive, Request, Send
from fairway.objects.status import not_implemented, unavailable

if TYPE_CHECKING:
    import aiohttp

_CONNECT_SECONDS = 30.0
# They are between two neighbours, not between the ends (RFC 9110, section 7.6.1).
_HOP_BY_HOP = (
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
)
# Between the client and us: who it is, whom it acts for, and whether it may go on.
_OURS = ("authorization", "expect", "impersonate-")
_PATH_SAFE = "/%:@!$&'()*+,;=-._~"
_REDIRECTS = (301, 302, 303, 307, 308)

Headers = list[tuple[str, str]]


def check_relayable(request: Request) -> None:
    """Raises `ApiError` for a request that wants to become something else than HTTP."""
    if protocol := request.header(b"upgrade"):
        words = "only plain HTTP is forwarded; reach the Service at its own address"
        raise not_implemented(f"the upgrade to {protocol} is not served: {words}")


async def relay(request: Request, way: Way, place: Place, receive: Receive, send: Send) -> int:
    """Carry on a request; returns the endpoint's status. Raises `ApiError` before the answer has begun."""
    parts: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=1)
    listening = asyncio.create_task(_listen(receive, parts))
    talking = asyncio.create_task(_talk(request, way, place, parts, send))
    try:
        await asyncio.wait({listening, talking}, return_when=asyncio.FIRST_COMPLETED)
        if not talking.done():
            talking.cancel()
            await asyncio.wait({talking})
            return 499  # as proxies write down that the client went away
        return talking.result()
    finally:
        for task in (listening, talking):
            task.cancel()
        await asyncio.gather(listening, talking, return_exceptions=True)


async def _listen(receive: Receive, parts: asyncio.Queue[bytes | None]) -> None:
    """Hand over the body as it comes; ends when the client goes away."""
    while (message := await receive())["type"] != "http.disconnect":
        if body := message.get("body"):
            await parts.put(body)
        if not message.get("more_body"):
            await parts.put(None)


async def _talk(request: Request, way: Way, place: Place, parts: asyncio.Queue[bytes | None], send: Send) -> int:
    import aiohttp
    import yarl

    from fairway.client.network import cause_of

    url = f"{place.scheme}://{place.authority}{quote(way.rest or '/', safe=_PATH_SAFE)}"
    query = quote(request.query_string, safe=_PATH_SAFE + "?")
    has_body = bool(request.header(b"content-length").strip("0") or request.header(b"transfer-encoding"))
    # Whatever the endpoint's certificate says, it is the cluster that has told us its address.
    connector = aiohttp.TCPConnector(ssl=False, force_close=True)
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
    ) as session:
        try:
            answer = await session.request(
                request.method,
                yarl.URL(f"{url}?{query}" if query else url, encoded=True),
                headers=_request_headers(request, way),
                data=_body(parts) if has_body else None,
                allow_redirects=False,
            )
            async with answer:
                await _pass_on(answer, way, place, send)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise unavailable(f"error trying to reach service: {place.authority}: {cause_of(error)}") from None
        return answer.status


async def _pass_on(answer: aiohttp.ClientResponse, way: Way, place: Place, send: Send) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in _answer_headers(answer, way, place)]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    async for chunk in answer.content.iter_any():
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _body(parts: asyncio.Queue[bytes | None]) -> AsyncIterator[bytes]:
    while (part := await parts.get()) is not None:
        yield part


def _request_headers(request: Request, way: Way) -> Headers:
    found = _end_to_end((name.decode("latin-1"), value.decode("latin-1")) for name, value in request.fields)
    kept = [(name, value) for name, value in found if not name.startswith(_OURS)]
    earlier = [value for name, value in kept if name == "x-forwarded-for"]
    told = {
        "x-forwarded-for": ", ".join([*earlier, request.address]),
        "x-forwarded-host": request.header(b"host"),
        "x-forwarded-proto": "https",
        "x-forwarded-uri": way.prefix + (way.rest or "/"),
    }
    return [(name, value) for name, value in kept if name not in told] + [*told.items()]


def _answer_headers(answer: aiohttp.ClientResponse, way: Way, place: Place) -> Headers:
    """A redirect within the endpoint leads through us, too."""
    found = _end_to_end((name.lower(), value) for name, value in answer.headers.items())
    if answer.status not in _REDIRECTS:
        return found
    return [(name, _location(value, way, place) if name == "location" else value) for name, value in found]


def _location(target: str, way: Way, place: Place) -> str:
    root = f"{place.scheme}://{place.authority}"
    if target == root or target.startswith(f"{root}/"):
        target = target.removeprefix(root) or "/"
    return way.prefix + target if target.startswith("/") and not target.startswith("//") else target


def _end_to_end(headers: Iterable[tuple[str, str]]) -> Headers:
    found = list(headers)
    named = {one.strip().lower() for name, value in found if name == "connection" for one in value.split(",")}
    return [(name, value) for name, value in found if name not in _HOP_BY_HOP and name not in named]
