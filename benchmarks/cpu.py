"""The processor time of a server with all its workers."""

import psutil


def seconds(pid: int) -> float:
    """What the process and all below it have used so far, in user and system mode."""
    server = psutil.Process(pid)
    times = [process.cpu_times() for process in [server, *server.children(recursive=True)]]
    return sum(each.user + each.system for each in times)
