#!/usr/bin/env python3
"""Lines of a folder that the tests of a build ran: coverage.py BUILD FOLDER. A table of files and the total.

Reads what gcov says of every program of the build. A line of a header counts as run if any program ran it, and
counts at all if any program compiled it.
"""

import collections
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys


def read(notes):
    """(file, line, count) of one object's counters."""
    done = subprocess.run(["gcov", "--json-format", "--stdout", str(notes)], capture_output=True, text=True,
                          cwd=notes.parent, check=False)
    found = []
    for document in filter(None, done.stdout.splitlines()):
        report = json.loads(document)
        here = report["current_working_directory"]
        for file in report["files"]:
            path = os.path.realpath(os.path.join(here, file["file"]))
            found += [(path, line["line_number"], line["count"]) for line in file["lines"]]
    return found


def ranges(numbers):
    """'3-5, 9' of 3, 4, 5, 9."""
    parts = []
    for number in numbers:
        if parts and parts[-1][1] == number - 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: coverage.py BUILD FOLDER")
    build, folder = (pathlib.Path(os.path.realpath(argument)) for argument in sys.argv[1:])
    counters = sorted(build.rglob("*.gcda"))
    lines = collections.defaultdict(dict)  # file -> line -> times run
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for found in pool.map(read, counters):
            for path, number, count in found:
                if path.startswith(f"{folder}{os.sep}"):
                    lines[path][number] = lines[path].get(number, 0) + count
    if not lines:
        sys.exit(f"{len(counters)} counters in {build} say nothing of {folder}")
    ran_in_all = lines_in_all = 0
    for path, counts in sorted(lines.items()):
        ran = sum(count > 0 for count in counts.values())
        ran_in_all, lines_in_all = ran_in_all + ran, lines_in_all + len(counts)
        not_run = ranges(sorted(number for number, count in counts.items() if count == 0))
        name = os.path.relpath(path, folder)
        print(f"{100 * ran / len(counts):5.1f} %  {ran:4} of {len(counts):4}  {name}"
              + (f"  (not run: {not_run})" if not_run else ""))
    print(f"{100 * ran_in_all / lines_in_all:5.1f} %  {ran_in_all:4} of {lines_in_all:4}  lines in all")


if __name__ == "__main__":
    main()
