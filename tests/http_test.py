#!/usr/bin/env python3
"""Attacks the real daemon's two listeners with bad requests, over raw sockets.

    http_test.py            binary by CANARYD, else build/canaryd

Each row of the table of bad requests (numbers 1 to 28) is sent as a whole, the interesting ones
also cut at every byte; behind each request that must end its connection stands a good one that must
never be answered. After each case the daemon must still answer GET /healthz.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CANARYD = os.environ.get("CANARYD", str(ROOT / "build" / "canaryd"))

SECOND = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Second: 1\r\n\r\n"
PAUSE = "/api/v1/rollouts/demo/pause"


class Daemon:
    """The daemon under attack, in a folder of its own."""

    def __init__(self, passed=False):
        """`passed`: the Unix socket comes from the parent, as systemd would give it."""
        self.folder = Path(tempfile.mkdtemp(prefix="canaryd-http-"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        config = self.folder / "canaryd.yaml"
        config.write_text(f"listen: 127.0.0.1:{self.port}\n")
        self.path = str(self.folder / "canaryd.sock")
        self.log = open(self.folder / "log", "wb")
        command = [CANARYD, "--config", str(config), "--state-dir", str(self.folder)]
        if passed:
            self.path = str(self.folder / "passed.sock")
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(self.path)
                listener.listen()
                fd = listener.fileno()
                script = f'exec 3<&{fd}; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"'
                self.process = subprocess.Popen(["sh", "-c", script, "sh", *command],
                                                pass_fds=[fd], stdout=self.log, stderr=self.log)
        else:
            self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        end = time.monotonic() + 20
        while not (self.alive() and self.ready()):
            if self.process.poll() is not None or time.monotonic() > end:
                self.stop()
                sys.exit(f"{CANARYD} does not come up:\n{(self.folder / 'log').read_text()}")
            time.sleep(0.05)

    def connect(self, local, before=None):
        """A connection; `before` may set options before it is made."""
        peer = socket.socket(socket.AF_UNIX if local else socket.AF_INET)
        if before:
            before(peer)
        peer.settimeout(20)
        peer.connect(self.path if local else ("127.0.0.1", self.port))
        if not local:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return peer

    def alive(self):
        """Whether GET /healthz is answered on both listeners."""
        if self.process.poll() is not None:
            return False
        request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        try:
            for local in (True, False):
                with self.connect(local) as peer:
                    peer.sendall(request)
                    if not read_all(peer).startswith(b"HTTP/1.1 200 "):
                        return False
            return True
        except OSError:
            return False

    def ready(self):
        """Whether the store was read: before that nobody can say that a rollout is unknown."""
        with self.connect(True) as peer:
            peer.sendall(request("GET /readyz HTTP/1.1", "Connection: close"))
            return read_all(peer).startswith(b"HTTP/1.1 200 ")

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def read_all(peer):
    data = b""
    try:
        while True:
            more = peer.recv(65536)
            if not more:
                return data
            data += more
    except ConnectionError:
        return data


class Answer:
    def __init__(self, status, fields, body):
        self.status, self.fields, self.body = status, fields, body

    def __repr__(self):
        return f"{self.status} {self.body[:160]!r}"


def answers_in(data, heads_only=False):
    """The answers in a byte stream; raises when it is anything else."""
    answers = []
    while data:
        head, blank, data = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        match = re.fullmatch(r"HTTP/1\.1 (\d{3}) [A-Za-z -]+", lines[0])
        if not blank or not match:
            raise ValueError(f"no answer: {head[:80]!r}")
        status = int(match[1])
        fields = {name.lower(): value.strip() for name, _, value in
                  (line.partition(":") for line in lines[1:])}
        length = 0 if status in (100, 204) or heads_only else int(fields["content-length"])
        if len(data) < length:
            raise ValueError(f"{status}: {length - len(data)} bytes are missing")
        answers.append(Answer(status, fields, data[:length]))
        data = data[length:]
    return answers


def talk(daemon, local, pieces, pause=0.002, ends=True):
    """Sends the pieces one by one and returns what came until the daemon closed."""
    with daemon.connect(local) as peer:
        try:
            for i, piece in enumerate(pieces):
                if i:
                    time.sleep(pause)
                peer.sendall(piece)
            if ends:
                peer.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # It may have closed already; what it said is still there.
        return read_all(peer)


def request(line, *fields, host=True, body=b""):
    """Raw bytes of a request from lines of text; latin-1, so that any byte can be meant."""
    lines = [line] + (["Host: localhost"] if host else []) + list(fields)
    return "".join(text + "\r\n" for text in lines).encode("latin-1") + b"\r\n" + body


def post(*fields, path=PAUSE, body=b"hello", version="1.1"):
    return request(f"POST {path} HTTP/{version}", "Content-Type: application/json", *fields,
                   body=body)


CHUNKED = "Transfer-Encoding: chunked"
CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"


def closing_rows():
    """(row, what, raw request, statuses): one answer, then the end, and no second request."""
    five = "Content-Length: 5"
    rows = [
        ("1", "length, then chunked", post(five, CHUNKED), {400}),
        ("1", "chunked, then length", post(CHUNKED, five), {400}),
        ("2", "two different lengths", post(five, "Content-Length: 6"), {400}),
        ("3", "two equal lengths", post(five, five), {400}),
        ("3", "5, 5", post("Content-Length: 5, 5"), {400}),
        ("5", "chunked", post(CHUNKED, body=CHUNKS), {411}),
        ("5", "chunked to a GET", request("GET /status HTTP/1.1", CHUNKED, body=CHUNKS), {411}),
        ("7", "chunked on HTTP/1.0", post(CHUNKED, body=CHUNKS, version="1.0"), {400}),
        ("8", "space before the colon", post("Transfer-Encoding : chunked", body=CHUNKS), {400}),
        ("8", "vertical tab", post("Transfer-Encoding: \x0bchunked", body=CHUNKS), {400}),
        ("9", "trailers", post(CHUNKED, body=b"0\r\nAuthorization: x\r\nHost: evil\r\n"
                                             b"Content-Length: 9\r\n\r\n"), {411}),
        ("11", "a chunk extension of 100 kB",
         post(CHUNKED, body=b"5;" + b"x" * 100_000 + b"\r\nhello\r\n0\r\n\r\n"), {411}),
        ("11", "trailers of 42 kB",
         post(CHUNKED, body=b"0\r\n" + b"X: " + b"y" * 42_000 + b"\r\n\r\n"), {411}),
        ("12", "bare LF", b"GET /status HTTP/1.1\nHost: localhost\n\n", {400}),
        ("12", "bare LF in one line", b"GET /status HTTP/1.1\r\nHost: localhost\n\r\n", {400}),
        ("12", "bare CR", request("GET /status HTTP/1.1", "X: a\rb"), {400}),
        ("12", "NUL in a value", request("GET /status HTTP/1.1", "X: a\x00b"), {400}),
        ("13", "folded line", request("GET /status HTTP/1.1", "X: a", " b"), {400}),
        ("13", "folded by a tab", request("GET /status HTTP/1.1", "X: a", "\tb"), {400}),
        ("14", "no Host", request("GET /status HTTP/1.1", host=False), {400}),
        ("14", "two Hosts", request("GET /status HTTP/1.1", "Host: localhost"), {400}),
        ("14", "odd Host", request("GET /status HTTP/1.1", "Host: a b@c/", host=False), {400}),
        ("17", "tab in the request line", request("GET\t/status HTTP/1.1"), {400}),
        ("17", "two spaces", request("GET  /status HTTP/1.1"), {400}),
        ("17", "header with a leading space", request("GET /status HTTP/1.1", " X: a"), {400}),
        ("17", "header without a name", request("GET /status HTTP/1.1", ": a"), {400}),
        ("18", "leading CRLF", b"\r\n" + request("GET /status HTTP/1.1"), {400}),
        ("19", "HTTP/0.9", b"GET /status\r\n", {400, 505}),
        ("19", "HTTP/1.9", request("GET /status HTTP/1.9"), {400, 505}),
        ("19", "HTTP/2.0", request("GET /status HTTP/2.0"), {400, 505}),
        ("19", "h2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9), {400, 505}),
        ("19", "TLS hello", bytes.fromhex("16030100c8010000c40303") + bytes(190), {400, 505}),
        ("20", "get", request("get /status HTTP/1.1"), {501}),
        ("20", "a method of 2000 bytes", request("A" * 2000 + " /status HTTP/1.1"), {501}),
        ("22", "control character in the target", request("GET /\x01 HTTP/1.1"), {400}),
        ("22", "raw bytes in the target", request("GET /\xff\xfe HTTP/1.1"), {400}),
        ("22", "a path with %00", request("GET /%00 HTTP/1.1"), {400}),
        ("22", "overlong UTF-8", request("GET /%c0%af HTTP/1.1"), {400}),
        ("23", "a target of 3 KiB", request(f"GET /{'a' * 3072} HTTP/1.1"), {414}),
        ("23", "a head of 9 KiB", request("GET /status HTTP/1.1", "X: " + "a" * 9216), {431}),
        ("23", "1500 fields", request("GET /status HTTP/1.1", *["x:"] * 1500), {431}),
        ("25", "an unknown expectation", post("Expect: 200-maybe", five), {417}),
        ("28", "GET with a body", request("GET /status HTTP/1.1", five, body=b"hello"), {400}),
    ]
    for bad in ("+5", "-1", "0x5", "", "18446744073709551621"):
        rows.append(("4", f"Content-Length: {bad}", post(f"Content-Length: {bad}"), {400}))
    for coding in ("xchunked", "identity", "chunked, identity", "chunked, chunked",
                   "gzip, chunked"):
        raw = post(f"Transfer-Encoding: {coding}", body=CHUNKS)
        rows.append(("6", coding, raw, {501}))
    return rows


def open_rows():
    """(row, what, raw request, statuses): refused or answered, and the connection stays good."""
    rows = [
        ("22", "a path of dots", request("GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1"), {400, 404}),
        ("22", "//", request("GET // HTTP/1.1"), {400, 404}),
        ("36", "OPTIONS", request("OPTIONS /status HTTP/1.1", "Origin: http://evil.example"),
         {204}),
        ("46", "limit=-1", request("GET /api/v1/journal?limit=-1 HTTP/1.1"), {400}),
        ("46", "limit=1e9", request("GET /api/v1/journal?limit=1e9 HTTP/1.1"), {400}),
        ("46", "limit twice", request("GET /api/v1/journal?limit=1&limit=2 HTTP/1.1"), {400}),
        ("40", "no such rollout", request("GET /api/v1/rollouts/..%2f..%2fx HTTP/1.1"), {404}),
    ]
    for method in ("DELETE", "PATCH", "TRACE", "PUT"):
        rows.append(("21", method, request(f"{method} /status HTTP/1.1"), {405}))
    rows.append(("21", "CONNECT", request("CONNECT localhost:1 HTTP/1.1"), {405}))
    return rows


class Suite:
    def __init__(self, daemon):
        self.daemon, self.passed, self.failed = daemon, 0, 0
        self.lock = threading.Lock()

    def case(self, name, check):
        """Runs one check; a fault is a sentence it returns or raises."""
        try:
            fault = check() or ""
        except Exception as error:  # noqa: BLE001: whatever it is, the case failed
            fault = f"{type(error).__name__}: {error}"
        if not fault and not self.daemon.alive():
            fault = "GET /healthz is not answered any more"
        with self.lock:
            if fault:
                self.failed += 1
                print(f"FAILED {name}: {fault}", flush=True)
            else:
                self.passed += 1

    def closes(self, local, pieces, statuses):
        answers = answers_in(talk(self.daemon, local, pieces))
        if len(answers) != 1:
            return f"{len(answers)} answers: {answers}"
        if answers[0].status not in statuses:
            return f"want {statuses}, got {answers[0]}"
        if answers[0].fields.get("connection") != "close":
            return "the answer does not say Connection: close"
        if answers[0].fields["content-type"] != "application/problem+json":
            return f"no problem document: {answers[0].fields}"
        return None

    def stays(self, local, raw, statuses):
        """The request and a good one behind it: two answers."""
        answers = answers_in(talk(self.daemon, local, [raw + SECOND]))
        if len(answers) != 2 or answers[0].status not in statuses or answers[1].status != 200:
            return f"want {statuses} and 200, got {answers}"
        if answers[0].status == 405 and "GET" not in answers[0].fields.get("allow", ""):
            return "405 without Allow"
        if any(name.startswith("access-control") for name in answers[0].fields):
            return "a CORS field"
        return None

    def one(self, local, raw, statuses):
        """The first answer's status, whatever becomes of the connection."""
        answers = answers_in(talk(self.daemon, local, [raw]))
        if not answers or answers[0].status not in statuses:
            return f"want {statuses}, got {answers}"
        return None


