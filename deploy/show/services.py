#!/usr/bin/env python3
"""The demo's small HTTP servers on loopback: a webhook service, and a stand-in for Slack.

    services.py webhook NAME PORT          POST /message?agent=A&user=U   one message handled
                                           POST /break?agent=A&every=N    a bug for the show
    services.py slack PORT FILE            POST /hook                     answers ok, appends to FILE
"""

import json
import random
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

BUG = "driver_lookup: connection refused"


class Handler(BaseHTTPRequestHandler):
    """HTTP/1.1 with connections that stay open; an answer is one write, so that no packet waits."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(self, status, text, kind="application/json"):
        data = text.encode()
        head = (
            f"HTTP/1.1 {status} {'OK' if status == 200 else 'Error'}\r\n"
            f"Content-Type: {kind}\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        self.wfile.write(head.encode() + data)

    def log_message(self, *_):
        pass


def webhook(name):
    """A service that answers in a few milliseconds, until it is told to have a bug."""
    bug = {}  # agent -> every how many messages fails
    seen = {}
    lock = threading.Lock()

    def fails(agent):
        every = bug.get(agent)
        if not every:
            return False
        with lock:
            seen[agent] = seen.get(agent, 0) + 1
            return seen[agent] % every == 0

    class Webhook(Handler):
        def do_POST(self):
            self.body()
            url = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(url.query).items()}
            agent = query.get("agent", "")
            if url.path == "/break":
                bug[agent] = int(query.get("every", 1))
                self.answer(200, "{}")
                return
            if url.path != "/message":
                self.answer(404, '{"error": "no such path"}')
                return
            time.sleep(random.uniform(0.002, 0.008))
            if fails(agent):
                self.answer(500, json.dumps({"error": BUG}))
            else:
                self.answer(200, json.dumps({"handled_by": name}))

    return Webhook


def slack(path):
    """Answers as Slack's incoming webhooks do and keeps what was sent, one JSON line a message."""
    lock = threading.Lock()

    class Slack(Handler):
        def do_POST(self):
            data = self.body()
            try:
                message = json.loads(data)
            except ValueError:
                self.answer(400, "invalid_payload", "text/plain")
                return
            with lock, open(path, "a", encoding="utf-8") as file:
                file.write(json.dumps({"at": time.time(), "message": message}) + "\n")
            self.answer(200, "ok", "text/plain")

    return Slack


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        """A client that went away is no news."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def main():
    kind, arguments = sys.argv[1], sys.argv[2:]
    if kind == "webhook":
        name, port = arguments
        handler = webhook(name)
    elif kind == "slack":
        port, path = arguments
        handler = slack(path)
    else:
        sys.exit(__doc__)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    Server(("127.0.0.1", int(port)), handler).serve_forever()


if __name__ == "__main__":
    main()
