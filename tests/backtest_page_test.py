#!/usr/bin/env python3
"""The page of a backtest in a real browser: what it draws, says and never asks for.

    backtest_page_test.py [-v] [--keep FOLDER]

Plays counts with an injected fault, opens the page in Chromium without a display, reads the document
that its script has drawn, moves through it by keyboard and pointer, and takes pictures in light, in
dark and on paper; --keep leaves them in a folder, to be looked at. Chromium by CHROMIUM, else
chromium from the path; without one the test says that it was skipped.
"""

import html.parser
import http.server
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import traceback
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CANARYCTL = os.environ.get("CANARYCTL", str(ROOT / "build" / "canaryctl"))
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
AGENTS = ["jobs", "rides", "waiter"]

POLICY = """\
name: unified
canary: new
baseline: [old]
source: {kind: sqlite, connection: metrics}
router: {kind: sql, connection: route}
steps: [{name: week4, weight: 10%, bake: 1d}, {name: week5, weight: 50%, bake: 1d}, {name: week6, weight: 100%, bake: 1d}]
criteria:
  - {name: errors, metric: error_rate, below: 1%}
  - {name: latency, metric: latency_p95, below: 2s}
  - {name: errors-vs-legacy, metric: error_rate, no_worse_than: baseline}
segments:
  agent: {column: agent_type, expect: [jobs, rides, waiter]}
finish: {soak: 3d}
notify: [{kind: log}]
"""


class Failed(Exception):
    """A sentence that turned out false."""


def expect(true, sentence, *facts):
    if not true:
        raise Failed("\n    ".join([sentence, *map(str, facts)]))


