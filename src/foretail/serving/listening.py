"""The socket that a server answers on."""

from __future__ import annotations

import socket

from foretail.core.errors import UsageError

__all__ = ["listen", "url_of"]


def listen(host: str, port: int, option: str = "--port") -> socket.socket:
    """A socket that listens there.

    Parameters
    ----------
    option : of the command line, to say how another port is chosen.

    Raises
    ------
    UsageError : the port cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # told to be TCP, else asyncio leaves Nagle's algorithm on, and an answer in two parts takes 40 ms
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise UsageError(
            f"the port cannot be had: {error}\n  where: {host}:{port}\n  fix:   another {option} or --host"
        ) from error
    return listener


def url_of(host: str, port: int) -> str:
    """How that is written as an address."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
