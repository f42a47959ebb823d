"""The client of the universities API: pooled, and bounded in time and in size."""

import logging
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec
import urllib3
from urllib3.exceptions import HTTPError, NewConnectionError
from urllib3.exceptions import TimeoutError as Urllib3TimeoutError

MOST_BYTES = 8 * 1024 * 1024
CHUNK_BYTES = 64 * 1024
HEADERS = {"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": "Flask-Larder"}

logger = logging.getLogger("service")


class ApiFailedError(Exception):
    """The API does not answer, or not with a list."""


class ApiTimeoutError(Exception):
    """The API did not answer in time."""


class UniversitiesApi:
    """Searches in the universities API."""

    def __init__(
        self,
        url: str,
        *,
        connect_timeout: float,
        read_timeout: float,
        total_timeout: float,
        connections: int = 1,
    ) -> None:
        """Take the address of the API, its limits in seconds, and how many connections are kept.

        ``read_timeout`` is for each wait for bytes, ``total_timeout`` for the whole body, since a
        server that sends a byte now and then keeps the former for ever.
        """
        self._path = urlsplit(url).path.rstrip("/") + "/search"
        self._total_timeout = total_timeout
        self._pool = urllib3.connection_from_url(
            url,
            maxsize=connections,
            timeout=urllib3.Timeout(connect=connect_timeout, read=read_timeout),
            retries=False,
            headers=HEADERS,
        )

    def search(self, parameters: Mapping[str, str]) -> bytes:
        """Return the JSON list that the API answers, as it is.

        Raises ApiTimeoutError, or ApiFailedError for all but a JSON list of a bearable size.
        """
        try:
            body = self._get(f"{self._path}?{urlencode(parameters)}")
        except NewConnectionError as error:  # to urllib3 this is a timeout, too
            raise _failed("The universities API is not reached.", error) from error
        except (Urllib3TimeoutError, TimeoutError) as error:
            logger.warning("The universities API did not answer in time: %s", error)
            raise ApiTimeoutError("The universities API did not answer in time.") from error
        except (HTTPError, OSError) as error:
            raise _failed("The universities API broke off its answer.", error) from error
        return _checked(body)

    def _get(self, target: str) -> bytes:
        deadline = time.monotonic() + self._total_timeout
        # A redirect is not followed: who could point the service at any host of its network?
        response = self._pool.urlopen("GET", target, redirect=False, preload_content=False)
        try:
            return _read(response, deadline)
        except BaseException:
            response.close()  # it is not read to its end: its connection cannot be used again
            raise
        finally:
            response.release_conn()


def _read(response: urllib3.BaseHTTPResponse, deadline: float) -> bytes:
    if response.status != 200:
        raise _failed(f"The universities API answered with status {response.status}.")
    body = bytearray()
    while chunk := response.read1(CHUNK_BYTES):
        body += chunk
        if len(body) > MOST_BYTES:
            raise _failed(f"The universities API answered with more than {MOST_BYTES} bytes.")
        if time.monotonic() > deadline:
            raise TimeoutError("its body took too long")
    return bytes(body)


def _checked(body: bytes) -> bytes:
    try:
        msgspec.json.decode(body, type=list[Any])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise _failed("The universities API did not answer with a JSON list.", error) from error
    return body


def _failed(detail: str, error: Exception | None = None) -> ApiFailedError:
    # The cause names hosts and addresses, which are for the log and not for everybody.
    logger.warning("%s%s", detail, f" {error}" if error else "")
    return ApiFailedError(detail)
