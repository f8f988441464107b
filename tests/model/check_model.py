#!/usr/bin/env python3
"""Checks a Promela model with Spin: it holds as it is, and goes wrong with each NO_... that it asks about defined."""

import argparse
import pathlib
import re
import subprocess
import sys


def verify(model, work, spin, compiler, missing):
    """What Spin's verifier says of the model without `missing`; None stands for the whole."""
    folder = work / (missing or "whole")
    folder.mkdir(parents=True, exist_ok=True)
    defines = [f"-D{missing}"] if missing else []
    for command in ([spin, *defines, "-a", model],
                    [compiler, "-x", "c", "-O1", "-w", "-DSAFETY", "-DCOLLAPSE", "-DMEMLIM=2000", "-o", "pan", "pan.c"]):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{' '.join(map(str, command))}:\n{done.stdout}{done.stderr}")
    return subprocess.run(["./pan", "-m1000000"], cwd=folder, capture_output=True, text=True, check=False).stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spin", required=True)
    parser.add_argument("--compiler", required=True, help="that takes C by -x c")
    parser.add_argument("--work", required=True, type=pathlib.Path)
    parser.add_argument("model", type=pathlib.Path)
    args = parser.parse_args()
    model = args.model.resolve()
    parts = re.findall(r"^#ifn?def (NO_\w+)", model.read_text(encoding="utf-8"), re.MULTILINE)
    failed = 0
    for missing in [None, *dict.fromkeys(parts)]:
        said = verify(model, args.work, args.spin, args.compiler, missing)
        errors = re.search(r"errors: (\d+)", said)
        states = re.search(r"(\d+) states, stored", said)
        if errors is None or states is None or "max search depth too small" in said or "out of memory" in said:
            failed += 1
            print(f"FAILED: {missing or 'the model'} was not searched whole:\n{said}")
            continue
        found = re.search(r"(assertion violated .*|invalid end state \(.*)", said)
        right = (int(errors[1]) > 0) == (missing is not None)
        failed += not right
        print(f"{'' if right else 'FAILED: '}{missing or 'as it is'}: {found[1] if found else 'holds'}, "
              f"{states[1]} states", flush=True)
    print(f"{len(set(parts))} parts taken away one at a time")
    if not parts:
        sys.exit("nothing to take away")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
