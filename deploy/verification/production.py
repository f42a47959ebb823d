"""What ``docker-compose.yml`` promises, with each of the two servers."""

import json
import re
import socket
import threading
import time

from deploy.verification.client import Answer, Load, answers, get
from deploy.verification.compose import Project, docker
from deploy.verification.report import Report, Row, expect, wait_for

BASE = "python:3.12-slim-bookworm"
MOST_MEGABYTES = 200
MOST_SECONDS_TO_START = 3.0
DRAIN_SECONDS = 12.0  # of docker-compose.yml

ASK = """
import http.client, json, sys
connection = http.client.HTTPConnection("127.0.0.1", 5000, timeout=10)
connection.request("GET", sys.argv[1], headers=json.loads(sys.argv[2]))
response = connection.getresponse()
fields = {name.lower(): value for name, value in response.getheaders()}
print(json.dumps([response.status, fields, response.read().decode()]))
"""
WRITES = "open('/app/x', 'w')"


def check(report: Report, project: Project, port: int, app_port: int) -> None:
    """Check all of it with granian, then what depends on the server with gunicorn."""
    with report.check("build") as row:
        project.compose("build")
        sizes = [image_size(image) for image in (BASE, f"{project.name}-app")]
        over = (sizes[1] - sizes[0]) / 1e6
        row.saw(f"{over:.0f} MB over its base")
        expect(over < MOST_MEGABYTES, f"more than {MOST_MEGABYTES} MB")
    for server in ("granian", "gunicorn"):
        with report.check(f"{server}: the image alone, without any privilege") as row:
            check_image(row, f"{project.name}-app", server)
    with report.check("start, each part when the one before is healthy") as row:
        project.up()
        check_call(row, project, port, app_port)
    with report.check("guarded") as row:
        check_guards(row, project)
    with report.check("a hit, through nginx and directly") as row:
        check_hit(row, project, port)
    with report.check("forwarded fields are nginx's alone") as row:
        check_forwarded(row, project, port)
    with report.check("a client that leaves does not end the render") as row:
        check_leaving(row, project, port)
    with report.check("scale to 3 and back under load") as row:
        check_scaling(row, project, port)
    with report.check("Redis killed under load") as row:
        check_redis_killed(row, project, port)
    with report.check("one app of three killed under load") as row:
        check_app_killed(row, project, port)
    with report.check("nginx killed") as row:
        check_nginx_killed(row, project, port)
    check_server(report, project, port, "granian")
    project.environ["SERVER"] = "gunicorn"
    with report.check("change to gunicorn") as row:
        project.up()
        check_call(row, project, port, app_port)
    check_server(report, project, port, "gunicorn")


def check_server(report: Report, project: Project, port: int, server: str) -> None:
    """Check what a server does on signals."""
    with report.check(f"{server} is the server") as row:
        said = get(port, "/square/4").fields["server"]
        expect(said.startswith(server), f"it is {said}")
        row.saw(f"Server: {said}")
    with report.check(f"{server}: two rolling restarts of the workers under load") as row:
        check_rolling_restart(row, project, port)
    with report.check(f"{server}: stopped with a request under way") as row:
        check_stop(row, project, port)


def image_size(image: str) -> int:
    """Return the size in bytes."""
    return int(docker("image", "inspect", "--format", "{{.Size}}", image))


def check_image(row: Row, image: str, server: str) -> None:
    """Run the image by itself: read-only, no capability, nothing to write to."""
    options = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
    settings = ["-e", "CACHE_TYPE=SimpleCache", "-e", f"SERVER={server}"]
    publish = ["-p", "127.0.0.1:0:5000"]
    container = docker("create", *options, *settings, *publish, image).strip()
    try:
        began = time.monotonic()
        docker("start", container)
        port = int(docker("port", container, "5000").splitlines()[0].rpartition(":")[2])
        wait_for("the image answers", answers(port))
        seconds = time.monotonic() - began
        row.saw(f"answers {seconds:.1f} s after its start")
        expect(seconds < MOST_SECONDS_TO_START, f"more than {MOST_SECONDS_TO_START} s")
        user = docker("exec", container, "id", "-u").strip()
        expect(user != "0", "it runs as root")
        row.saw(f"as user {user}, on a read-only root without /tmp")
        began = time.monotonic()
        docker("stop", "--time", "30", container)
        code = docker("inspect", "--format", "{{.State.ExitCode}}", container).strip()
        expect(code == "0", f"its exit code is {code}")
        row.saw(f"SIGTERM ends it in {time.monotonic() - began:.1f} s with exit code 0")
    finally:
        docker("rm", "-f", container)


