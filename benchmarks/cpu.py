"""The processor time of a server with all its workers."""


def seconds(pid: int) -> float:
    """What the process and all below it have used so far, in user and system mode."""
    import psutil  # noqa: PLC0415 - the tests do without

    server = psutil.Process(pid)
    times = [process.cpu_times() for process in [server, *server.children(recursive=True)]]
    return float(sum(each.user + each.system for each in times))
