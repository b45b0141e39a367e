"""What the benches on PostgreSQL share: their command line, and one line a figure."""

import argparse
import os
import platform
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "postgres"))
import server as postgres  # noqa: E402


def say(what, figure, goal=""):
    print(f"  {what:<66} {figure:>14}   {goal}", flush=True)


def main(text, numbers, every, measure):
    """`numbers`: name, default and help of each option; `every`: what there is to measure, by name;
    measure(options, those that were asked for, or all). The exit status."""
    name = Path(sys.argv[0]).stem
    parser = argparse.ArgumentParser(description=text,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, default, words in numbers:
        parser.add_argument(f"--{option}", type=int, default=default, help=words)
    parser.add_argument("what", nargs="*", metavar="WHAT")
    options = parser.parse_args()
    if postgres.missing():
        print(f"{name}: {postgres.missing()}", file=sys.stderr)
        return 1
    unknown = set(options.what) - set(every)
    if unknown:
        print(f"{name}: {', '.join(unknown)}: one of {', '.join(every)}", file=sys.stderr)
        return 64
    print(f"tests/bench/{name}.py {' '.join(sys.argv[1:])}: {os.cpu_count()} cores, "
          f"{platform.machine()}, load {os.getloadavg()[0]:.1f}")
    measure(options, [every[one] for one in options.what or every])
    return 0
