"""Redis over TLS: certificates that are made here, and a server that asks for them."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis
from flask import Flask

from flask_larder import Cache
from flask_larder.errors import InvalidConfig, StoreUnavailable
from flask_larder.redis import Address, Links, RedisStore
from tests.redis.test_outages import Busy
from tests.redis_nodes import HOST, Node, binary, wait_until

LONG = 600.0


class Certificates:
    """A certification authority, and what it signs; made by openssl."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory, self._name = directory, name
        self._openssl("req", "-x509", "-subj", f"/CN={name}", "-days", "2", "-out", self.ca,
                      *self._new_key(name))  # fmt: skip

    @property
    def ca(self) -> str:
        """The certificate of the authority itself."""
        return self._path(f"{self._name}.crt")

    def sign(self, name: str, alternative: str) -> tuple[str, str]:
        """A certificate and its key."""
        request, extension = self._path(f"{name}.csr"), self._path(f"{name}.ext")
        Path(extension).write_text(f"subjectAltName={alternative}\n")
        self._openssl("req", "-subj", f"/CN={name}", "-out", request, *self._new_key(name))
        certificate, key = self._path(f"{name}.crt"), self._path(f"{name}.key")
        authority = ("-CA", self.ca, "-CAkey", self._path(f"{self._name}.key"), "-CAcreateserial")
        self._openssl("x509", "-req", "-in", request, *authority, "-days", "2", "-extfile",
                      extension, "-out", certificate)  # fmt: skip
        return certificate, key

    def _new_key(self, name: str) -> list[str]:
        return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                "-keyout", self._path(f"{name}.key")]  # fmt: skip

    def _path(self, name: str) -> str:
        return str(self._directory / name)

    def _openssl(self, *words: str) -> None:
        subprocess.run(["openssl", *words], check=True, capture_output=True)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """The authority that the server's certificate is from."""
    if not shutil.which("openssl"):
        pytest.skip("no openssl is installed")
    return Certificates(tmp_path_factory.mktemp("ours"), "ours")


@pytest.fixture(scope="module")
def client_certificate(ours: Certificates) -> dict[str, str]:
    """The certificate of a client, as options."""
    certificate, key = ours.sign("client", "DNS:client")
    return {"ssl_certfile": certificate, "ssl_keyfile": key}


def start(
    ours: Certificates, name: str, alternative: str, *lines: str, clients: str, **kind: bool
) -> Iterator[Node]:
    certificate, key = ours.sign(name, alternative)
    node = Node(
        binary("redis-server"),  # the embedded server has no TLS
        *lines,
        *("port 0", "tls-port {port}", f"tls-ca-cert-file {ours.ca}"),
        *(f"tls-cert-file {certificate}", f"tls-key-file {key}", f"tls-auth-clients {clients}"),
        **kind,
    )
    try:
        yield node.start()
    finally:
        node.remove()


@pytest.fixture(scope="module")
def node(ours: Certificates) -> Iterator[Node]:
    """A server that asks nobody for a certificate."""
    yield from start(ours, "server", f"IP:{HOST}", clients="no")


@pytest.fixture(scope="module")
def strict_node(ours: Certificates) -> Iterator[Node]:
    """A server that asks everybody for a certificate."""
    yield from start(ours, "strict", f"IP:{HOST}", clients="yes")


@pytest.fixture(scope="module")
def misnamed_node(ours: Certificates) -> Iterator[Node]:
    """A server with a certificate for another host."""
    yield from start(ours, "misnamed", "DNS:elsewhere.example", clients="no")


def store(node: Node, query: str = "", **options: Any) -> RedisStore:
    address = Address(f"rediss://{node.address}{query}", timeout=5.0, connect_timeout=5.0,
                      options=options)  # fmt: skip
    return RedisStore(Links(address), "")


def test_a_server_that_the_authority_vouches_for_is_used(node: Node, ours: Certificates) -> None:
    """Over one connection, however often it is asked."""
    cache = store(node, ssl_ca_certs=ours.ca)
    with node.admin() as client:
        before = client.info("stats")["total_connections_received"]
        assert cache.set("k", b"v" * 100_000, LONG)
        assert [cache.get("k") for _ in range(20)] == [b"v" * 100_000] * 20
        assert client.info("stats")["total_connections_received"] == before + 1


def test_whoever_stops_listening_says_nothing_in_plain_text(node: Node, ours: Certificates) -> None:
    """Python would take the encryption away before the connection."""
    address = Address(f"rediss://{node.address}", options={"ssl_ca_certs": ours.ca})
    connection = address.connect(time.monotonic() + 5.0)
    connection.interrupt()
    assert connection._sock.version()
    assert connection.ask(("PING",), time.monotonic() + 5.0) == b"PONG"
    connection.close()


def test_with_tls_what_is_late_is_not_taken(node: Node, ours: Certificates) -> None:
    """What is there may be half a record, and who reads it would wait for the rest."""
    address = Address(f"rediss://{node.address}", options={"ssl_ca_certs": ours.ca})
    connection = address.connect(time.monotonic() + 5.0)
    connection._sock = Busy(connection._sock, 0.1)
    with pytest.raises(redis.TimeoutError):
        connection.ask(("PING",), time.monotonic() + 0.05)
    connection.close()


