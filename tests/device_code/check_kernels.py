#!/usr/bin/env python3
"""Compiles every kernel for each architecture and reads what came out: PTX and the report of ptxas.

Rules: no warning; no spill, no stack frame, no local memory anywhere in kernels of the library; kernels that
copy rows load and store 16 bytes at a time, those that only write store 16 bytes at a time; kernels that wait for
other devices load in a loop with acquire, and store with release, both at system scope.
With --table it prints registers and accesses of each kernel instead of judging.
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "support"))
from compile import Compiler  # noqa: E402

ARCHITECTURES = ["sm_80", "sm_90", "sm_100"]
COPY = {"SelectOwnRow", "SelectFromBlock", "PlaceOwnRow", "CompactSlots", "CompactRow", "CopyAndFill", "Save",
        "Restore", "CopyBlocks", "SumRanks", "CopyRow", "StoreToPeers", "PullAndAdd"}
WRITE = {"ZeroPadRow"}
# Loads and stores of 16 bytes, as PTX spells them.
WIDE = r"(?:v4\.[a-z]?(?:32)|v2\.[a-z]?(?:64))"
LOAD16 = re.compile(r"\bld\.global(?:\.\w+)*?\." + WIDE)
STORE16 = re.compile(r"\bst\.global(?:\.\w+)*?\." + WIDE)
WAIT = {"EpochBarrier"}
ACQUIRE = "ld.acquire.sys.global.u32"
RELEASE = "st.release.sys.global.u32"
LOCAL = re.compile(r"\b(?:ld|st)\.local\b")


def demangled(names):
    done = subprocess.run(["c++filt", *names], capture_output=True, text=True, check=True)
    return dict(zip(names, done.stdout.splitlines()))


def body_of(name):
    """'CopyAndFill<float>' of 'void dpgather::detail::run_rows<dpgather::detail::ChunkBody<...>>(...)'."""
    inside = re.search(r"run_(?:rows|wait)<(.*)>\(", name)
    if not inside:
        return None
    words = [w for w in re.findall(r"\w+", inside.group(1)) if w not in ("dpgather", "detail", "ChunkBody")]
    return words[0], " ".join(words[1:])


def kernels_of(ptx):
    """Mangled name -> text of the kernel."""
    parts = re.split(r"^\.(?:visible|weak)? ?\.?entry ", ptx, flags=re.MULTILINE)[1:]
    return {re.match(r"\w+", part).group(0): part for part in parts}


def spins(text):
    """Is there a load with acquire between a label and a branch back to it, at the end of which the clock is read?"""
    for label in re.finditer(r"^(\$\w+):", text, flags=re.MULTILINE):
        back = re.search(r"\bbra(?:\.uni)?\s+" + re.escape(label.group(1)) + ";", text[label.end():])
        if back:
            loop = text[label.end():label.end() + back.start()]
            if ACQUIRE in loop and "%globaltimer" in loop:
                return True
    return False


def judge(ptx, report):
    """(what is wrong, rows of the table)."""
    wrong, table = [], []
    kernels = kernels_of(ptx)
    names = demangled(list(kernels))
    figures = dict(re.findall(r"Function properties for (\w+)\s+(.*?registers)", report, flags=re.DOTALL))
    seen = set()
    for mangled, text in kernels.items():
        body = body_of(names[mangled])
        if body is None:
            continue  # CUB's own
        kind, types = body
        seen.add(kind)
        label = f"{kind}<{types}>"
        properties = figures.get(mangled, "")
        spills = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", properties)
        if not spills:
            wrong.append(f"{label}: ptxas says nothing of it")
        elif any(int(n) for n in spills.groups()):
            wrong.append(f"{label}: {spills.group(0)}")
        if LOCAL.search(text):
            wrong.append(f"{label}: uses local memory")
        loads, stores = len(LOAD16.findall(text)), len(STORE16.findall(text))
        if kind in COPY and not loads:
            wrong.append(f"{label}: no 16-byte load")
        if kind in COPY | WRITE and not stores:
            wrong.append(f"{label}: no 16-byte store")
        if kind in WAIT and not spins(text):
            wrong.append(f"{label}: no loop that loads with acquire at system scope and looks at the clock")
        if kind in WAIT and RELEASE not in text:
            wrong.append(f"{label}: no store with release at system scope")
        registers = re.search(r"(\d+) registers", properties)
        table.append((label, registers.group(1) if registers else "?", loads, stores))
    missing = (COPY | WRITE | WAIT) - seen
    if missing:
        wrong.append(f"not compiled: {', '.join(sorted(missing))}")
    return wrong, table


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compiler", required=True, help="nvcc")
    parser.add_argument("--include", required=True, type=pathlib.Path)
    parser.add_argument("--work", required=True, type=pathlib.Path)
    parser.add_argument("--source", required=True, type=pathlib.Path)
    parser.add_argument("--table", action="store_true")
    args = parser.parse_args()
    compiler = Compiler(args.compiler, args.include, args.work)
    text = args.source.read_text(encoding="utf-8")

    def run(architecture):
        cubin = args.work / f"{architecture}.cubin"
        ptx = args.work / f"{architecture}.ptx"
        found, rows = [], []

        def verdict(code, output):
            if code:
                return output
            # The report of the same run that made the cubin; PTX is what it kept on the way.
            kept = next(iter(sorted((args.work / architecture).glob("*.ptx"))))
            kept.replace(ptx)
            wrong, table = judge(ptx.read_text(encoding="utf-8"), output)
            found.extend(wrong)
            rows.extend(table)
            return "\n".join(wrong) if wrong else None

        (args.work / architecture).mkdir(parents=True, exist_ok=True)
        for old in (args.work / architecture).glob("*"):
            old.unlink()
        flags = ["-std=c++20", f"-arch={architecture}", "-Werror", "all-warnings", "-Xcompiler",
                 "-Wall,-Wextra,-Wno-parentheses", "-Xptxas", "-v", "-keep", "-keep-dir",
                 str(args.work / architecture), "-cubin", "-o", str(cubin)]
        judged_by = pathlib.Path(__file__).read_text(encoding="utf-8") + str(args.table)
        wrong, cached = compiler.compile(architecture, ".cu", text, flags, verdict, judged_by)
        return architecture, wrong, cached, rows

    failed = False
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for architecture, wrong, cached, rows in pool.map(run, ARCHITECTURES):
            if args.table:
                for label, registers, loads, stores in sorted(rows):
                    print(f"{architecture:8} {label:40} {registers:>4} registers {loads:3} loads {stores:3} stores")
            if wrong is not None:
                failed = True
                print(f"FAILED: {architecture}\n{wrong}")
            else:
                print(f"{architecture}: " + ("unchanged since it passed" if cached else f"{len(rows)} kernels"))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
