"""Runs the code that it is sent, over TCP: each connection has its own thread and its own names.

A request is a line with JSON text: code. The answer is a line with JSON: what the name `result` has then, or the error.
"""

import json
import socketserver
import traceback
from typing import Any


class Connection(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True

    def handle(self) -> None:
        names: dict[str, Any] = {}
        for line in self.rfile:
            names["result"] = None
            try:
                exec(json.loads(line), names)
                answer = {"result": names["result"]}
            except BaseException:
                answer = {"error": traceback.format_exc()}
            self.wfile.write(json.dumps(answer).encode() + b"\n")


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


Server(("0.0.0.0", 7000), Connection).serve_forever()