def check_call(row: Row, project: Project, port: int, app_port: int) -> None:
    """Call through both published ports, and inside the container."""
    for name, answer in {
        f"port {port}": get(port, "/square/4"),
        f"port {app_port}": get(app_port, "/square/4"),
        "inside the app's container": ask_directly(project, "/square/4", {}),
    }.items():
        expect(answer.status == 200 and "16" in answer.body, f"{name}: {answer}")
    ready = get(port, "/readyz")
    expect(ready.status == 200, f"/readyz: {ready.status} {ready.body}")
    row.saw("200 through nginx on both ports and directly, ready")


def ask_directly(project: Project, target: str, fields: dict[str, str]) -> Answer:
    """Ask the app itself, from inside its container."""
    said = project.run("app", "python", "-c", ASK, target, json.dumps(fields))
    status, answered, body = json.loads(said)
    return Answer(status, answered, body, 0.0)


def check_guards(row: Row, project: Project) -> None:
    """See what each container may do."""
    for service in ("nginx", "app", "redis"):
        (container,) = project.containers(service)
        host = project.inspect(container)["HostConfig"]
        expect(host["ReadonlyRootfs"], f"{service} can write to its root")
        expect(host["CapDrop"] == ["ALL"] and not host["CapAdd"], f"{service} has capabilities")
        expect(host["Memory"] and host["PidsLimit"], f"{service} has no limits")
        user = project.run(service, "id", "-u").strip()
        expect(user != "0", f"{service} runs as root")
    found = project.run("nginx", "sh", "-c", "getent hosts redis || echo nobody").strip()
    expect(found == "nobody", f"nginx finds Redis at {found}")
    (redis,) = project.containers("redis")
    ports = project.inspect(redis)["NetworkSettings"]["Ports"] or {}
    expect(not any(ports.values()), f"Redis is published: {ports}")
    refused = project.run("redis", "env", "-u", "REDISCLI_AUTH", "redis-cli", "dbsize")
    expect("NOAUTH" in refused, f"Redis answers without a password: {refused}")
    policy = project.run("redis", "redis-cli", "config", "get", "maxmemory*").split()
    expect("allkeys-lfu" in policy and "268435456" in policy, f"Redis has {policy}")
    row.saw("no root, no capability, read-only roots, limits", "Redis for the app alone")


def check_hit(row: Row, project: Project, port: int) -> None:
    """Ask for the same twice, then directly; compare what comes."""
    first, second = get(port, "/square/12"), get(port, "/square/12")
    expect("stored" in first.cache, f"first {first.cache!r}")
    expect(second.cache.startswith("larder; hit"), f"second {second.cache!r}")
    direct = ask_directly(project, "/square/12", {"Host": f"127.0.0.1:{port}"})
    expect(direct.cache.startswith("larder; hit"), f"directly {direct.cache!r}")
    connection = {"connection", "keep-alive"}
    names = [set(answer.fields) - connection for answer in (second, direct)]
    expect(names[0] == names[1], f"fields differ: {names[0] ^ names[1]}")
    changed = [
        name
        for name in names[0] - {"age", "date", "cache-status", "server-timing"}
        if second.fields[name] != direct.fields[name]
    ]
    expect(not changed and second.body == direct.body, f"nginx changes {changed}")
    runs = project.logs("app").count("Computing the square of 12\n")
    expect(runs == 1, f"the view ran {runs} times")
    row.saw(f"{second.cache!r}, the view ran once, nginx changes no field")


def check_forwarded(row: Row, project: Project, port: int) -> None:
    """Claim another host and scheme, through nginx and past it."""
    claims = {
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-For": "10.9.8.7",
        "X-Forwarded-Prefix": "/evil",
        "Forwarded": "host=evil.example;proto=https",
    }
    get(port, "/square/13")
    through = get(port, "/square/13", claims)
    expect(through.cache.startswith("larder; hit"), f"through nginx: {through.cache!r}")
    direct = ask_directly(project, "/square/13", claims | {"Host": f"127.0.0.1:{port}"})
    expect(direct.cache.startswith("larder; hit"), f"directly: {direct.cache!r}")
    row.saw("a client's claims of host and scheme change nothing, through nginx and directly")


