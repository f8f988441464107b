#!/usr/bin/env python3
"""Compiles every kernel for each architecture and reads what came out: PTX and the report of ptxas.

Rules: no warning; no spill, no stack frame, no local memory anywhere in kernels of the library; kernels that copy or add
rows can move a piece of 16 bytes by one load and one store and nothing narrower, those that only write by one store;
kernels that wait for other devices load in a loop with acquire, and store with release, both at system scope; what some
of them do is right when their PTX is executed, instruction by instruction (executed.py).
With --table it prints registers and accesses of each kernel instead of judging. How PTX is read is in tools/ptx.
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "tools")]
from compile import Compiler  # noqa: E402
from executed import judge_executed  # noqa: E402
from ptx.cost import PIECE, Body  # noqa: E402
from ptx.kernels import ARCHITECTURES, BadInput, flags, kernels_of  # noqa: E402

COPY = {"SelectOwnRow", "SelectFromBlock", "PlaceOwnRow", "CompactSlots", "CompactRow", "CopyAndFill", "Save",
        "Restore", "CopyBlocks", "SumRanks", "CopyRow", "StoreToPeers", "PullAndAdd", "StoreToLeader", "PullAll",
        "AddOnHost", "PullOwn"}
# May zero a row as well.
WRITE = {"ZeroPadRow", "SelectOwnRow", "SelectFromBlock", "PlaceOwnRow", "CompactRow", "PullAndAdd", "PullAll", "PullOwn"}
WAIT = {"EpochBarrier"}
ACQUIRE = "ld.acquire.sys.global.u32"
RELEASE = "st.release.sys.global.u32"
LOCAL = re.compile(r"\b(?:ld|st)\.local\b")


def spins(body):
    """Is there a loop that loads with acquire and reads the clock?"""
    for loop in body.loops:
        inside = [instruction for number in loop.blocks for instruction in body.blocks[number].instructions]
        if any(i.opcode == ACQUIRE for i in inside) and any("%globaltimer" in i.operands for i in inside):
            return True
    return False


def judge_body(kernel, body):
    """(what is wrong, accesses of 16 bytes or more: (loads, stores))."""
    wrong = []
    if kernel.kind in COPY and body.least(1, 1) is None:
        wrong.append("no way to copy 16 bytes by one load and one store")
    if kernel.kind in WRITE and body.least(0, 1) is None:
        wrong.append("no way to write 16 bytes by one store")
    if kernel.kind in WAIT and not spins(body):
        wrong.append("no loop that loads with acquire at system scope and looks at the clock")
    if kernel.kind in WAIT and not any(i.opcode == RELEASE for block in body.blocks for i in block.instructions):
        wrong.append("no store with release at system scope")
    count = body.count(range(len(body.blocks)))
    wide = [sum(n for size, n in of.items() if size >= PIECE) for of in (count.loads, count.stores)]
    return wrong, wide


def judge(ptx, report):
    """(what is wrong, rows of the table)."""
    wrong, table = [], []
    seen = set()
    for kernel in kernels_of(ptx, report):
        seen.add(kernel.kind)
        found = []
        if kernel.spills is None:
            found.append("ptxas says nothing of it")
        elif any(kernel.spills):
            found.append("%d bytes stack frame, %d bytes spill stores, %d bytes spill loads" % kernel.spills)
        if LOCAL.search(kernel.text):
            found.append("uses local memory")
        wide = ["?", "?"]
        try:
            more, wide = judge_body(kernel, Body(kernel.text))
            found += more
        except BadInput as error:
            found.append(str(error))
        wrong += [f"{kernel.label}: {what}" for what in found]
        registers = "?" if kernel.registers is None else kernel.registers
        table.append((kernel.label, registers, *wide))
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
        rows = []

        def verdict(code, output):
            if code:
                return output
            # The report of the same run that made the cubin; PTX is what it kept on the way.
            kept = next(iter(sorted((args.work / architecture).glob("*.ptx"))))
            kept.replace(ptx)
            written = ptx.read_text(encoding="utf-8")
            wrong, table = judge(written, output)
            wrong += judge_executed(kernels_of(written))
            rows.extend(table)
            return "\n".join(wrong) if wrong else None

        (args.work / architecture).mkdir(parents=True, exist_ok=True)
        for old in (args.work / architecture).glob("*"):
            old.unlink()
        command = ["-Werror", "all-warnings", "-Xcompiler", "-Wall,-Wextra,-Wno-parentheses",
                   *flags(architecture, args.work / architecture, cubin)]
        judges = [*sorted(pathlib.Path(__file__).parent.glob("*.py")), *sorted((ROOT / "tools" / "ptx").glob("*.py"))]
        judged_by = "".join(path.read_text(encoding="utf-8") for path in judges) + str(args.table)
        wrong, cached = compiler.compile(architecture, ".cu", text, command, verdict, judged_by)
        return architecture, wrong, cached, rows

    failed = False
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for architecture, wrong, cached, rows in pool.map(run, ARCHITECTURES):
            if args.table:
                for label, registers, loads, stores in sorted(rows):
                    print(f"{architecture:8} {label:40} {registers:>4} registers {loads:>3} loads {stores:>3} stores")
            if wrong is not None:
                failed = True
                print(f"FAILED: {architecture}\n{wrong}")
            else:
                print(f"{architecture}: " + ("unchanged since it passed" if cached else f"{len(rows)} kernels"))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