class Document(html.parser.HTMLParser):
    """Elements by what they are, and the text inside them."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.all_text = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        one = {"tag": tag, "text": "", **dict(attributes)}
        self.elements.append(one)
        if tag not in ("meta", "br", "link", "img", "input"):
            self.open.append(one)

    def handle_endtag(self, tag):
        while self.open and self.open.pop()["tag"] != tag:
            pass

    def handle_data(self, data):
        for one in self.open:
            one["text"] += data

    def find(self, tag, **attributes):
        return [e for e in self.elements if e["tag"] == tag and
                all(value in (e.get(key) or "") for key, value in attributes.items())]

    def text_of(self, tag, **attributes):
        return " ".join(e["text"] for e in self.find(tag, **attributes))


def write_counts(path):
    """Three days of a healthy service, the same each time."""
    state = 12345

    def chance():
        nonlocal state
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (state >> 11) / 2**53

    with open(path, "w", encoding="utf-8") as file:
        file.write("time,agent_type,requests,errors,slow_2s\n")
        for look in range(3 * 288):
            for agent, size in zip(AGENTS, (120, 70, 10)):
                errors = sum(chance() < 0.004 for _ in range(size))
                slow = sum(chance() < 0.02 for _ in range(size))
                file.write(f"{1768176000 + look * 300},{agent},{size},{errors},{slow}\n")


class Browser:
    def __init__(self, folder):
        self.folder = folder

    def run(self, *arguments):
        profile = tempfile.mkdtemp(dir=self.folder)
        done = subprocess.run(
            [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
             "--no-first-run", "--disable-extensions", "--hide-scrollbars",
             "--disable-background-networking", "--enable-logging=stderr", "--log-level=0",
             f"--user-data-dir={profile}", *arguments],
            capture_output=True, text=True, timeout=120, check=False,
            env={**os.environ, "HOME": self.folder})
        expect(done.returncode == 0, "Chromium ended badly", done.stderr[-2000:])
        return done

    def document(self, url, *arguments):
        done = self.run("--virtual-time-budget=5000", "--dump-dom", *arguments, url)
        complaints = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
        return Document(done.stdout), complaints

    def picture(self, url, path, *arguments, size="1100,3600"):
        self.run(f"--screenshot={path}", f"--window-size={size}", *arguments, url)
        return path


def average_of(png):
    """Mean brightness of a PNG of 8 bits a channel, 0 to 255."""
    data = Path(png).read_bytes()
    width, height, depth, kind = struct.unpack(">IIBB", data[16:26])
    expect(depth == 8 and kind in (2, 6), "a PNG of another kind", depth, kind)
    packed, at = b"", 8
    while at < len(data):
        size, name = struct.unpack(">I4s", data[at:at + 8])
        if name == b"IDAT":
            packed += data[at + 8:at + 8 + size]
        at += 12 + size
    raw, channels = zlib.decompress(packed), 3 if kind == 2 else 4
    line, before, total, seen = width * channels, bytes(width * channels), 0, 0
    for row in range(height):
        begin = row * (line + 1)
        filter_kind, here = raw[begin], bytearray(raw[begin + 1:begin + 1 + line])
        for i in range(line):
            left = here[i - channels] if i >= channels else 0
            corner = before[i - channels] if i >= channels else 0
            up = before[i]
            if filter_kind == 1:
                here[i] = (here[i] + left) & 255
            elif filter_kind == 2:
                here[i] = (here[i] + up) & 255
            elif filter_kind == 3:
                here[i] = (here[i] + (left + up) // 2) & 255
            elif filter_kind == 4:
                guess = left + up - corner
                nearest = min((left, up, corner), key=lambda one: abs(guess - one))
                here[i] = (here[i] + nearest) & 255
        before = bytes(here)
        total += sum(here[0:line:channels * 37])
        seen += len(range(0, line, channels * 37))
    return total / seen


class Pages:
    """The pages that the tests look at, made once."""

    def __init__(self, folder):
        self.folder = folder
        self.policy = os.path.join(folder, "unified.yaml")
        self.counts = os.path.join(folder, "counts.csv")
        Path(self.policy).write_text(POLICY, encoding="utf-8")
        write_counts(self.counts)
        self.fault = os.path.join(folder, "fault.html")
        self.made = self.ctl("backtest", self.policy, "--from", self.counts, "--inject",
                             "errors 20% agent=rides from=1d6h", "--html", self.fault)
        self.healthy = os.path.join(folder, "healthy.html")
        self.went = self.ctl("backtest", self.policy, "--from", self.counts, "--json", "--repeat",
                             "--html", self.healthy)
        self.browser = Browser(folder)

    def ctl(self, *arguments):
        return subprocess.run([CANARYCTL, "--width", "80", *arguments], capture_output=True,
                              text=True, timeout=120, check=False)


def test_commands(pages):
    expect(pages.made.returncode == 3, "a rollback is exit status 3", pages.made)
    expect("ROLLED BACK" in pages.made.stdout, "the terminal says that it was rolled back")
    expect("agent rides" in pages.made.stdout, "the terminal names the agent", pages.made.stdout)
    long = [line for line in pages.made.stdout.splitlines() if len(line) > 80]
    expect(not long, "the page is as wide as it was told to be", *long)
    expect(pages.went.returncode == 0, "a plan that went through is exit status 0", pages.went)
    document = json.loads(pages.went.stdout)
    expect(document["end"] == "ready_to_finish", "the plan went through", document["end"])
    expect(document["false_alarms"] == [], "a healthy legacy alarms nobody")
    for arguments, code, words in [
            (["backtest", pages.policy, "--from", "/nonexistent.csv"], 1, "no such file"),
            (["backtest", pages.policy, "--from", pages.policy], 1, "neither a SQLite file"),
            (["backtest", pages.policy, "--from", pages.counts, "--inject", "erors 2%"], 64,
             "did you mean errors?"),
            (["backtest", pages.policy, "--from", pages.counts, "--html", "/nonexistent/x"], 1,
             "cannot be written"),
            (["backtest", "--help"], 0, "Exit codes")]:
        done = pages.ctl(*arguments)
        expect(done.returncode == code and words in done.stdout + done.stderr,
               f"{arguments[2:]} is exit status {code} and says \"{words}\"", done)


def test_a_stranger_can_say_what_happened(pages):
    document, complaints = pages.browser.document("file://" + pages.fault)
    expect(not complaints, "the console is silent", *complaints)
    title = document.text_of("h1")
    expect("ROLLED BACK" in title and "after the injected fault began" in title,
           "the first line says what happened and how soon", title)
    header = document.text_of("header")
    expect("rides" in header and "limit 1 %" in header, "and the next why", header)
    expect("None: while no injected fault" in document.text_of("p", id="false-alarms"),
           "it says that there was no false alarm")
    decisions = [e["text"] for e in document.find("li", id="decision-")]
    expect(any("50 %" in one for one in decisions), "the decisions have the raise to 50 %")
    expect(any("rolled back" in one and "criterion errors" in one for one in decisions),
           "and the rollback with its reason", *decisions)
    notices = document.text_of("section", **{"aria-labelledby": "notices-title"})
    expect("canaryctl ack" in notices, "the notice says what to do next", notices[:500])
    steps = document.text_of("table")
    expect("week4" in steps and "week5" in steps, "the table has both steps", steps)


def test_charts(pages):
    document, _ = pages.browser.document("file://" + pages.fault)
    root = document.find("html")[0]
    # Weight, harm, two limits; and each limit for three agents.
    expect(root.get("data-charts") == "10", "every chart was drawn", root)
    charts = document.find("svg", **{"aria-roledescription": "chart"})
    for one in charts:
        expect(one.get("tabindex") == "0", "each chart can be reached by keyboard", one)
        expect(document.find("title", id=one["id"] + "-title"), "each chart has a title", one)
    captions = document.text_of("figcaption")
    for words in ["Weight", "Harm", "errors: failed requests", "latency: requests over 2 s", *AGENTS]:
        expect(words in captions, f"there is a chart of {words}", captions)
    limits = [e for e in document.find("line") if e.get("class") == "limit"]
    expect(len(limits) == 9, "limits are drawn, and where harm acts", len(limits))
    expect(len(document.find("path", **{"class": "band"})) == 8, "bounds are drawn")
    expect(document.find("rect", **{"class": "fault"}), "the fault's time is drawn")
    expect("of what only holds" in captions, "the harm of what only holds is beside the other")
    broken = [e["d"] for e in document.find("path") if re.search("NaN|undefined|Infinity", e["d"])]
    expect(not broken, "no line leads nowhere", *broken)
    links = [e["href"][1:] for e in document.find("a") if e.get("href", "").startswith("#")]
    there = {e.get("id") for e in document.elements}
    expect(links and set(links) <= there, "each mark leads to its decision", links)


PROBE = """
<script>
addEventListener("load", () => {
  const said = [];
  const svg = document.querySelector("svg[role=group]");
  const reading = () => svg.parentNode.querySelector("output").textContent;
  svg.focus();
  said.push(reading());
  for (const key of ["Home", "ArrowRight", "PageDown", "ArrowLeft", "End"]) {
    svg.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true}));
    said.push(reading());
  }
  const box = svg.getBoundingClientRect();
  svg.dispatchEvent(new PointerEvent("pointermove", {clientX: box.left + box.width / 2, clientY: box.top + 9}));
  said.push(reading());
  const all = [...document.querySelectorAll("output")].map((o) => o.textContent);
  dispatchEvent(new Event("beforeprint"));
  const folded = [...document.querySelectorAll("details")].filter((d) => !d.open).length;
  const wide = document.documentElement.scrollWidth > innerWidth;
  const out = document.createElement("pre");
  out.id = "probe";
  out.textContent = JSON.stringify({said, all, folded, wide});
  document.body.appendChild(out);
});
</script>
"""


def probe(pages, *arguments):
    text = Path(pages.fault).read_text(encoding="utf-8")
    path = os.path.join(pages.folder, "probe.html")
    Path(path).write_text(text.replace("</body>", PROBE + "</body>"), encoding="utf-8")
    document, complaints = pages.browser.document("file://" + path, *arguments)
    expect(not complaints, "the console is silent while it is used", *complaints)
    return json.loads(document.text_of("pre", id="probe"))


def test_keyboard_and_pointer(pages):
    seen = probe(pages)
    said = seen["said"]
    expect(all(said), "every key and the pointer give values", *said)
    expect(len(set(said[1:])) == 6, "each of them another place", *said)
    expect("10 % of users (week4)" in said[1], "the first place is the first step", said[1])
    expect("week5" in said[5], "the last place is the last step", said[5])
    expect(all(seen["all"]) and len(seen["all"]) == 10, "all charts follow one pointer")
    rates = [one for one in seen["all"] if "canary" in one]
    expect(len(rates) == 8 and all(" of " in one and "legacy" in one and "harm" in one for one in rates),
           "a reading has counts, both arms and the harm", *rates)
    expect(seen["folded"] == 0, "nothing stays folded on paper")


def test_narrow(pages):
    seen = probe(pages, "--window-size=500,900")
    expect(not seen["wide"], "a narrow window does not have to be moved sideways")


def test_no_network(pages):
    text = Path(pages.fault).read_text(encoding="utf-8")
    expect("default-src 'none'" in text, "the page forbids itself the network")
    document, _ = pages.browser.document("file://" + pages.fault)
    for one in document.elements:
        for key in ("src", "srcset", "action", "data", "poster"):
            expect(key not in one or one[key] is None, "nothing is fetched", one)
        expect(one["tag"] not in ("link", "img", "iframe", "object", "embed"), "nothing is fetched", one)

    asked = []

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            body = text.encode() if self.path == "/page" else b""
            self.send_response(200 if body else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        pages.browser.document(f"http://127.0.0.1:{server.server_port}/page")
    finally:
        server.shutdown()
        server.server_close()
    # A browser itself asks for an icon.
    expect([path for path in asked if path != "/favicon.ico"] == ["/page"],
           "only the page itself is asked for", asked)


def test_healthy_page(pages):
    document, complaints = pages.browser.document("file://" + pages.healthy)
    expect(not complaints, "the console is silent", *complaints)
    expect("the whole plan in 5d" in document.text_of("h1"), "it says that the plan went through",
           document.text_of("h1"))
    expect(not document.find("rect", **{"class": "fault"}), "and draws no fault")
    expect("No fault was injected" in document.text_of("section", **{"aria-labelledby": "faults"}),
           "and says that none was injected")


def test_light_dark_paper(pages):
    url = "file://" + pages.fault
    light = pages.browser.picture(url, os.path.join(pages.folder, "light.png"))
    dark = pages.browser.picture(url, os.path.join(pages.folder, "dark.png"),
                                 "--blink-settings=preferredColorScheme=0")
    if average_of(dark) > 128:
        dark = pages.browser.picture(url, os.path.join(pages.folder, "dark.png"),
                                     "--force-dark-mode", "--enable-features=WebUIDarkMode")
    expect(average_of(light) > 200, "light is light", average_of(light))
    expect(average_of(dark) < 70, "dark is dark", average_of(dark))
    paper = os.path.join(pages.folder, "paper.pdf")
    pages.browser.run("--virtual-time-budget=5000", "--no-pdf-header-footer",
                      f"--print-to-pdf={paper}", url)
    pdf = Path(paper).read_bytes()
    expect(pdf.startswith(b"%PDF") and 20_000 < len(pdf), "it prints", len(pdf))


TESTS = [test_commands, test_a_stranger_can_say_what_happened, test_charts,
         test_keyboard_and_pointer, test_narrow, test_no_network, test_healthy_page,
         test_light_dark_paper]


def main():
    verbose = "-v" in sys.argv
    keep = sys.argv[sys.argv.index("--keep") + 1] if "--keep" in sys.argv else None
    if CHROMIUM is None:
        print("skipped: there is no chromium")
        print("0 passed, 0 failed, 1 skipped")
        return 0
    passed = failed = 0
    with tempfile.TemporaryDirectory(prefix="canaryd-page-", ignore_cleanup_errors=True) as folder:
        pages = Pages(folder)
        for test in TESTS:
            try:
                test(pages)
                passed += 1
                if verbose:
                    print("ok", test.__name__)
            except Failed as false:
                failed += 1
                print(f"FAILED {test.__name__}: {false}")
            except Exception:  # pylint: disable=broad-except
                failed += 1
                print(f"FAILED {test.__name__}:")
                traceback.print_exc(file=sys.stdout)
        if keep:
            os.makedirs(keep, exist_ok=True)
            for name in os.listdir(folder):
                if name.endswith((".png", ".pdf", ".html")):
                    shutil.copy(os.path.join(folder, name), keep)
    print(f"{passed} passed, {failed} failed")
    return 0 if failed == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
