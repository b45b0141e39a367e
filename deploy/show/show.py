#!/usr/bin/env python3
"""Two rollouts by the real daemon: one that is healthy, one that is not. Called by ../quickstart.

    show.py --programs FOLDER --folder FOLDER [--keep] [--postgres]

Exits 0 only if both went as promised: it is also run as a test.
"""

import argparse
import os
import shutil
import sys
import textwrap
import time

from services import BUG
from world import ShowFailed, World, http_request, own_umask, stop_on_signals, until

TERMINAL = sys.stdout.isatty()
COLOUR = TERMINAL and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
STEP_SECONDS = 75  # the longest that a step of the show may take before it has failed


def coloured(text, code):
    return f"\033[{code}m{text}\033[0m" if COLOUR else text


def say(text=""):
    print(text, flush=True)


def indented(text, margin="    "):
    return textwrap.indent(text, margin)


def percent(weight):
    return f"{weight:g} %"


def clock(milliseconds):
    seconds, rest = divmod(milliseconds, 1000)
    return time.strftime("%H:%M:%S", time.gmtime(seconds)) + f".{rest:03d} UTC"


def bar(seen, of, width=10):
    full = width if of <= 0 else min(width, int(width * seen / of))
    return "[" + "=" * full + "." * (width - full) + "]"


class Live:
    """One line about now, drawn over on a terminal, else printed every other second."""

    def __init__(self):
        self.began = time.monotonic()
        self.drawn = False
        self.printed_at = -9.0

    def elapsed(self):
        seconds = int(time.monotonic() - self.began)
        return f"{seconds // 60}:{seconds % 60:02d}"

    def event(self, text, code="1"):
        self.clear()
        say(f"  {self.elapsed()}  {coloured(text, code)}")
        self.printed_at = -9.0

    def clear(self):
        if self.drawn:
            print("\r\033[K", end="", flush=True)
            self.drawn = False

    def draw(self, view):
        line = f"  {self.elapsed()}  {self.line_of(view)}"
        if TERMINAL:
            width = shutil.get_terminal_size().columns - 1
            print("\r\033[K" + line[:width], end="", flush=True)
            self.drawn = True
        elif time.monotonic() - self.printed_at >= 2:
            self.printed_at = time.monotonic()
            say(line)

    @staticmethod
    def line_of(view):
        bake, canary = view["bake"], view["canary"]
        total = [one for one in view["criteria"] if one["segment"] == ""]
        below = total[0]["proven_below"] if total else None
        proof = f"errors < {below * 100:.2f} %" if below is not None else "errors unproven"
        if view["proven"]:
            proof += ": proven"
        return (
            f"{percent(view['desired']):>5}  {canary['requests']:>6,} req"
            f"  {canary['failed']:>3} failed"
            f"  bake {bar(bake['seen_s'], bake['of_s'])} {bake['seen_s']:.0f}s of {bake['of_s']:.0f}s"
            f"  {proof}"
        )