def whole_requests(suite):
    for local in (False, True):
        where = "socket" if local else "tcp"
        for row, what, raw, statuses in closing_rows():
            suite.case(f"row {row}, {what}, {where}",
                       lambda r=raw, s=statuses: suite.closes(local, [r + SECOND], s))
        for row, what, raw, statuses in open_rows():
            suite.case(f"row {row}, {what}, {where}",
                       lambda r=raw, s=statuses: suite.stays(local, r, s))


def split_requests(suite):
    """The same, cut in two at every byte: nothing may depend on how bytes arrive."""
    wanted = {"length, then chunked", "5, 5", "chunked", "chunked, identity", "trailers",
              "bare LF in one line", "bare CR", "folded line", "two Hosts", "HTTP/1.9", "get"}
    for row, what, raw, statuses in closing_rows():
        if what not in wanted:
            continue

        def check(raw=raw, statuses=statuses):
            for cut in range(1, len(raw)):
                fault = suite.closes(False, [raw[:cut], raw[cut:] + SECOND], statuses)
                if fault:
                    return f"cut at {cut}: {fault}"
            return None

        suite.case(f"row {row}, {what}, at every byte", check)
    good = request("GET /healthz HTTP/1.1")

    def every_cut():
        for cut in range(1, len(good)):
            answers = answers_in(talk(suite.daemon, False, [good[:cut], good[cut:]]))
            if [answer.status for answer in answers] != [200]:
                return f"cut at {cut}: {answers}"
        return None

    suite.case("a good request, at every byte", every_cut)
    head = post(CHUNKED, body=b"")
    last = [[b"0\r\n\r\n"], [b"0\r\n", b"\r\n"], [b"0\r\n", b"\r", b"\n"], [b"0\r", b"\n\r\n"],
            [b"0", b"\r\n\r\n"], [b"0", b"\r", b"\n", b"\r", b"\n"]]
    for pieces in last:
        suite.case(f"row 10, last chunk as {pieces}",
                   lambda p=pieces: suite.closes(False, [head + p[0], *p[1:]], {411}))
        suite.case(f"row 10, last chunk apart as {pieces}",
                   lambda p=pieces: suite.closes(True, [head, *p], {411}))


