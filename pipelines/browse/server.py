"""Server of the page: its socket, its address, and who may reach it."""

import errno
import secrets
import socket
from contextlib import suppress
from ipaddress import ip_address
from typing import NamedTuple

from nightrain.datasets.errors import InvalidRequest
from nightrain.pipelines.browse.guard import LOOPBACK_NAMES, Access, Application, is_address


class Listening(NamedTuple):
    """A bound socket, who may reach it, and the address to open."""

    socket: socket.socket
    access: Access
    address: str


def listen(host: str, port: int) -> Listening:
    """Bind a socket; one that other machines reach gets a random token. Raises InvalidRequest."""
    bound = _bind(host, port)
    found, port = bound.getsockname()[:2]
    if ip_address(found.partition("%")[0]).is_loopback:
        name = "localhost" if host == "localhost" else _in_address(found)
        access = Access(hosts=LOOPBACK_NAMES | {found}, cookie=f"nightrain_browse_{port}")
        return Listening(bound, access, f"http://{name}:{port}/")
    token, own_name = secrets.token_urlsafe(24), socket.gethostname().lower()
    access = Access(
        hosts=LOOPBACK_NAMES | {own_name, host.lower()},
        any_address=True,
        token=token,
        cookie=f"nightrain_browse_{port}",
    )
    is_any = ip_address(found.partition("%")[0]).is_unspecified
    name = own_name if is_any else _in_address(host)
    return Listening(bound, access, f"http://{name}:{port}/?token={token}")


def serve(app: Application, listening: Listening) -> None:
    """Serve until SIGINT or SIGTERM."""
    import uvicorn

    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,  # it would hold the token
        lifespan="off",
        ws="none",
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=2,
    )
    with suppress(KeyboardInterrupt):  # uvicorn raises the signal again after its shutdown
        uvicorn.Server(config).run(sockets=[listening.socket])


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError) as error:
        raise InvalidRequest(
            f"found the host {host!r}, which cannot be resolved: {error}; expected an address of "
            "this machine, such as 127.0.0.1 or 0.0.0.0"
        ) from error
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(128)
    except OSError as error:
        bound.close()
        raise InvalidRequest(f"{host}:{port} cannot be used: {_advice(error)}") from error
    return bound


def _advice(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another process listens there. Choose another port, or --port 0 for any free one."
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine does not have that address. Use 127.0.0.1, or 0.0.0.0 for all of its."
    if error.errno == errno.EACCES:
        return "no permission. Choose a port above 1023."
    return f"{error.strerror}."


def _in_address(host: str) -> str:
    return f"[{host}]" if is_address(host) and ":" in host else host