class Show:
    def __init__(self, world):
        self.world = world

    def follow(self, name, live, reached, seconds, on_view=None):
        """Draws the rollout until `reached`; returns the view and the weights in their order."""
        weights = []
        end = time.monotonic() + seconds
        while True:
            self.world.check_alive()
            view = self.world.view(name)
            if not weights or weights[-1] != view["desired"]:
                before = percent(weights[-1]) + " -> " if weights else ""
                weights.append(view["desired"])
                lowered = len(weights) > 1 and weights[-1] < weights[-2]
                live.event(f"{before}{percent(view['desired'])} of users on {name}",
                           "1;31" if lowered else "1;32")
            if reached(view):
                live.clear()
                return view, weights
            live.draw(view)
            if time.monotonic() > end:
                live.clear()
                missing = "; ".join(view["missing"]) or view["reason"]
                raise ShowFailed(f"{name} stays at {percent(view['desired'])} ({view['status']}): {missing}")
            if on_view:
                on_view(view)
            time.sleep(0.25)

    def both(self):
        """A healthy rollout, then a faulty one of the next version."""
        world = self.world
        say(f"\n{coloured('A healthy rollout', '1')}: webhook-v2 takes over from webhook-v1, four agents,"
            " 1,000 messages a second.")
        for service in ("webhook-v1", "webhook-v2"):
            world.start_service(service)
        world.start_slack()
        world.start_load("webhook-v1", "webhook-v2")
        world.start_daemon()
        self.healthy("webhook-v2", world.write_policy("webhook-v1", "webhook-v2"))
        say(f"\n{coloured('A faulty one', '1')}: webhook-v3 takes over from webhook-v2. At 50 % its agent"
            " rides begins to fail.")
        world.start_service("webhook-v3")
        world.start_load("webhook-v2", "webhook-v3")
        world.stop("webhook-v1")
        self.faulty("webhook-v3", "webhook-v3", world.write_policy("webhook-v2", "webhook-v3"))

    def start(self, name, policy):
        say(f"  $ canaryctl start {policy}")
        say(indented(self.world.ctl("start", policy), "  "))

    def healthy(self, name, policy):
        world = self.world
        self.start(name, policy)
        live, pages = Live(), []

        def page(view):
            if not pages and view["desired"] == 50 and view["proven"]:
                pages.append(world.ctl("status", name, accept=(0, 4)))

        view, weights = self.follow(name, live, lambda view: view["status"] in ("finishing", "rolled_back"),
                                    3 * STEP_SECONDS, page)
        if view["status"] != "finishing" or weights != [10, 50, 100]:
            raise ShowFailed(f"{name} went {weights} and is {view['status']}: {view['reason']}")
        live.event("soaked at 100 %; it stays watched until a person finishes it")
        if pages:
            say("\n  What an operator saw at 50 %, by `canaryctl status`:\n")
            say(indented(pages[0]))
        say(f"\n  $ canaryctl finish {name} --reason 'all users moved'")
        say(indented(world.ctl("finish", name, "--reason", "all users moved"), "  "))
        if world.view(name)["status"] != "finished":
            raise ShowFailed(f"{name} is {world.view(name)['status']} after finish")

    def faulty(self, name, service, policy):
        world = self.world
        self.start(name, policy)
        live, broken = Live(), []

        def bug(view):
            if not broken and view["applied"] == 50 and view["bake"]["seen_s"] >= 4:
                broken.append(time.time())
                http_request(world.ports[service], "POST", "/break?agent=rides&every=3")
                live.event(f"(the show breaks {service}: every third message to rides fails,"
                           " one in twelve in all)", "33")

        view, weights = self.follow(name, live, lambda view: view["status"] in ("rolled_back", "finishing"),
                                    3 * STEP_SECONDS, bug)
        if view["status"] != "rolled_back" or not broken or weights != [10, 50, 0]:
            raise ShowFailed(f"{name} went {weights} and is {view['status']}: {view['reason']}")
        self.measure(name, service)
        self.tell(name)

    def measure(self, name, service):
        """Time from the first failing request to restored traffic, from the rows themselves."""
        world = self.world

        def quiet():
            # Committed rows a second past the newest request of the canary: nobody is on it.
            last, newest = world.last_messages(service)
            return newest - last > 1000 and last

        last = until(f"no message reaches {service} any more", 20, quiet)
        weight, changed = world.route_row(name)
        if weight != 0:
            raise ShowFailed(f"the route row of {name} says {weight} of 10000, not 0")
        first, failed = world.failures(service, BUG)
        if first is None:
            raise ShowFailed(f"{name} was rolled back before it failed")
        say()
        say(f"  {clock(first)}  first failing request")
        say(f"  {clock(changed)}  {world.route_place} says 0 %")
        say(f"  {clock(last)}  last request to {service}")
        restored = max(changed, last) - first
        say(coloured(f"  From first failing request to restored traffic: {restored / 1000:.2f} s;"
                     f" {failed} messages failed.", "1"))

    def tell(self, name):
        world = self.world

        def rolled_back():
            return [text for text in world.slack_texts() if name in text and "rolled back" in text.lower()]

        texts = until("the message to Slack", 30, rolled_back)
        say("\n  What was sent to Slack:\n")
        say(indented(texts[-1]))
        say(f"\n  $ canaryctl explain {name}\n")
        why = world.ctl("explain", name)
        if "rides" not in why:
            raise ShowFailed(f"canaryctl explain does not name the agent rides:\n{why}")
        say(indented(why))