def hosts(suite):
    for host in ("evil.example", "localhost.evil.example", "127.0.0.2", "0.0.0.0:80"):
        raw = request("GET /status HTTP/1.1", f"Host: {host}", host=False)
        suite.case(f"row 15, Host {host}", lambda r=raw: suite.one(False, r, {421}))
        suite.case(f"Host {host} by the socket", lambda r=raw: suite.one(True, r, {200}))
    for host in ("localhost", "127.0.0.1", "[::1]", f"127.0.0.1:{suite.daemon.port}",
                 "LOCALHOST:1"):
        raw = request("GET /status HTTP/1.1", f"Host: {host}", host=False)
        suite.case(f"Host {host}", lambda r=raw: suite.one(False, r, {200}))
    raw = request("GET http://evil.example/status HTTP/1.1")
    suite.case("row 16, absolute form", lambda: suite.one(False, raw, {421}))
    raw_good = request("GET http://localhost/status HTTP/1.1", "Host: evil.example", host=False)
    suite.case("row 16, absolute form of an own name", lambda: suite.one(False, raw_good, {200}))


def bodies(suite):
    two_gib = f"Content-Length: {2 << 30}"
    expect = "Expect: 100-continue"
    for name, fields in (("row 24, 2 GiB", [two_gib]), ("row 25, 2 GiB announced",
                                                        [two_gib, expect])):
        suite.case(name, lambda f=fields: suite.closes(True, [post(*f, body=b"")], {413}))
        suite.case(name + " by TCP", lambda f=fields: suite.closes(False, [post(*f, body=b"")],
                                                                   {403}))
    suite.case("row 24, 64 KiB and one byte",
               lambda: suite.closes(True, [post("Content-Length: 65537", body=b"x" * 65537)],
                                    {413}))

    def interim():
        with suite.daemon.connect(True) as peer:
            peer.sendall(post(expect, "Content-Length: 2", "Connection: close", body=b""))
            first = peer.recv(1000)
            peer.sendall(b"{}")
            last = answers_in(read_all(peer))
        if first != b"HTTP/1.1 100 Continue\r\n\r\n" or [a.status for a in last] != [404]:
            return f"got {first!r}, then {last}"
        return None

    suite.case("row 25, 100 Continue when the length is right", interim)
    for what, raw, status in (
            ("a command by TCP", post("Content-Length: 2", body=b"{}"), 403),
            ("a policy by TCP", post("Content-Length: 2", path="/api/v1/rollouts", body=b"{}"),
             403)):
        suite.case(what, lambda r=raw, s=status: suite.one(False, r, {s}))
    plain = request(f"POST {PAUSE} HTTP/1.1", "Content-Type: text/plain", "Content-Length: 2",
                    body=b"{}")
    no_rollout = post("Content-Length: 2", body=b"{}")
    origin = post("Content-Length: 2", "Origin: http://evil.example", body=b"{}")
    site = post("Content-Length: 2", "Sec-Fetch-Site: cross-site", body=b"{}")
    for what, raw, status in (("no such rollout", no_rollout, 404), ("row 35, text", plain, 415),
                              ("row 36, Origin", origin, 403), ("row 36, fetch", site, 403)):
        suite.case(what, lambda r=raw, s=status: suite.one(True, r, {s}))
    for bad in (b"{", b"{} {}", b"\xef\xbb\xbf{}", b"{'a':1}", b'{"a":1,"a":1}', b"[" * 10_000,
                b'{"reason":"\xff"}'):
        raw = post(f"Content-Length: {len(bad)}", body=bad)
        suite.case(f"row 37, body {bad[:20]!r}", lambda r=raw: suite.one(True, r, {400}))
    empty = post("Content-Length: 2", path="/api/v1/rollouts", body=b"{}")
    suite.case("a policy without text", lambda: suite.one(True, empty, {422}))
    text = b'{"policy_text":"name: [","policy_file":"x.yaml"}'
    broken = post(f"Content-Length: {len(text)}", path="/api/v1/rollouts", body=text)
    suite.case("a policy that is none", lambda: suite.one(True, broken, {422}))


