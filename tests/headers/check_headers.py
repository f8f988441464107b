#!/usr/bin/env python3
"""Compiles every header alone, twice included, without a warning; and all of them together. nvcc takes every .cuh
alone and the others together only, since a host compiler has had those alone, as has clang with --together.

A header that passed is not compiled again until it, a header that it includes, the compiler or a flag
changes. Headers that need MPI, CUDA or NCCL are compiled where those are to be had, and named where not.
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import shlex
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "support"))
from compile import Compiler  # noqa: E402

WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"]


ARCHITECTURES = ["sm_80", "sm_90", "sm_100"]  # of a .cuh; a .hpp is the same to all of them


def flags_for(cuda, whole, architecture=ARCHITECTURES[0]):
    if not cuda:
        return ["-std=c++20", *WARNINGS, "-fsyntax-only", "-pthread"]
    # The device pass reads host code too, and is three times as quick as both passes. In the host code
    # that nvcc makes, it puts parentheses of its own around pointers to members.
    return ["-std=c++20", f"-arch={architecture}", "-Werror", "all-warnings", "-Xcompiler", "-Wall,-Wextra,-Wno-parentheses",
            "-c" if whole else "-ptx", "-o", os.devnull]


def mpi_flags():
    """Include paths that mpicxx adds, as system ones; None without mpicxx."""
    try:
        shown = subprocess.run(["mpicxx", "-show"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return [flag for path in re.findall(r"-I(\S+)", " ".join(shlex.split(shown))) for flag in ("-isystem", path)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--compiler", required=True)
    parser.add_argument("--cuda", action="store_true", help="the compiler is nvcc")
    parser.add_argument("--together", action="store_true", help="leave out each alone")
    parser.add_argument("--include", required=True, type=pathlib.Path)
    parser.add_argument("--work", required=True, type=pathlib.Path, help="folder for sources and what passed")
    parser.add_argument("--mpi", action="store_true", help="headers of MPI too")
    parser.add_argument("--json", action="store_true", help="headers of nlohmann json too")
    parser.add_argument("--cuda-include", type=pathlib.Path, help="folder of cuda.h, and of nccl.h if that is there")
    args = parser.parse_args()

    compiler = Compiler(args.compiler, args.include, args.work)
    mpi = mpi_flags() if args.mpi else None
    left_out = set() if mpi is not None else {"mpi.h"}
    if not args.json:
        left_out.add("nlohmann/json.hpp")
    system = []
    if args.cuda_include is None:
        left_out |= {"cuda.h", "cuda_runtime_api.h", "nccl.h"}
    else:
        system = [] if args.cuda else ["-isystem", str(args.cuda_include)]
        if not (args.cuda_include / "nccl.h").is_file():
            left_out.add("nccl.h")

    def source(headers):
        return "".join(f"#include <{h}>\n" for h in headers)

    taken, jobs = [], []  # headers; and what to compile: name, text, flags
    for header in compiler.texts:
        reach = compiler.reach(source([header]))
        if reach & left_out or (header.endswith(".cuh") and not args.cuda):
            print(f"left out: {header}")
            continue
        taken.append(header)
        if args.together or (args.cuda and not header.endswith(".cuh")):
            continue
        if header.endswith(".cuh"):
            for architecture in ARCHITECTURES[1:]:
                jobs.append((f"{header} for {architecture}", source([header, header]),
                             flags_for(True, False, architecture) + (mpi if "mpi.h" in reach else [])))
        jobs.append((header, source([header, header]), flags_for(args.cuda, False) + system + (mpi if "mpi.h" in reach else [])))
    if not taken:
        sys.exit("no header found")
    jobs.append(("all headers together", source(taken),
                 flags_for(args.cuda, True) + system + (mpi or [])))

    if not args.cuda and args.cuda_include and (args.cuda_include / "nvtx3/nvToolsExt.h").is_file():
        jobs.append(("named ranges", source(["dpgather/core/range.hpp"]) + "void named() { const dpgather::detail::Range range(\"x\"); }\n",
                     [*flags_for(False, False), "-DDPGATHER_NVTX", *system]))

    def run(job):
        name, text, flags = job
        return name, *compiler.compile(name, ".cu" if args.cuda else ".cpp", text, flags,
                                       lambda code, output: output if code else None)

    failed = unchanged = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, wrong, cached in pool.map(run, jobs):
            unchanged += cached
            if wrong is not None:
                failed += 1
                print(f"FAILED: {name}\n{wrong}")
    print(f"{len(jobs)} compilations, {len(taken)} headers together: {failed} failed, {unchanged} unchanged since they passed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
