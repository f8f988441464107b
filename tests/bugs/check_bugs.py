#!/usr/bin/env python3
"""Applies each patch of a bug to a copy of the headers and builds find_bugs.cpp against it, in the simulation: it
must find the bug. The headers as they are must come through. A patch that does not apply is out of date and fails.

What was judged is not judged again until a header, a patch, the program or the simulation changes.
"""

import argparse
import concurrent.futures
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys

TIMEOUT_S = 300


def digest(paths):
    found = hashlib.sha256()
    for path in sorted(paths):
        found.update(path.name.encode() + b"\0" + path.read_bytes())
    return found.hexdigest()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compiler", required=True)
    parser.add_argument("--root", required=True, type=pathlib.Path, help="of the project")
    parser.add_argument("--cuda-include", required=True, type=pathlib.Path)
    parser.add_argument("--simulation", required=True, type=pathlib.Path, help="static library")
    parser.add_argument("--work", required=True, type=pathlib.Path)
    args = parser.parse_args()
    here = args.root / "tests" / "bugs"
    args.work.mkdir(parents=True, exist_ok=True)
    common = digest([p for folder in ("include", "tests/sim", "tests/device_path", "tests/property", "tests/support")
                     for p in (args.root / folder).rglob("*.[hc]*") if p.is_file()] + [pathlib.Path(__file__)])

    def build_and_run(work, include, comm):
        """(exit code, what it said) of the program over those headers."""
        program = work / "find_bugs"
        built = subprocess.run(
            [args.compiler, "-std=c++20", "-O0", "-pthread", "-DDPGATHER_CHECKS=1", f"-DOVER_{comm.upper()}",
             "-I", include, "-I", args.root / "tests", "-isystem", args.cuda_include, here / "find_bugs.cpp",
             args.root / "tests/support/allocations.cpp", "-Wl,--whole-archive", args.simulation, "-Wl,--no-whole-archive", "-ldl", "-o", program],
            capture_output=True, text=True, check=False)
        if built.returncode:
            return None, "does not compile: " + built.stderr
        try:
            done = subprocess.run([program], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            return None, f"did not end within {TIMEOUT_S} s"
        finally:
            program.unlink()
        return done.returncode, (done.stdout + done.stderr).strip()

    def judge(job):
        """(name, what is wrong or None, what was found)."""
        name, comm, patch = job
        work = args.work / name
        work.mkdir(exist_ok=True)
        key = common + (digest([patch]) if patch else "") + comm + digest([here / "find_bugs.cpp"])
        stamp = work / "passed"
        if stamp.exists() and stamp.read_text(encoding="utf-8").startswith(key):
            return name, None, stamp.read_text(encoding="utf-8")[len(key):] + " (unchanged)"
        include = args.root / "include"
        if patch:
            shutil.rmtree(work / "include", ignore_errors=True)
            shutil.copytree(include, work / "include")
            applied = subprocess.run(["patch", "-p1", "-s", "-f", "-F0", "-d", work, "-i", patch],
                                     capture_output=True, text=True, check=False)
            if applied.returncode:
                return name, "the patch does not apply any more: " + applied.stdout + applied.stderr, ""
            include = work / "include"
        code, said = build_and_run(work, include, comm)
        if code is None:
            return name, said, ""
        last = said.splitlines()[-1] if said else ""
        if patch and code == 0:
            return name, "the bug was not found", last
        if not patch and code != 0:
            return name, said, ""
        found = next((line for line in said.splitlines() if line.startswith("found")), last)
        stamp.write_text(key + found, encoding="utf-8")
        return name, None, found

    jobs = [(f"none over {comm}", comm, None) for comm in ("nccl", "threads", "ipc")]
    plain = len(jobs)
    for patch in sorted((here / "patches").glob("*.patch")):
        comm = re.search(r"^Run over: (\w+)$", patch.read_text(encoding="utf-8"), re.MULTILINE).group(1)
        jobs.append((patch.stem, comm, patch))

    failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, wrong, found in pool.map(judge, jobs):
            failed += wrong is not None
            print(f"FAILED: {name}: {wrong}" if wrong is not None else f"{name}: {found[:160]}", flush=True)
    print(f"{len(jobs) - plain} bugs: {failed} not found, or wrongly so")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
