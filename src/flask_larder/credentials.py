"""Which header fields tell who asks, by the names that WSGI environs have for them."""

import functools
import re
from typing import Final

_NAMES: Final = frozenset(
    {
        "AUTH_TYPE",
        "HTTP_AUTHORIZATION",
        "HTTP_COOKIE",
        "HTTP_PROXY_AUTHORIZATION",
        "HTTP_REMOTE_USER",
        "HTTP_X_REMOTE_USER",
        "REMOTE_USER",
    }
)

# Of TLS, and of proxies that log users in: OAuth2 Proxy, Amazon, Google, Azure, Cloudflare.
_PREFIXES: Final = (
    "HTTP_CF_ACCESS_",
    "HTTP_X_AMZN_OIDC_",
    "HTTP_X_AUTH_REQUEST_",
    "HTTP_X_FORWARDED_ACCESS_TOKEN",
    "HTTP_X_FORWARDED_CLIENT_CERT",
    "HTTP_X_FORWARDED_EMAIL",
    "HTTP_X_FORWARDED_GROUPS",
    "HTTP_X_FORWARDED_PREFERRED_USERNAME",
    "HTTP_X_FORWARDED_USER",
    "HTTP_X_GOOG_",
    "HTTP_X_MS_CLIENT_PRINCIPAL",
    "HTTP_X_MS_TOKEN_",
    "SSL_CLIENT_",
)


def is_credential(name: str) -> bool:
    """Whether what stands under *name* in an environ tells who asks."""
    return name in _NAMES or name.startswith(_PREFIXES)


def is_credential_field(name: str) -> bool:
    """As :func:`is_credential`, for the name of a header field."""
    return is_credential("HTTP_" + name.upper().replace("-", "_"))


# Words in the names that applications and gateways give to keys, tokens and users.
_TELLING: Final = re.compile(
    r"auth|consumer|credential|dpop|identity|jwt|key|passw|principal|secret|session|signature|"
    r"tenant|token|user"
)
_TELLING_NOBODY: Final = re.compile(r"user-agent|sec-(fetch|websocket)-.*|idempotency-key")


@functools.lru_cache(maxsize=1024)
def may_tell_who_asks(name: str) -> bool:
    """Whether the header field *name*, in lower case, tells who asks, as far as its name says."""
    if is_credential_field(name):
        return True
    return _TELLING.search(name) is not None and _TELLING_NOBODY.fullmatch(name) is None
