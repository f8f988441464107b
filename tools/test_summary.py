#!/usr/bin/env python3
"""Adds up Meson's test logs: a table of stages, what failed, and last "N passed, N failed, N skipped".

A doctest program counts as its test cases (the worst rank's under mpirun), any other test as one. Exit code
1 if anything failed or nothing passed.
"""

import argparse
import collections
import json
import re
import sys

DOCTEST = re.compile(
    r"\[doctest\] test cases:\s*\d+\s*\|\s*(\d+) passed\s*\|\s*(\d+) failed\s*\|\s*(\d+) skipped")
FILTER = re.compile(r"-+(dt-)?(tc|tce|ts|tse|sf|sfe|test-case|test-suite|source-file|first|last)\S*=")
Counts = collections.namedtuple("Counts", "passed failed skipped")


def count(test):
    """Counts of one test of a log."""
    result = test["result"]
    if result == "SKIP":
        return Counts(0, 0, 1)
    good = result in ("OK", "EXPECTEDFAIL")
    cases = [tuple(map(int, found)) for found in DOCTEST.findall(test.get("stdout") or "")]
    if not cases:
        return Counts(int(good), int(not good), 0)
    passed, failed, skipped = min(c[0] for c in cases), max(c[1] for c in cases), max(c[2] for c in cases)
    if any(FILTER.match(word) for word in test.get("command", [])):
        skipped = 0  # doctest calls skipped what the command line did not ask for
    if not good and failed == 0:
        failed = 1  # it crashed, or a sanitizer spoke at the end
    return Counts(passed, failed, skipped)


def read_log(path):
    """Name and counts of each test of a Meson testlog.json; none if the run left no log."""
    try:
        with open(path, encoding="utf-8") as log:
            return [(test["name"], count(test)) for test in map(json.loads, log)]
    except OSError:
        return []


def add_up(all_counts):
    return Counts(*(sum(column) for column in zip(Counts(0, 0, 0), *all_counts)))


def summarise(logs, broken, left_out):
    """Lines to print, and whether all is well."""
    lines, failures, totals = [], [], []
    for stage, path in logs:
        tests = read_log(path)
        if not tests:
            broken = [*broken, f"{stage} (no test ran)"]
            continue
        total = add_up(c for _, c in tests)
        totals.append(total)
        lines.append(f"{stage:<8}{total.passed:>6} passed {total.failed:>6} failed {total.skipped:>6} skipped")
        failures += [f"FAILED: {stage}: {name}" for name, c in tests if c.failed]
        failures += [f"skipped: {stage}: {name} ({c.skipped})" for name, c in tests if c.skipped]
    for stage in broken:
        failures.append(f"FAILED: {stage}")
        totals.append(Counts(0, 1, 0))
    for stage in left_out:
        failures.append(f"skipped: {stage}")
        totals.append(Counts(0, 0, 1))
    total = add_up(totals)
    last = f"{total.passed} passed, {total.failed} failed, {total.skipped} skipped"
    return [*lines, *failures, last], total.failed == 0 and total.passed > 0


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--log", action="append", default=[], metavar="STAGE=FILE")
    parser.add_argument("--broken", action="append", default=[], metavar="STAGE", help="counts as one failed test")
    parser.add_argument("--left-out", action="append", default=[], metavar="STAGE", help="counts as one skipped test")
    args = parser.parse_args()
    lines, well = summarise([log.split("=", 1) for log in args.log], args.broken, args.left_out)
    print("\n".join(lines))
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