def test_options_may_stand_in_the_url(node: Node, ours: Certificates) -> None:
    """As redis-py takes them."""
    cache = store(node, f"/0?ssl_ca_certs={ours.ca}&ssl_cert_reqs=required")

    assert cache.set("k", b"v", LONG)


@pytest.mark.parametrize("authority", ["the system's", "another"])
def test_a_server_that_nobody_vouches_for_is_refused(
    node: Node, tmp_path: Path, caplog: pytest.LogCaptureFixture, authority: str
) -> None:
    """By default, too; and the log says why."""
    options = {"ssl_ca_certs": Certificates(tmp_path, "a").ca} if authority == "another" else {}
    cache = store(node, **options)

    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            cache.get("k")

    (line,) = caplog.messages
    assert " is away, views answer without it: " in line
    assert "certificate verify failed" in line


def test_a_certificate_for_another_host_is_refused(
    misnamed_node: Node, ours: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    """Not every server of the authority is Redis."""
    with pytest.raises(StoreUnavailable):
        store(misnamed_node, ssl_ca_certs=ours.ca).get("k")

    assert f"certificate is not valid for '{HOST}'" in caplog.messages[0]


def test_only_who_says_so_goes_unverified(misnamed_node: Node, ours: Certificates) -> None:
    """The name and the authority are given up one by one."""
    assert store(misnamed_node, "?ssl_check_hostname=false", ssl_ca_certs=ours.ca).get("k") is None
    with pytest.raises(StoreUnavailable):
        store(misnamed_node, "?ssl_check_hostname=false").get("k")
    assert store(misnamed_node, ssl_cert_reqs="none").get("k") is None


def test_a_server_may_ask_for_a_certificate(
    strict_node: Node,
    ours: Certificates,
    client_certificate: dict[str, str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Who has one is let in; to who has none, the log says what is missing."""
    assert store(strict_node, ssl_ca_certs=ours.ca, **client_certificate).set("k", b"v", LONG)
    assert caplog.messages == []

    for query in ("", "?password=any"):
        with pytest.raises(StoreUnavailable, match="give ssl_certfile and ssl_keyfile"):
            store(strict_node, query, ssl_ca_certs=ours.ca).get("k")

    assert "give ssl_certfile and ssl_keyfile" in caplog.messages[0]


def test_without_tls_nothing_is_said_to_a_server_with_it(node: Node) -> None:
    """The view answers; nothing hangs."""
    with pytest.raises(StoreUnavailable):
        RedisStore(Links(Address(f"redis://{node.address}", timeout=1.0)), "").get("k")


@pytest.mark.parametrize("name", ["ssl_ca_certs", "ssl_certfile", "ssl_keyfile"])
def test_a_file_that_is_missing_is_told_at_the_start(tmp_path: Path, name: str) -> None:
    """With the name of the option."""
    with pytest.raises(InvalidConfig, match=rf"{name} .*no-such\.pem.* give the path of a PEM"):
        Address("rediss://localhost", options={name: str(tmp_path / "no-such.pem")})


def test_sentinels_and_their_master_have_tls(node: Node, ours: Certificates) -> None:
    """Each with options of its own."""
    monitor = f"sentinel monitor mymaster {HOST} {node.port} 1"
    sentinels = start(ours, "sentinel", f"IP:{HOST}", monitor, clients="no", sentinel=True)
    options = {"ssl": True, "ssl_ca_certs": ours.ca,
               "sentinel_ssl": True, "sentinel_ssl_ca_certs": ours.ca}  # fmt: skip
    with closing(sentinels):
        config = {"CACHE_TYPE": "redissentinel", "CACHE_REDIS_SENTINELS": next(sentinels).address}
        assert is_cached({**config, "CACHE_OPTIONS": options})
        for name in ("ssl_ca_certs", "sentinel_ssl_ca_certs"):
            less = {option: value for option, value in options.items() if option != name}
            assert not is_cached({**config, "CACHE_OPTIONS": less})


def test_a_cluster_has_tls(ours: Certificates) -> None:
    """For the nodes that were found as for those that were given."""
    lines = ("cluster-enabled yes", "tls-cluster yes", "cluster-port {bus}")
    nodes = start(ours, "node", f"IP:{HOST}", *lines, clients="no")
    with closing(nodes):
        node = next(nodes)
        node.run("CLUSTER", "ADDSLOTS", *range(16_384))
        wait_until(lambda: "cluster_state:ok" in str(node.run("CLUSTER", "INFO")))
        config = {"CACHE_TYPE": "rediscluster", "CACHE_REDIS_CLUSTER": node.address}
        options = {"ssl": True, "ssl_ca_certs": ours.ca}
        assert is_cached({**config, "CACHE_OPTIONS": options})
        assert not is_cached({**config, "CACHE_OPTIONS": {"ssl": True}})
        url = f"rediss+cluster://{node.address}?ssl_ca_certs={ours.ca}"
        assert is_cached({"CACHE_TYPE": "redis", "CACHE_REDIS_URL": url})


def is_cached(config: dict[str, Any]) -> bool:
    app = Flask(__name__)
    cache = Cache(app, config={**config, "CACHE_REDIS_TIMEOUT": 5.0})
    return cache.set("k", 1) and cache.get("k") == 1
