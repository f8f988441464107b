#!/usr/bin/env python3
"""What including the library adds to a compile: time, preprocessed lines, and bytes of the program.

usage: bench/compile_cost.py [--compiler CXX]... [--runs N] [--json FILE]
       bench/compile_cost.py --quick      each header compiled once by g++: what tests/run prints in the end

Each header is compiled alone with -std=c++20 -O0, interleaved with an empty file and with the standard headers
that the library includes; figures are medians. Last comes an empty file that takes the umbrella precompiled, where the
compiler can do that. "adds" is what a header adds to the empty file, "beyond the standard
library" what it adds to a file that has those standard headers already. A compiler that is not there is left out.
"""

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INCLUDE = ROOT / "include"
HEADERS = ["dpgather/dpgather.hpp", "dpgather/dp_gather.hpp", "dpgather/graph_cache.hpp", "dpgather/padded_batch.hpp",
           "dpgather/agree/agreement.hpp", "dpgather/comm/thread.hpp", "dpgather/tune/size_tuner.hpp"]


def reached(header, seen):
    """The standard headers that `header` includes, directly or through headers of the library."""
    standard = set()
    if header in seen:
        return standard
    seen.add(header)
    for name in re.findall(r"^#include <([^>]+)>", (INCLUDE / header).read_text(), re.M):
        if name.startswith("dpgather/"):
            standard |= reached(name, seen)
        elif "/" not in name and not name.endswith(".h"):
            standard.add(name)
    return standard


def command(compiler, source, *more):
    language = ["-x", "cu"] if Path(compiler).name == "nvcc" else []
    return [compiler, "-std=c++20", "-O0", f"-I{INCLUDE}", *language, str(source), *more]


def run(arguments):
    done = subprocess.run(arguments, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"compile_cost: {' '.join(arguments)}\n{done.stderr}")
    return done.stdout


def seconds_of(arguments):
    start = time.monotonic()
    run(arguments)
    return time.monotonic() - start


def measure(compiler, runs, folder):
    sources = {"nothing": ""}
    for header in HEADERS:
        sources[header] = f"#include <{header}>\n"
        sources["standard headers of " + header] = "".join(
            f"#include <{name}>\n" for name in sorted(reached(header, set())))
    seconds = {name: [] for name in sources}
    figures = {}
    for i, (name, text) in enumerate(sources.items()):
        path = folder / f"{i}.cpp"
        path.write_text(text + "int main() {}\n")
        lines = run(command(compiler, path, "-E")).splitlines()
        program = folder / f"{i}.out"
        run(command(compiler, path, "-o", str(program)) + ([] if compiler == "nvcc" else ["-pthread"]))
        figures[name] = {"lines": sum(1 for line in lines if line.strip() and not line.startswith("#")),
                         "bytes": program.stat().st_size}
    for _ in range(runs):
        for i, name in enumerate(sources):
            seconds[name].append(seconds_of(command(compiler, folder / f"{i}.cpp", "-c", "-o", str(folder / "out.o"))))
            if sys.stderr.isatty():
                print(f"\r{compiler}: {name:<60}", end="", file=sys.stderr)
    for name in sources:
        figures[name]["seconds"] = statistics.median(seconds[name])
    if compiler != "nvcc":
        figures["precompiled"] = measure_precompiled(compiler, runs, folder)
    return figures


def precompile(compiler, folder):
    """Options that take the umbrella precompiled, and the command that makes it."""
    header = folder / "umbrella.hpp"
    header.write_text(f"#include <{HEADERS[0]}>\n")
    made = folder / ("umbrella.hpp.pch" if "clang" in compiler else "umbrella.hpp.gch")
    take = ["-include-pch", str(made)] if "clang" in compiler else ["-include", str(header)]
    # clang makes in it what it would make at the end of each file; g++ always does.
    more = ["-fpch-instantiate-templates"] if "clang" in compiler else []
    return take, [compiler, "-std=c++20", "-O0", f"-I{INCLUDE}", *more, "-x", "c++-header", str(header), "-o", str(made)]


def measure_precompiled(compiler, runs, folder):
    take, make = precompile(compiler, folder)
    source = folder / "empty.cpp"
    source.write_text("int main() {}\n")
    made, taken = [], []
    for _ in range(runs):
        made.append(seconds_of(make))
        taken.append(seconds_of(command(compiler, source, "-c", "-o", str(folder / "out.o"), *take)))
    return {"make_seconds": statistics.median(made), "seconds": statistics.median(taken)}


def quick(compiler):
    """Seconds of one compile of each header, and of the umbrella's standard headers."""
    texts = {header: f"#include <{header}>\n" for header in HEADERS}
    texts["its standard headers alone"] = "".join(f"#include <{name}>\n" for name in sorted(reached(HEADERS[0], set())))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.cpp"

        def seconds(text):
            path.write_text(text)
            return seconds_of(command(compiler, path, "-c", "-o", f"{folder}/out.o"))

        seconds("")  # what is read once from disk
        nothing = seconds("")
        print(f"seconds that including adds to a compile by {compiler} -O0 (one run each, so rough)")
        for name, text in texts.items():
            print(f"{name.removeprefix('dpgather/'):<32}{seconds(text) - nothing:>8.2f}")
        adds = measure_precompiled(compiler, 1, Path(folder))["seconds"] - nothing
        print(f"{'dpgather.hpp, precompiled':<32}{adds:>8.2f}")


def table(compiler, figures):
    nothing = figures["nothing"]
    print(f"\n{compiler}, median seconds of a compile; an empty file takes {nothing['seconds']:.2f}")
    print(f"{'header':<32}{'adds':>8}{'beyond std':>12}{'lines':>10}{'of std':>10}{'bytes added':>13}")
    for header in HEADERS:
        own, standard = figures[header], figures["standard headers of " + header]
        print(f"{header.removeprefix('dpgather/'):<32}{own['seconds'] - nothing['seconds']:>8.2f}"
              f"{own['seconds'] - standard['seconds']:>12.2f}{own['lines']:>10,}{standard['lines']:>10,}"
              f"{own['bytes'] - nothing['bytes']:>13,}")
    if "precompiled" in figures:
        taken = figures["precompiled"]
        print(f"{'dpgather.hpp, precompiled':<32}{taken['seconds'] - nothing['seconds']:>8.2f}"
              f"   (made in {taken['make_seconds']:.1f} s)")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compiler", action="append")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    if options.runs < 1 or options.runs > 100:
        parser.error(f"--runs is {options.runs}, must be 1 to 100")
    if options.quick:
        for compiler in options.compiler or ["g++"]:
            if shutil.which(compiler) is None:
                print(f"{compiler}: left out, it is not there")
            else:
                quick(compiler)
        return
    results = {}
    for compiler in options.compiler or ["g++", "clang++", "nvcc"]:
        if shutil.which(compiler) is None:
            print(f"{compiler}: left out, it is not there")
            continue
        with tempfile.TemporaryDirectory() as folder:
            results[compiler] = measure(compiler, options.runs, Path(folder))
        table(compiler, results[compiler])
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
