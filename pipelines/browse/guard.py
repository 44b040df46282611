"""Guard of the page: refuses requests of other sites, and of people without the token.

A page of another site can send requests to this machine: under its own name, by changing what that
name resolves to (DNS rebinding), or across origins. The host header, and the origin of everything
that changes something, tell such requests from ours.
"""

import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_BODY_BYTES = 10_000
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
CONTENT_POLICY = "; ".join(
    (
        "default-src 'none'",
        *(f"{kind}-src 'self'" for kind in ("script", "style", "img", "connect")),
        *(f"{kind} 'none'" for kind in ("base-uri", "form-action", "frame-ancestors")),
    )
)
HEADERS = {
    "content-security-policy": CONTENT_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


@dataclass(frozen=True)
class Access:
    """Who may use the page: names that it is reached by, and the token, "" for none."""

    hosts: frozenset[str] = LOOPBACK_NAMES
    any_address: bool = False  # also every IP address: DNS rebinding always uses a name
    token: str = ""
    cookie: str = "nightrain_browse"

    def allows_host(self, header: str) -> bool:
        """Whether a Host header names this server; the port may be a tunnel's."""
        name = host_name(header)
        return name in self.hosts or (self.any_address and is_address(name))

    def allows_token(self, given: str | None) -> bool:
        """Whether a token is the right one, compared in constant time."""
        return secrets.compare_digest((given or "").encode(), self.token.encode())


class Guard:
    """Middleware that checks host, token and origin, and adds the headers to every answer."""

    def __init__(self, app: Application, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an allowed request on; answer any other one."""
        if scope["type"] != "http":
            return
        headers = _headers(scope)
        refused = self._refusal(scope, headers)
        if refused is not None:
            await _answer(_with_headers(send), *refused)
        elif redirect := self._token_in_address(scope):
            cookie = f"{self._access.cookie}={self._access.token}"
            kept = f"{cookie}; HttpOnly; SameSite=Strict; Path=/"
            more = {"location": redirect, "set-cookie": kept}
            await _answer(_with_headers(send), 303, "The token is kept in a cookie.", more)
        else:
            await self._app(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope, headers: dict[str, list[str]]) -> tuple[int, str] | None:
        hosts = headers.get("host", [])
        if len(hosts) != 1 or not self._access.allows_host(hosts[0]):
            return 400, "The Host header does not name this server; use the address it printed."
        if self._access.token and not self._has_token(scope, headers):
            return 401, "Open the address with the token that `nightrain browse` printed."
        if scope["method"] in ("GET", "HEAD"):
            return None
        return _change_refusal(headers, hosts[0])

    def _has_token(self, scope: Scope, headers: dict[str, list[str]]) -> bool:
        given = [_cookie(text, self._access.cookie) for text in headers.get("cookie", [])]
        given += [value for name, value in _query(scope) if name == "token"]
        return any([self._access.allows_token(one) for one in given])

    def _token_in_address(self, scope: Scope) -> str:
        """Address without its token, to go on with the cookie; "" if there is none in it."""
        query = _query(scope)
        if not self._access.token or scope["method"] != "GET" or "token" not in dict(query):
            return ""
        rest = urlencode([(name, value) for name, value in query if name != "token"])
        path = "/" + scope["raw_path"].decode("latin-1").lstrip("/")  # "//host" is another site
        return path + (f"?{rest}" if rest else "")


def host_name(header: str) -> str:
    """Name or address in a Host header, without its port; "" if it is not valid."""
    try:
        parts = urlsplit(f"//{header}")
        _ = parts.port  # raises ValueError for a port that is not a number
    except ValueError:
        return ""
    return (parts.hostname or "") if parts.netloc == header and "@" not in header else ""


def is_address(name: str) -> bool:
    """Whether a name is an IP address."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _change_refusal(headers: dict[str, list[str]], host: str) -> tuple[int, str] | None:
    """Refusal of a request that changes something: it must be JSON of this very page."""
    site = headers.get("sec-fetch-site", ["same-origin"])
    origins = headers.get("origin", [])
    if origins not in ([f"http://{host}"], [f"https://{host}"]) or site != ["same-origin"]:
        return 403, "Only this page itself may change something: the Origin header is another one."
    kind = headers.get("content-type", [""])[0].partition(";")[0].strip().lower()
    if kind != "application/json":
        return 415, "Send JSON, with the header Content-Type: application/json."
    length = headers.get("content-length", [""])[0]
    if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
        return 413, f"Send a body of at most {MAX_BODY_BYTES} bytes, with its Content-Length."
    return None


def _headers(scope: Scope) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return found


def _query(scope: Scope) -> list[tuple[str, str]]:
    return parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)


def _cookie(header: str, name: str) -> str | None:
    try:
        found = SimpleCookie(header).get(name)
    except CookieError:
        return None
    return None if found is None else found.value


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            there = {name.lower() for name, _ in message["headers"]}
            added = [(k.encode(), v.encode()) for k, v in HEADERS.items()]
            if b"cache-control" not in there:
                added.append((b"cache-control", b"no-store"))
            message["headers"] = [*message["headers"], *added]
        await send(message)

    return send_with_headers


async def _answer(send: Send, status: int, text: str, more: dict[str, str] | None = None) -> None:
    body = text.encode()
    headers = {"content-type": "text/plain; charset=utf-8", "content-length": str(len(body))}
    raw = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in (headers | (more or {})).items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
