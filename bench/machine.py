#!/usr/bin/env python3
"""Prints as JSON what the figures of a run of the benches depend on.

usage: bench/machine.py
"""

import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path


def first_line(*command):
    if shutil.which(command[0]) is None:
        return None
    lines = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
    return lines[0] if lines else None


def processor():
    """Name, family and model of the first core, as /proc/cpuinfo has them."""
    told = {}
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            told.setdefault(key.strip(), value.strip())
    except OSError:
        pass
    words = [told.get("model name", platform.processor() or platform.machine())]
    return ", ".join(words + [f"{key.removeprefix('cpu ')} {told[key]}" for key in ("cpu family", "model") if key in told])


def cache(level):
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        if (index / "level").read_text().strip() == str(level) and (index / "type").read_text().strip() != "Instruction":
            return (index / "size").read_text().strip()
    return None


def main():
    if len(sys.argv) > 1:
        print(__doc__.strip())
        sys.exit(0 if sys.argv[1] in ("-h", "--help") else 2)
    print(json.dumps({
        "date": datetime.date.today().isoformat(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "caches": {f"L{level}": cache(level) for level in (1, 2, 3)},
        "kernel": ".".join(platform.release().split(".")[:2]),
        "libc": " ".join(platform.libc_ver()),
        "compiler": first_line("c++", "--version"),
        "mpi": first_line("mpirun", "--version"),
    }, indent=1))


if __name__ == "__main__":
    main()
