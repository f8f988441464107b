#!/usr/bin/env python3
"""Compiles every header alone, twice included, without a warning; and all of them together.

A header that passed is not compiled again until it, a header that it includes, the compiler or a flag
changes. Headers that need MPI are compiled where mpicxx says where it is, those of NCCL are not.
"""

import argparse
import concurrent.futures
import hashlib
import os
import pathlib
import re
import shlex
import subprocess
import sys

INCLUDE = re.compile(r"^[ \t]*#[ \t]*include[ \t]*<([^>]+)>", re.MULTILINE)
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"]


def command_for(compiler, cuda, whole):
    if not cuda:
        return [compiler, "-std=c++20", *WARNINGS, "-fsyntax-only", "-pthread"]
    # The device pass reads host code too, and is three times as quick as both passes. In the host code
    # that nvcc makes, it puts parentheses of its own around pointers to members.
    stage = ["-c"] if whole else ["-ptx"]
    return [compiler, "-std=c++20", "-arch=sm_80", "-Werror", "all-warnings", "-Xcompiler", "-Wall,-Wextra,-Wno-parentheses",
            *stage, "-o", os.devnull]


def mpi_flags():
    """Include paths that mpicxx adds, as system ones; None without mpicxx."""
    try:
        shown = subprocess.run(["mpicxx", "-show"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return [flag for path in re.findall(r"-I(\S+)", " ".join(shlex.split(shown))) for flag in ("-isystem", path)]


class Tree:
    def __init__(self, root):
        self.texts = {p.relative_to(root).as_posix(): p.read_text(encoding="utf-8")
                      for p in sorted(root.rglob("*")) if p.suffix in (".hpp", ".cuh")}
        self.includes = {h: INCLUDE.findall(t) for h, t in self.texts.items()}

    def reach(self, header):
        seen, queue = set(), [header]
        while queue:
            at = queue.pop()
            if at not in seen:
                seen.add(at)
                queue += self.includes.get(at, [])
        return seen


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--compiler", required=True)
    parser.add_argument("--cuda", action="store_true", help="the compiler is nvcc")
    parser.add_argument("--include", required=True, type=pathlib.Path)
    parser.add_argument("--work", required=True, type=pathlib.Path, help="folder for stubs and stamps")
    parser.add_argument("--mpi", action="store_true", help="headers of MPI too")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)

    version = subprocess.run([args.compiler, "--version"], capture_output=True, text=True, check=True).stdout
    tree = Tree(args.include)
    mpi = mpi_flags() if args.mpi else None
    left_out = {"nccl.h"} if mpi is not None else {"mpi.h", "nccl.h"}

    jobs = []  # name, headers, command
    for header in tree.texts:
        if tree.reach(header) & left_out or (header.endswith(".cuh") and not args.cuda):
            print(f"left out: {header}")
            continue
        extra = mpi if "mpi.h" in tree.reach(header) else []
        jobs.append((header, [header, header], command_for(args.compiler, args.cuda, False) + extra))
    everything = [headers[0] for _, headers, _ in jobs]
    jobs.append(("all headers together", everything, command_for(args.compiler, args.cuda, True) + (mpi or [])))

    def run(job):
        name, headers, command = job
        parts = [version, *command] + sorted(tree.texts.get(h, h) for top in headers for h in tree.reach(top))
        key = hashlib.sha256("\0".join(parts).encode()).hexdigest()
        stub = args.work / (re.sub(r"\W", "_", name) + (".cu" if args.cuda else ".cpp"))
        stamp = stub.with_suffix(".passed")
        if stamp.exists() and stamp.read_text() == key:
            return name, True, None
        stub.write_text("".join(f"#include <{h}>\n" for h in headers))
        done = subprocess.run([*command, "-I", str(args.include), str(stub)], capture_output=True, text=True)
        if done.returncode == 0:
            stamp.write_text(key)
        return name, False, None if done.returncode == 0 else done.stdout + done.stderr

    failed = unchanged = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, cached, output in pool.map(run, jobs):
            unchanged += cached
            if output is not None:
                failed += 1
                print(f"FAILED: {name}\n{output}")
    print(f"{len(jobs) - 1} headers alone and together: {failed} failed, {unchanged} unchanged since they passed")
    if len(jobs) < 2:
        sys.exit("no header found")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