def late(suite, name, wanted, send):
    """408 and the end, when something does not come."""
    def check():
        with suite.daemon.connect(True) as peer:
            stopped = threading.Event()
            thread = threading.Thread(target=send, args=(peer, stopped))
            thread.start()
            answers = answers_in(read_all(peer))
            stopped.set()
            thread.join()
        if [answer.status for answer in answers] != wanted:
            return f"want {wanted}, got {answers}"
        return None

    suite.case(name, check)


def drip(head, rest):
    def send(peer, stopped):
        try:
            peer.sendall(head)
            for byte in rest:
                if stopped.wait(0.5):
                    return
                peer.sendall(bytes([byte]))
        except OSError:
            return
    return send


def pipelined(suite):
    def check():
        with suite.daemon.connect(False) as peer:
            peer.sendall(request("GET /healthz HTTP/1.1") * 120)
            answers = answers_in(read_all(peer))
        if len(answers) != 100 or any(answer.status != 200 for answer in answers):
            return f"{len(answers)} answers"
        if answers[98].fields["connection"] == "close":
            return "closed before the hundredth"
        return None if answers[99].fields["connection"] == "close" else "the last does not say so"

    suite.case("row 27, 120 requests at once: 100 are served", check)


def never_reads(suite):
    def small(peer):
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)

    def check():
        with suite.daemon.connect(False, small) as peer:
            peer.sendall(request("GET /metrics HTTP/1.1") * 100)
            time.sleep(13)
            data = read_all(peer)
        try:
            answers = answers_in(data)
        except ValueError:
            return None  # Cut in the middle of one: the time to write was over.
        return f"all {len(answers)} answers were kept for a reader that never read" \
            if len(answers) == 100 else None

    suite.case("row 27, a client that never reads", check)


