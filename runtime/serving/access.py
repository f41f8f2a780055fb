"""Who may talk to the server. Pure Python."""

import hmac
import ipaddress
import secrets
from dataclasses import dataclass

_TOKEN_BYTES = 18  # of randomness in a token that is made


@dataclass(frozen=True)
class Access:
    """Without a token only this machine's own pages and programs; with one, whoever knows it."""

    token: str | None

    def refusal(self, host: str | None, origin: str | None, token: str | None) -> str | None:
        """Why a request may not go on, None if it may.

        `host` and `origin` are the headers of those names, `token` the query's. A browser sends an origin with every
        WebSocket: pages of other sites are kept out by it, and names that lead here by a foreign DNS (rebinding) by the host.
        """
        if origin is not None and origin.partition("://")[2] != host:
            return f"got a page of {origin}, expected one of this server"
        if self.token is not None:
            if token is None or not hmac.compare_digest(_bytes(token), _bytes(self.token)):
                return "got no token or a wrong one, expected ?token=... as printed where the server was started"
        elif not is_loopback(_without_port(host or "")):
            return f"got the host {host}, expected localhost; for others start the server with --host or --token"
        return None


def _bytes(token: str) -> bytes:
    return token.encode("utf-8", "backslashreplace")


def _without_port(host: str) -> str:
    """The name or address in a Host header."""
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def access_for(host: str, token: str | None) -> Access:
    """Addresses that others can reach get a token where none is given."""
    return Access(token or (None if is_loopback(host) else secrets.token_urlsafe(_TOKEN_BYTES)))


def is_loopback(host: str) -> bool:
    """Whether this name or address can only mean this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
