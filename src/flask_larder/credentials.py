"""Which header fields tell who asks, by the names that WSGI environs have for them."""

import functools
import re
from collections.abc import Iterable
from typing import Final

from flask_larder.environ import environ_name

LONGEST_FIELD_NAME: Final = 100
"""In characters; clients can send longer ones, which nobody remembers."""

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

# Of TLS (RFC 9440, nginx, Traefik, Amazon, Azure), and of proxies that log users in: OAuth2 Proxy,
# Authelia, Pomerium, Amazon, Google, Azure, Cloudflare.
_PREFIXES: Final = (
    "HTTP_CF_ACCESS_",
    "HTTP_CLIENT_CERT",
    "HTTP_REMOTE_EMAIL",
    "HTTP_REMOTE_GROUPS",
    "HTTP_REMOTE_NAME",
    "HTTP_X_AMZN_MTLS_",
    "HTTP_X_AMZN_OIDC_",
    "HTTP_X_ARR_CLIENTCERT",
    "HTTP_X_AUTH_REQUEST_",
    "HTTP_X_CLIENT_CERT",
    "HTTP_X_FORWARDED_ACCESS_TOKEN",
    "HTTP_X_FORWARDED_CLIENT_CERT",
    "HTTP_X_FORWARDED_EMAIL",
    "HTTP_X_FORWARDED_GROUPS",
    "HTTP_X_FORWARDED_PREFERRED_USERNAME",
    "HTTP_X_FORWARDED_TLS_CLIENT_CERT",
    "HTTP_X_FORWARDED_USER",
    "HTTP_X_GOOG_",
    "HTTP_X_MS_CLIENT_PRINCIPAL",
    "HTTP_X_MS_TOKEN_",
    "HTTP_X_POMERIUM_",
    "HTTP_X_SSL_CLIENT_",
    "SSL_CLIENT_",
)


def is_credential(name: str) -> bool:
    """Whether what stands under *name* in an environ tells who asks."""
    return name in _NAMES or name.startswith(_PREFIXES)


def is_credential_field(name: str) -> bool:
    """As :func:`is_credential`, for the name of a header field."""
    return is_credential(environ_name.__wrapped__(name))  # clients choose names: none is kept


# Words in the names that applications and gateways give to keys, tokens and users.
_TELLING: Final = re.compile(
    r"auth|consumer|credential|dpop|identity|jwt|key|pass(w|code|phrase)|principal|saml|secret|"
    r"session|signature|tenant|token|user"
)

# Words that tell it only as a whole, between hyphens.
_TELLING_WORDS: Final = frozenset(
    {
        *("account", "actor", "bearer", "behalf", "cert", "certificate", "claim", "claims"),
        *("clientcert", "creds", "customer", "dn", "email", "employee", "eppn", "group", "groups"),
        *("hmac", "login", "mail", "member", "msisdn", "org", "organisation", "organization"),
        *("otp", "owner", "permission", "permissions", "role", "roles", "scope", "scopes", "sid"),
        *("sso", "student", "sub", "subject", "subscriber", "ticket", "uid", "visitor"),
    }
)
_TELLING_NAMES: Final = re.compile(
    r"from|remote-(?!addr|host|ip|port).*|.*ssl-client-.*|"
    r"(x-)?(client|device|persistent|player|profile)-(id|uuid|verify)"
)
_TELLING_NOBODY: Final = re.compile(
    r".*user-agent|.*user-ip|sec-(fetch|websocket)-.*|idempotency-key|authority|"
    r"(x-)?(cache|surrogate)-(group|key)|x-pod-.*"
)


def may_tell_who_asks(name: str) -> bool:
    """Whether the header field *name*, in lower case, tells who asks, as far as its name says."""
    judge = _may_tell if len(name) <= LONGEST_FIELD_NAME else _may_tell.__wrapped__
    return judge(name)


@functools.lru_cache(maxsize=1024)
def _may_tell(name: str) -> bool:
    if is_credential_field(name):
        return True
    if _TELLING_NOBODY.fullmatch(name):
        return False
    is_telling = _TELLING.search(name) or _TELLING_NAMES.fullmatch(name)
    return bool(is_telling) or not _TELLING_WORDS.isdisjoint(name.split("-"))


def telling_who_asks(names: Iterable[str]) -> frozenset[str]:
    """Those of the *names* of header fields, in lower case, that may tell who asks."""
    return frozenset(name for name in names if may_tell_who_asks(name))