def heads(suite):
    def check():
        raw = request("HEAD /status HTTP/1.1")
        data = talk(suite.daemon, False, [raw])
        answers = answers_in(data, heads_only=True)
        if len(answers) != 1 or answers[0].status != 200:
            return f"got {answers}"
        fields = answers[0].fields
        if int(fields["content-length"]) == 0 or not data.endswith(b"\r\n\r\n"):
            return f"got {data!r}"
        for name, value in (("cache-control", "no-store"), ("x-content-type-options", "nosniff")):
            if fields.get(name) != value:
                return f"{name}: {fields.get(name)}"
        return None if fields.get("date", "").endswith(" GMT") else "no Date"

    suite.case("HEAD is GET without its body", check)
    asked = {"/readyz": 200, "/metrics": 200, "/status?width=39": 400, "/status?colour=2": 400,
             "/status?rollout=nobody": 404, "/api/v1/rollouts": 200, "/api/v1/journal": 200}
    for target, status in asked.items():
        raw = request(f"GET {target} HTTP/1.1")
        suite.case(f"GET {target}", lambda r=raw, s=status: suite.one(False, r, {s}))


def many_connections(suite):
    def check():
        peers = [suite.daemon.connect(False) for _ in range(32)]
        try:
            with suite.daemon.connect(False) as peer:
                data = read_all(peer)
            if answers_in(data)[0].status != 429:
                return f"the 33rd got {data[:80]!r}"
            with suite.daemon.connect(True) as peer:
                peer.sendall(request("GET /healthz HTTP/1.1", "Connection: close"))
                if answers_in(read_all(peer))[0].status != 200:
                    return "the socket is not served any more"
        finally:
            for peer in peers:
                peer.close()
        time.sleep(0.2)
        return None

    suite.case("32 connections of one peer, and the socket is free", check)


