"""The command lines of the servers, and what their configuration files say."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

# Where nothing else was found to be better, or is said.
BLOCKING_THREADS = 1
MANY_THREADS = 64
CROWD_THREADS = 256

GUNICORN_CLASSES = {
    "gthread, 4 threads": ("--worker-class", "gthread", "--threads", "4"),
    "gthread, 16 threads": ("--worker-class", "gthread", "--threads", "16"),
    "sync": ("--worker-class", "sync"),
    "gevent": ("--worker-class", "gevent"),
}

TOOLS = {
    "wrk": "wrk",
    "h2load": "nghttp2-client",
    "nginx": "nginx-light",
    "varnishd": "varnish",
    "redis-server": "redis-server",
}
"""Programs, and the packages of Debian and Ubuntu that have them."""


def missing_tools() -> dict[str, str]:
    """Those that are not here, each with how to get it."""
    packages = {name: package for name, package in TOOLS.items() if find_tool(name) is None}
    return {name: f"apt-get install {package}" for name, package in packages.items()}


def find_tool(name: str) -> str | None:
    """The path of a program; servers are often where only root looks."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/sbin")


def _script(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def granian(app: str, port: int, threads: int) -> list[str]:
    """One worker of granian."""
    return [
        *(_script("granian"), "--interface", "wsgi", "--workers", "1", "--runtime-threads", "1"),
        *("--blocking-threads", str(threads), "--no-ws", "--backlog", "1024"),
        *("--host", "127.0.0.1", "--port", str(port), app),
    ]


def gunicorn(app: str, port: int, worker_class: Sequence[str]) -> list[str]:
    """One worker of gunicorn."""
    return [
        *(_script("gunicorn"), *worker_class, "--workers", "1", "--backlog", "1024"),
        *("--keep-alive", "75", "--bind", f"127.0.0.1:{port}", "--no-control-socket", app),
    ]


NGINX_CONF = """\
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    server_tokens off;
    tcp_nodelay on;
    sendfile on;
    keepalive_requests 100000000;
    client_body_temp_path {directory}/body;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    proxy_temp_path {directory}/proxy;
    proxy_cache_path {directory}/cache levels=1:2 keys_zone=bench:64m max_size=2g inactive=60m
                     use_temp_path=off;
    open_file_cache max=30000 inactive=60m;
    upstream app {{
        server 127.0.0.1:{backend};
        keepalive 16;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location / {{
            proxy_pass http://app;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_cache bench;
            add_header X-Cache-Status $upstream_cache_status;
        }}
    }}
}}
"""


def nginx(directory: Path, port: int, backend: int) -> list[str]:
    """One worker of nginx, which keeps responses in *directory*."""
    conf = directory / "nginx.conf"
    conf.write_text(NGINX_CONF.format(directory=directory, port=port, backend=backend))
    return [find_tool("nginx") or "nginx", "-e", "stderr", "-c", str(conf), "-g", "daemon off;"]


def varnish(directory: Path, port: int, backend: int) -> list[str]:
    """Varnish as it comes, which keeps responses in memory."""
    return [
        *(find_tool("varnishd") or "varnishd", "-F", "-n", str(directory / "varnish")),
        *("-a", f"127.0.0.1:{port}", "-b", f"127.0.0.1:{backend}", "-s", "malloc,1g"),
    ]


def redis(directory: Path, port: int) -> list[str]:
    """Redis without persistence."""
    return [
        *(find_tool("redis-server") or "redis-server", "--port", str(port), "--bind", "127.0.0.1"),
        *("--save", "", "--appendonly", "no", "--dir", str(directory)),
    ]
