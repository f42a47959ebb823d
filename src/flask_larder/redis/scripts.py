"""The scripts that Redis runs, in Lua."""

from importlib.resources import files


def script(name: str) -> str:
    """The text of the file *name*, without its comments: Redis reads it each time it is sent."""
    text = (files("flask_larder.redis") / "lua" / f"{name}.lua").read_text("ascii")
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--"))