def passed_socket(suite):
    def check():
        daemon = Daemon(passed=True)  # It waits until GET /healthz is answered on that socket.
        try:
            if (daemon.folder / "canaryd.sock").exists():
                return "it made a socket of its own as well"
            answers = answers_in(talk(daemon, True, [post("Content-Length: 2", body=b"{}")]))
            return None if answers[0].status == 404 else f"got {answers}"
        finally:
            daemon.stop()

    suite.case("a socket passed by systemd takes the place of the own one", check)


def main():
    daemon = Daemon()
    try:
        suite = Suite(daemon)
        nothing, head = drip(b"", b""), b"GET /status HTTP/1.1\r\nX: "
        body = drip(post("Content-Length: 100", body=b""), b" " * 60)
        slow = [
            threading.Thread(target=late, args=(suite, "row 26, no bytes", [408], nothing)),
            threading.Thread(target=late, args=(suite, "row 26, a head in drips", [408],
                                                drip(head, b"a" * 60))),
            threading.Thread(target=late, args=(suite, "row 26, a body in drips", [408], body)),
            threading.Thread(target=never_reads, args=(suite,)),
        ]
        for thread in slow:
            thread.start()
        whole_requests(suite)
        split_requests(suite)
        hosts(suite)
        bodies(suite)
        pipelined(suite)
        heads(suite)
        for thread in slow:
            thread.join()
        many_connections(suite)
        passed_socket(suite)
        print(f"{suite.passed} passed, {suite.failed} failed")
        return 1 if suite.failed else 0
    finally:
        daemon.stop()


if __name__ == "__main__":
    sys.exit(main())
