#!/usr/bin/env python3
"""A Slack on loopback that answers as the real one does, and as broken ones do.

    fake_slack.py --log FILE [--port N] [BEHAVIOUR...]

Prints its webhook URL on the first line, then answers until it is ended. Each request uses up one
behaviour; the last one stays. Every payload is written to FILE as a JSON line: what was sent, how it
was answered, and when it came.

    ok                200 and the body "ok"
    busy:SECONDS      429 with that Retry-After
    error             500
    html              200 and a login page
    no_service        404 and the word Slack has for a webhook that was removed
    hang              takes the request and never answers
    reset             takes the request and cuts the connection
    slow:SECONDS      ok, after a while
"""

import argparse
import json
import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LOGIN_PAGE = "<!DOCTYPE html><html><title>Sign in to the network</title></html>"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        length = int(self.headers.get("Content-Length", "0"))
        body = self.rfile.read(length)
        behaviour = self.server.fake.came(body)
        word, _, number = behaviour.partition(":")
        self.close_connection = True
        if word == "ok":
            self.answer(200, "ok")
        elif word == "slow":
            self.server.fake.over.wait(float(number))
            self.answer(200, "ok")
        elif word == "busy":
            self.answer(429, "rate_limited", ("Retry-After", number))
        elif word == "error":
            self.answer(500, "")
        elif word == "html":
            self.answer(200, LOGIN_PAGE, ("Content-Type", "text/html"))
        elif word == "no_service":
            self.answer(404, "no_service")
        elif word == "hang":
            self.server.fake.over.wait()
        elif word == "reset":
            self.connection.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
        else:
            raise ValueError(f"no behaviour {behaviour!r}")

    def answer(self, status, body, *fields):
        data = body.encode()
        self.send_response(status)
        for name, value in fields:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass  # the log is the file of payloads


class FakeSlack:
    """Answers in threads of its own between start() and stop(); may be started again, same port."""

    def __init__(self, log=None, port=0, at_request=None):
        self.log = log
        self.port = port
        self.at_request = at_request  # called before the answer; its result is kept with the payload
        self.behaviours = ["ok"]
        self.requests = []
        self.lock = threading.Condition()
        self.over = threading.Event()
        self.server = None

    def start(self, *behaviours):
        self.behave(*behaviours)
        self.over.clear()
        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.server.daemon_threads = True
        self.server.block_on_close = False
        self.server.fake = self
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self):
        """Refuses connections from now on, and lets go of those that hang."""
        self.over.set()
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/hook"

    def behave(self, *behaviours):
        """How the next requests are answered; the last one stays."""
        with self.lock:
            self.behaviours = list(behaviours or ["ok"])

    def came(self, body):
        seen = self.at_request() if self.at_request else None
        with self.lock:
            behaviour = self.behaviours[0]
            if len(self.behaviours) > 1:
                self.behaviours.pop(0)
            request = {
                "at": time.monotonic(),
                "behaviour": behaviour,
                "payload": json.loads(body),
                "seen": seen,
            }
            self.requests.append(request)
            if self.log:
                with open(self.log, "a", encoding="utf-8") as file:
                    file.write(json.dumps(request) + "\n")
            self.lock.notify_all()
            return behaviour

    def taken(self):
        """The requests whose answer was ok."""
        with self.lock:
            return [r for r in self.requests if r["behaviour"].split(":")[0] in ("ok", "slow")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--log", required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("behaviours", nargs="*", default=["ok"])
    options = parser.parse_args()
    fake = FakeSlack(options.log, options.port).start(*options.behaviours)
    print(fake.url, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
