"""Stands for the universities API: takes two seconds for each answer, and prints each call."""

import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECONDS = 2.0


class Handler(BaseHTTPRequestHandler):
    """Answers every search."""

    def do_GET(self) -> None:
        """Answer with the search itself."""
        print(f"asked for {self.path}", flush=True)
        time.sleep(SECONDS)
        body = json.dumps([{"name": self.path}]).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing else."""


if __name__ == "__main__":
    ThreadingHTTPServer(("", 9009), Handler).serve_forever()