class PostgresShow(Show):
    """On the first user's schema, which knows one rollout: it fails, is mended, and tries again."""

    def both(self):
        world, name, service = self.world, "unified-webhook", "wa-webhook-unified"
        say(f"  PostgreSQL: {world.url('postgres')}, 5,000 users, the first plan's migration applied")
        say(f"\n{coloured('What canaryd needs', '1')} in that database:\n\n  $ canaryctl migrate --database URL")
        say(indented(world.ctl("migrate", "--database", world.url("owner")), "  "))
        say("\n  $ canaryctl doctor --database URL")
        say(indented(world.ctl("doctor", "--database", world.url("canaryd")), "  "))
        say(f"\n{coloured('A faulty rollout', '1')}: {service} takes over from the old webhooks, four"
            " agents.\nAt 50 % its agent rides begins to fail.")
        for one in ("legacy", service):
            world.start_service(one)
        world.start_slack()
        world.start_load("legacy", service)
        world.start_daemon()
        policy = world.write_policy("legacy", name)
        self.faulty(name, service, policy)
        if world.flags() != 0:
            raise ShowFailed("users' flags do not follow the route back to 0 %")
        say("  Nobody's flag says wa-webhook-unified any more.")
        say(f"\n{coloured('The bug is fixed', '1')}, and the same users come first again.")
        http_request(world.ports[service], "POST", "/break?agent=rides&every=0")
        self.healthy(name, policy)
        if world.flags() != 5000:
            raise ShowFailed("users' flags do not follow the route to 100 %")
        say("\n  $ canaryctl report --database URL    (the first tables)\n")
        report = world.ctl("report", "--database", world.url("canaryd"))
        say(indented(report.split("\n\n4  ")[0], "  "))


def farewell(world, keep):
    programs, folder = world.programs, world.folder
    say(f"\n{coloured('As promised.', '1;32')} Its files: {folder}")
    say(f"    canaryd.yaml, policies/   what it was told      {world.data}   what it read and wrote")
    say("    canaryd.db                its journal           slack.jsonl, logs/     what was said")
    if keep:
        world.write_stop_script()
        say("\nStill running, as asked by --keep:")
        say(f"    curl http://127.0.0.1:{world.daemon_port}/status")
        say(f"    {programs}/canaryctl --socket {world.socket} status --watch")
        say(f"    {programs}/canaryctl --socket {world.socket} history {world.last}")
        say(f"  To end it:  {folder}/stop")
    root = programs.parent
    say("\nNext:")
    say(f"    {programs}/canaryctl check --explain {root}/policies/unified-webhook.yaml")
    say("                                   what a real policy will do, in a page")
    say("    deploy/README.md               your own tables: their shape, connections, first rollout")
    say("    policies/README.md             every field of a policy and its default")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--programs", required=True)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--postgres", action="store_true")
    options = parser.parse_args()
    own_umask()
    stop_on_signals()
    world, kept = None, False
    try:
        show_of, world_of = Show, World
        if options.postgres:
            from postgres import PostgresWorld  # here: only this show needs a server's programs
            show_of, world_of = PostgresShow, PostgresWorld
        world = world_of(options.programs, options.folder, options.keep)
        say(f"  files: {world.folder}")
        show_of(world).both()
        farewell(world, options.keep)
        kept = options.keep
        return 0
    except ShowFailed as failure:
        say(f"\n{coloured('Not as promised:', '1;31')} {failure}")
        say(f"Files and logs: {options.folder}")
        return 1
    except KeyboardInterrupt:
        say(f"\nStopped. Files: {options.folder}")
        return 130
    finally:
        if world and not kept:
            world.stop_all()


if __name__ == "__main__":
    sys.exit(main())
