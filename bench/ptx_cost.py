#!/usr/bin/env python3
"""Instructions and bytes of the library's kernels, counted from their PTX: nothing runs, no GPU is needed.

usage: bench/ptx_cost.py [--arch sm_90]... [--type bf16] [--width H]... [--json FILE]
       bench/ptx_cost.py --ptx FILE     kernels of a file of PTX, in place of compiling

Two tables for each architecture; of all but the first, only what differs from the first. One of loops: a trip of the
loop that rows go through, and its instructions for each 16 bytes of a row. One of rows: the fewest instructions in which
the lanes of a row move it whole, 16 bytes at a time; `once` is before the first row of a thread, "trips by data" what
each trip adds of loops whose trips data decides. Sums are of one rank: each further one adds the loop's "/16 B".
tools/ptx/cost.py says how it is counted. Without nvcc nothing is done.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
from ptx import cost, kernels  # noqa: E402
from ptx.kernels import BadInput  # noqa: E402

SOURCE = ROOT / "tests/device_code/kernels.cu"
SIZES = {"bf16": 2, "fp16": 2, "float": 4, "double": 8, "int": 4, "long": 8}
BITS = {2: "unsigned short", 4: "unsigned int", 8: "unsigned long"}  # CopyBlocks is for the elements' bits
# Bodies whose row is a chunk of flat memory: where it is written how long.
CHUNK_BYTES = {"CopyBlocks": "comm/thread/device/bodies.hpp", "SumRanks": "comm/thread/device/bodies.hpp"}
CHUNK_ELEMENTS = "pad/elements.hpp"


def chunk_of(kernel, size):
    """(bytes of the chunk that is one row of the launch, bytes that its lanes are chosen by), or None: a row of H elements."""
    if kernel.chunked:
        name, header = "ChunkBody", CHUNK_ELEMENTS
    elif kernel.kind in CHUNK_BYTES:
        name, header = kernel.kind, CHUNK_BYTES[kernel.kind]
    else:
        return None
    text = (ROOT / "include/dpgather" / header).read_text(encoding="utf-8")
    found = re.search(r"struct " + name + r" \{.*?\bchunk = (\d+)( / sizeof)?", text, re.DOTALL)
    if not found:
        raise BadInput(f"{header}: {name} does not say how long its chunk is")
    number = int(found.group(1))
    return (number, number) if found.group(2) else (number * size, number * 4)


def loop_figures(loop, trip):
    return {"loads": {str(size): n for size, n in sorted(trip.loads.items())},
            "stores": {str(size): n for size, n in sorted(trip.stores.items())},
            "classes": trip.classes, "instructions": trip.instructions, "bytes": trip.loaded + trip.stored,
            "pieces": trip.pieces, "per_16_bytes": trip.instructions * cost.PIECE / trip.moved,
            "under_predicate": trip.maybe, "loops_inside": len(loop.inside)}


def row_figures(kernel, body, size, widths):
    """Rows that are copied or added, and rows that are zeroed, of each width."""
    found = []
    for what, loads_too in (("moved", True), ("zeroed", False)):
        for width in widths:
            row_bytes, chunk = width * size, chunk_of(kernel, size)
            at_once, by = chunk or (row_bytes, row_bytes)
            row = cost.of_row(body, loads_too, at_once, cost.lanes_of(by))
            if row is not None:
                found.append({"what": what, "width": width, "lanes": cost.lanes_of(by), "chunk": chunk[0] if chunk else None,
                              "lane": list(row.lane), "instructions": row.instructions * row_bytes / at_once,
                              "per_piece": row.instructions / (at_once // cost.PIECE),
                              "read": row.read * row_bytes // at_once, "written": row.written * row_bytes // at_once,
                              "least": (1 + loads_too) * row_bytes, "beside": [list(each) for each in row.beside]})
    return found


def figures_of(kernel, size, widths):
    try:
        body = cost.Body(kernel.text)
    except BadInput as error:
        raise BadInput(f"{kernel.label}: {error}") from None
    once = body.once()
    return {"kernel": kernel.label, "of_rows": bool(kernel.types), "registers": kernel.registers, "spills": kernel.spills,
            "loops": [loop_figures(loop, trip) for loop, trip in body.moving()],
            "once": once and once.instructions, "divisions_once": once and once.divisions,
            "trips_by_data": [count.instructions for count in body.beside()], "rows": row_figures(kernel, body, size, widths)}


def compiled(compiler, architecture):
    """(PTX, report of ptxas)."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([compiler, *kernels.flags(architecture, folder, folder + "/kernels.cubin"), f"-I{ROOT / 'include'}",
                               str(SOURCE)], capture_output=True, text=True)
        if done.returncode != 0:
            raise BadInput(f"{compiler} for {architecture}: {(done.stdout + done.stderr).strip()}")
        return next(iter(sorted(Path(folder).glob("*.ptx")))).read_text(encoding="utf-8"), done.stdout + done.stderr