def check_leaving(row: Row, project: Project, port: int) -> None:
    """Ask for something slow, and leave at once."""
    target = "/universities?name=leaving"
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        wait_for("the API is asked", lambda: "name=leaving" in project.logs("api"))
    wait_for("the render ends", lambda: f"GET {target} 200" in project.logs("app"))
    answer = get(port, target)
    expect(answer.cache.startswith("larder; hit"), f"then {answer.cache!r}")
    calls = project.logs("api").count("name=leaving")
    expect(calls == 1, f"the API was asked {calls} times")
    row.saw(f"the next one has {answer.cache!r}, the API was asked once")


def check_scaling(row: Row, project: Project, port: int) -> None:
    """Scale while clients ask."""

    def upstreams() -> set[str]:
        return set(re.findall(r"s, (\S+:5000) 200 ", project.logs("nginx")))

    with Load(port) as load:
        with project.scaled(3):
            wait_for("nginx uses three replicas", lambda: len(upstreams()) == 3)
        load.wait_for_more(500)
    expect(len(project.containers("app")) == 1, "not one container is left")
    row.saw(f"3 replicas answered; {load}")
    expect(not load.failures, "requests failed")


def check_redis_killed(row: Row, project: Project, port: int) -> None:
    """Kill Redis while clients ask."""
    with Load(port) as load:
        (container,) = project.containers("redis")
        began = time.monotonic()
        project.crash(container)
        wait_for("ready", answers(port, "/readyz"))

        def hits() -> bool:
            return get(port, "/square/14").cache.startswith("larder; hit")

        wait_for("hits are back", hits)
        row.saw(f"hits are back {time.monotonic() - began:.1f} s after the kill; {load}")
    expect(not load.failures, "requests failed")


def check_app_killed(row: Row, project: Project, port: int) -> None:
    """Kill a replica of three while clients ask."""
    with project.scaled(3), Load(port) as load:
        load.wait_for_more(300)
        project.crash(project.containers("app")[0])

        def are_healthy() -> bool:
            states = [project.inspect(one)["State"] for one in project.containers("app")]
            return [state["Health"]["Status"] for state in states] == ["healthy"] * 3

        wait_for("three are healthy", are_healthy)
    row.saw(str(load))
    expect(not load.failures, "requests failed")


def check_nginx_killed(row: Row, project: Project, port: int) -> None:
    """Kill nginx, and wait until it answers."""
    (container,) = project.containers("nginx")
    began = time.monotonic()
    project.crash(container)
    wait_for("nginx answers", answers(port, "/square/4"))
    row.saw(f"answers {time.monotonic() - began:.1f} s after the kill")


def check_rolling_restart(row: Row, project: Project, port: int) -> None:
    """Send SIGHUP twice while clients ask."""
    with Load(port) as load:
        for _ in range(2):
            before = project.workers()
            expect(before, "no workers were found")
            project.compose("kill", "--signal", "HUP", "app")

            def are_new(before: set[str] = before) -> bool:
                now = project.workers()
                return len(now) == len(before) and not now & before

            wait_for("all workers are new", are_new)
            load.wait_for_more(300)
    row.saw(f"all workers are new; {load}")
    expect(not load.failures, "requests failed")


def check_stop(row: Row, project: Project, port: int) -> None:
    """Stop the app while a request is under way, then start it again."""
    target = f"/universities?name=stop{time.monotonic_ns()}"
    answered: list[Answer] = []
    asking = threading.Thread(target=lambda: answered.append(get(port, target)), daemon=True)
    asking.start()
    wait_for("the API is asked", lambda: target.partition("?")[2] in project.logs("api"))
    (container,) = project.containers("app")
    began = time.monotonic()
    project.compose("stop", "app")
    seconds = time.monotonic() - began
    asking.join(20)
    state = project.inspect(container)["State"]
    expect(answered and answered[0].status == 200, f"the request was answered with {answered}")
    expect(state["ExitCode"] == 0, f"the exit code is {state['ExitCode']}")
    expect(seconds < DRAIN_SECONDS, f"it took {seconds:.1f} s")
    row.saw(f"the request was answered, exit code 0 after {seconds:.1f} s")
    refused = get(port, "/square/4")
    is_problem = refused.fields.get("content-type") == "application/problem+json"
    expect(refused.status in {502, 504} and is_problem, f"without an app: {refused}")
    project.up()
    wait_for("answers again", answers(port))
