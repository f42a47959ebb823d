"""The two production servers, each run inside the process that calls it."""

from service.launch import Launch
from service.signals import HangUp


def serve(launch: Launch, on_hang_up: HangUp) -> None:
    """Run the server until it is told to stop; SystemExit carries its exit code."""
    if launch.server == "granian":
        from service.on_granian import run  # noqa: PLC0415 - one of the two
    else:
        from service.on_gunicorn import run  # noqa: PLC0415
    run(launch, on_hang_up)