def accesses(of):
    return " ".join(f"{n}x{size}" for size, n in of.items()) or "-"


def ptxas(each):
    """Of registers and spilled bytes, as far as they are known."""
    return "?" if each["registers"] is None else each["registers"], "?" if each["spills"] is None else sum(each["spills"])


def print_loops(figures):
    print(f"{'loop of':<34}{'loads':>10}{'stores':>8}{'arithmetic':>12}{'address':>9}{'control':>9}{'other':>7}{'in all':>8}{'bytes':>7}"
          f"{'/16 B':>8}{'registers':>11}{'spills':>8}")
    for each in figures:
        registers, spills = ptxas(each)
        if not each["loops"]:
            print(f"{each['kernel']:<34}{'no loop accesses global memory':>78}{registers:>11}{spills:>8}")
            continue
        loop = each["loops"][0]
        classes = loop["classes"]
        mark = ("*" if loop["loops_inside"] else "") + ("?" if loop["under_predicate"] else "")
        print(f"{each['kernel'] + mark:<34}{accesses(loop['loads']):>10}{accesses(loop['stores']):>8}{classes['arithmetic']:>12}"
              f"{classes['address']:>9}{classes['control']:>9}{classes['other']:>7}{loop['instructions']:>8}{loop['bytes']:>7}"
              f"{loop['per_16_bytes']:>8.1f}{registers:>11}{spills:>8}")
    if any(each["loops"] and each["loops"][0]["loops_inside"] for each in figures):
        print("* has loops inside whose trips data decides: the shortest way through is counted")
    if any(each["loops"] and each["loops"][0]["under_predicate"] for each in figures):
        print("? accesses under a predicate are counted as if they always happened")


def print_rows(figures, widths):
    head = "".join(f"{f'lane, H={width}':>16}{'row':>9}{'/16 B':>7}" for width in widths)
    print(f"{'row of':<36}{'':<7}{'once':>5}{'div':>5}{head}{'bytes/least':>13}{'beside, a lane':>16}  trips by data")
    for each in figures:
        rows = each["rows"]
        for what in dict.fromkeys(row["what"] for row in rows):
            by_width = {row["width"]: row for row in rows if row["what"] == what}
            line = ""
            for width in widths:
                row = by_width.get(width)
                if row is None:
                    line += f"{'?':>16}{'?':>9}{'?':>7}"
                else:
                    low, high = row["lane"]
                    lane = str(low) if low == high else f"{low}-{high}"
                    line += f"{lane:>16}{row['instructions']:>9,.0f}{row['per_piece']:>7.1f}"
            row = next(iter(by_width.values()))
            excess = (row["read"] + row["written"]) / row["least"]
            beside = " ".join(f"{n}x{size}" for n, size in row["beside"]) or "-"
            trips = ", ".join(f"+{n}" for n in each["trips_by_data"]) or "-"
            once, divisions = ("?", "?") if each["once"] is None else (each["once"], each["divisions_once"])
            name = each["kernel"] + (" (chunk)" if row["chunk"] else "")
            print(f"{name:<36}{what:<7}{once:>5}{divisions:>5}{line}{excess:>13.2f}{beside:>16}  {trips}")
    narrow = [each["kernel"] for each in figures if not each["rows"]]
    if narrow:
        print(f"not 16 bytes at a time, so without a figure for a row: {', '.join(narrow)}")


def differing(figures, first, keys):
    """Those of `figures` that differ in `keys` from what `first` has of the same kernel."""
    known = {each["kernel"]: [each[key] for key in keys] for each in first}
    return [each for each in figures if known.get(each["kernel"]) != [each[key] for key in keys]]


