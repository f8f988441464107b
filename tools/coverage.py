#!/usr/bin/env python3
"""Lines of a folder that the tests of some builds ran. A table of files, the total, and that of each part asked for.

Reads what gcov says of every program of the builds. A line of a header counts as run if any program ran it, and
counts at all if any program compiled it.
"""

import argparse
import collections
import concurrent.futures
import json
import os
import pathlib
import re
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


def total(name, counts_of_files):
    """The last lines of the table: of all files, or of a part."""
    counts = [count for counts in counts_of_files for count in counts.values()]
    if not counts:
        sys.exit(f"no line is of the part {name}")
    ran = sum(count > 0 for count in counts)
    print(f"{100 * ran / len(counts):5.1f} %  {ran:4} of {len(counts):4}  lines {name}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="of the sources to report on")
    parser.add_argument("build", nargs="+", help="built with --coverage, and run")
    parser.add_argument("--part", metavar="NAME=REGEX", action="append", default=[],
                        help="one more total, of the files whose path in the folder holds the expression")
    arguments = parser.parse_args()
    folder = os.path.realpath(arguments.folder)
    counters = sorted(path for build in arguments.build for path in pathlib.Path(os.path.realpath(build)).rglob("*.gcda"))
    lines = collections.defaultdict(dict)  # file in the folder -> line -> times run
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for found in pool.map(read, counters):
            for path, number, count in found:
                if path.startswith(f"{folder}{os.sep}"):
                    file = lines[os.path.relpath(path, folder)]
                    file[number] = file.get(number, 0) + count
    if not lines:
        sys.exit(f"{len(counters)} counters in {', '.join(arguments.build)} say nothing of {folder}")
    for name, counts in sorted(lines.items()):
        ran = sum(count > 0 for count in counts.values())
        not_run = ranges(sorted(number for number, count in counts.items() if count == 0))
        print(f"{100 * ran / len(counts):5.1f} %  {ran:4} of {len(counts):4}  {name}"
              + (f"  (not run: {not_run})" if not_run else ""))
    total("in all", lines.values())
    for part in arguments.part:
        name, _, expression = part.partition("=")
        total(name, [counts for file, counts in lines.items() if re.search(expression, file)])


if __name__ == "__main__":
    main()