def print_tables(title, figures, reference, first, widths):
    """Of what differs from `first`, which is of the architecture `reference`; all of it if that is empty."""
    rows = [each for each in figures if each["of_rows"]]
    loops = differing(rows, first, ["loops", "registers", "spills"])
    of_rows = differing(rows, first, ["rows", "once", "trips_by_data"])
    print(f"{title}: counted from PTX, not timed"
          + (f"; {len(rows) - len(loops)} loops and {len(rows) - len(of_rows)} rows of {len(rows)} are as for {reference} and not shown" if first else ""))
    if loops:
        print_loops(loops)
    if of_rows:
        print_rows(of_rows, widths)
    words = [each for each in figures if not each["of_rows"]]
    if words:
        print("no rows: " + ", ".join(f"{each['kernel']} (registers {ptxas(each)[0]}, spills {ptxas(each)[1]})" for each in words))
    print()


def shown(kernel, type_name):
    """Bodies of that type of elements, and those of none."""
    return kernel.types in ("", type_name) or (kernel.kind == "CopyBlocks" and kernel.types == BITS[SIZES[type_name]])


def run(options):
    widths, size = options.width or [1024, 7168], SIZES[options.type]
    for width in widths:
        if width * size % cost.PIECE:
            raise BadInput(f"--width is {width}, must be a multiple of {cost.PIECE // size}: other rows are moved element by element")
    compiler = options.compiler or kernels.find_nvcc()
    if options.ptx is None and compiler is None:
        print("ptx_cost: left out, there is no nvcc on PATH or in /usr/local/cuda/bin")
        return
    results = {}
    for architecture in [None] if options.ptx else dict.fromkeys(options.arch or kernels.ARCHITECTURES):
        if options.ptx:
            try:
                ptx, report = options.ptx.read_text(encoding="utf-8"), ""
            except (OSError, UnicodeDecodeError) as error:
                raise BadInput(f"--ptx: cannot read {options.ptx}: {getattr(error, 'strerror', None) or 'it is no text'}") from None
            target = re.search(r"^\.target\s+(\w+)", ptx, re.MULTILINE)
            if not target:
                raise BadInput(f"--ptx: {options.ptx} is no PTX: it has no .target")
            architecture = target.group(1)
        else:
            if sys.stderr.isatty():
                print(f"\rcompiling for {architecture:<10}", end="", file=sys.stderr, flush=True)
            try:
                ptx, report = compiled(compiler, architecture)
            except OSError as error:
                raise BadInput(f"--compiler: cannot run {compiler}: {error.strerror}") from None
            if sys.stderr.isatty():
                print("\r" + " " * 24 + "\r", end="", file=sys.stderr, flush=True)
        figures = [figures_of(kernel, size, widths) for kernel in kernels.kernels_of(ptx, report) if shown(kernel, options.type)]
        if not figures:
            raise BadInput(f"--ptx: {options.ptx} has no kernel of the library for {options.type}")
        results[architecture] = figures
        reference = next(iter(results))
        print_tables(f"{architecture}, {options.type}", figures, reference, [] if architecture == reference else results[reference], widths)
    if options.json:
        try:
            options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise BadInput(f"--json: cannot write {options.json}: {error.strerror}") from None


def width_of(text):
    if not text.isdecimal() or not 1 <= int(text) <= 1 << 20:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 1 to {1 << 20}")
    return int(text)


def architecture_of(text):
    if not re.fullmatch(r"sm_\d+[af]?", text):
        raise argparse.ArgumentTypeError(f"'{text}' is no architecture such as sm_90")
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", action="append", type=architecture_of, help=f"default: {', '.join(kernels.ARCHITECTURES)}")
    parser.add_argument("--type", choices=SIZES, default="bf16", help="of the rows' elements (default: bf16)")
    parser.add_argument("--width", action="append", type=width_of, metavar="H", help="elements of a row (default: 1024 and 7168)")
    parser.add_argument("--compiler", help="nvcc")
    parser.add_argument("--ptx", type=Path, metavar="FILE")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.ptx and (options.arch or options.compiler):
        parser.error("--ptx compiles nothing: --arch and --compiler have no meaning with it")
    try:
        run(options)
    except BadInput as error:
        print(f"ptx_cost: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
