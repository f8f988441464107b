#!/usr/bin/env python3
"""A MODEL, not a measurement: seconds of a step by latency and bandwidth, for each mode of the library.

usage: bench/scale_model.py [--parameters FILE] [--counts FILE]... [--json FILE] [--plot FILE.svg]
       bench/scale_model.py --calibrate FILE [--measured FILE]

--counts takes what `serve_trace --dry-run --counts FILE` wrote, with 1 to 4,096 ranks, and prints for each mode the mean
predicted time of a live step, by the fastest of its collectives, and the rows it moves. --cross-over and --plot say for
how many ranks, bytes and which skew (longest rank by mean) which mode is the fastest, eager and in graphs, which
all-gather-v is not for. Formulas and their sources are in
bench/scale/costs.py and modes.py; parameters in bench/scale/machine.py.
"""

import argparse
import csv
import dataclasses
import json
import statistics
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
from common.bad_input import BadInput  # noqa: E402
from common.gnuplot import draw  # noqa: E402
from scale.cross_over import IN_GRAPHS, cross_overs  # noqa: E402
from scale.fit import calibrate, compare  # noqa: E402
from scale.machine import DEFAULT, MOST_RANKS, machine, read_machine  # noqa: E402
from scale.modes import MODES, best, rows_moved  # noqa: E402


def read_counts(path, most_steps):
    """(ranks, live steps that have rows); at most `most_steps`, evenly spread, if there are more."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            lines = csv.reader(file)
            header = next(lines, [])
            ranks = len(header) - 2
            if header != ["live", "forward"] + [str(rank) for rank in range(ranks)] or not 1 <= ranks <= MOST_RANKS:
                raise BadInput(f"{path}:1: is not the header that serve_trace --counts writes, for 1 to {MOST_RANKS} ranks")
            steps = []
            for at, line in enumerate(lines, 2):
                if len(line) != len(header) or line[0] not in ("0", "1") or not all(c.isdecimal() for c in line[2:]):
                    raise BadInput(f"{path}:{at}: must be 0 or 1, a forward mode and {ranks} whole numbers")
                if line[0] == "1":
                    counts = [int(count) for count in line[2:]]
                    if any(counts):
                        steps.append(counts)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadInput(f"{path}: is no text") from None
    if not steps:
        raise BadInput(f"{path}: has no live step with rows")
    every = max(1, -(-len(steps) // most_steps))
    return ranks, steps[::every]


def judge(parameters, path, options):
    """One file of counts: a row for each mode that goes there, the fastest first."""
    ranks, steps = read_counts(path, options.most_steps)
    parameters.hosts(ranks)
    rows = []
    for mode in MODES:
        ways = [best(parameters, mode, counts, options.row_bytes) for counts in steps]
        if None in ways:
            continue
        by = [how for _, how in ways]
        rows.append({"mode": mode, "ranks": ranks, "by": statistics.mode(by), "by_share": by.count(statistics.mode(by)) / len(by),
                     "step_us": statistics.fmean(seconds for seconds, _ in ways) * 1e6,
                     "rows_moved_per_row": sum(rows_moved(mode, counts) for counts in steps) / sum(map(sum, steps))})
    skew = statistics.fmean(max(counts) * ranks / sum(counts) for counts in steps)
    return {"file": Path(path).name, "ranks": ranks, "steps": len(steps), "rows_per_step": sum(map(sum, steps)) / len(steps),
            "skew": skew, "modes": sorted(rows, key=lambda row: row["step_us"])}


def print_judged(judged):
    print("\n| ranks | rows a step | skew | mode | by (of its steps) | model: us a step, out and back | rows moved out per row |")
    print("|---|---|---|---|---|---|---|")
    for of_file in judged:
        for row in of_file["modes"]:
            print(f"| {row['ranks']} | {of_file['rows_per_step']:,.0f} | {of_file['skew']:.2f} | `{row['mode']}` "
                  f"| {row['by']} ({row['by_share']:.0%}) | {row['step_us']:,.1f} | {row['rows_moved_per_row']:.2f} |")


def print_cross_overs(where, found):
    print(f"\n| ranks, {where} | longest / mean | fastest in the model, from so many bytes of all ranks on |")
    print("|---|---|---|")
    for ranks, by_skew in found.items():
        for skew, runs in by_skew:
            print(f"| {ranks} | {skew:g} | " + ", ".join(f"{size:,}: `{mode}`" for size, mode in runs) + " |")


def plot(path, found):
    """A panel for each number of ranks: lines where a mode takes over, over skew and bytes."""
    columns = min(3, len(found))
    lines = -(-len(found) // columns)
    script = [f"set multiplot layout {lines},{columns} title 'Model: where a mode becomes the fastest in graphs'", "set logscale xy",
              "set xlabel 'longest rank / mean'", "set ylabel 'bytes of all ranks'", "set grid", "set xrange [1:64]",
              "set yrange [1e3:1.1e9]", "set format y '10^{%T}'", "set key top right font ',8'", "set pointsize 0.5"]
    for ranks, by_skew in found.items():
        curves, drawn = {}, []
        for skew, runs in by_skew:
            for (_, before), (size, mode) in zip(runs, runs[1:]):
                curves.setdefault(f"{before} to {mode}".replace("sum_len_", ""), []).append((skew, size))
        for at, points in enumerate(curves.values()):
            script += [f"undefine $curve{at}", f"$curve{at} << EOD"] + [f"{skew} {size}" for skew, size in sorted(points)] + ["EOD"]
        first = by_skew[0][1][0][1]
        drawn = [f"$curve{at} with linespoints lw 2 title '{name}' noenhanced" for at, name in enumerate(curves)]
        script += [f"set title '{ranks} ranks; fewest bytes: {first}' noenhanced",
                   "plot " + ", ".join(drawn or [f"NaN title '{first} throughout' noenhanced"])]
    draw(path, script + ["unset multiplot"], (400 * columns, 330 * lines))


def print_compared(rows, left_out):
    print("\n| mode | direction | counts | ranks | bytes | measured us | model us | model / measured |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        print(f"| `{row['mode']}` | {row['direction']} | {row['counts']} | {row['ranks']} | {row['bytes']:,.0f} "
              f"| {row['measured_us']:.1f} | {row['predicted_us']:.1f} | {row['predicted_us'] / row['measured_us']:.2f} |")
    if rows:
        print("\n| mode | direction | counts | model / measured: least, median, most |")
        print("|---|---|---|---|")
        of_kind = {}
        for row in rows:
            of_kind.setdefault((row["mode"], row["direction"], row["counts"]), []).append(row["predicted_us"] / row["measured_us"])
        for (mode, direction, counts), ratios in of_kind.items():
            print(f"| `{mode}` | {direction} | {counts} | {min(ratios):.2f}, {statistics.median(ratios):.2f}, {max(ratios):.2f} |")
        off = sorted(max(row["predicted_us"], row["measured_us"]) / max(1e-9, min(row["predicted_us"], row["measured_us"]))
                     for row in rows)
        print(f"\nof {len(rows)}: median off by a factor of {statistics.median(off):.2f}, worst {off[-1]:.2f}; "
              f"{left_out} results are none that the model knows of")


def run(options):
    parameters = read_machine(options.parameters) if options.parameters else machine(DEFAULT)
    if options.calibrate:
        parameters = calibrate(parameters, options.calibrate, options.comm, options.fit)
    results = {"model": True, "parameters": dataclasses.asdict(parameters), "row_bytes": options.row_bytes}
    print("MODEL with", json.dumps(results["parameters"]))
    if options.counts:
        results["counts"] = [judge(parameters, path, options) for path in options.counts]
        print_judged(results["counts"])
    if options.measured:
        rows, left_out = compare(parameters, options.measured, options.comm)
        results["measured"] = rows
        print_compared(rows, left_out)
    if options.plot or options.cross_over:
        results["cross_overs"] = {}
        many = options.cross_over or [2, 8, 16, 64, 512, 4096]
        for where, modes in [("eager", list(MODES)), ("in graphs", IN_GRAPHS)]:
            found = {ranks: cross_overs(parameters, ranks, modes) for ranks in many}
            results["cross_overs"][where] = found
            print_cross_overs(where, found)
        if options.plot:
            plot(options.plot, found)
    if options.json:
        try:
            options.json.write_text(json.dumps(results, indent=1) + "\n")
        except OSError as error:
            raise BadInput(f"--json: cannot write {options.json}: {error.strerror}") from None


def positive(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 1 on")
    return int(text)


def ranks_of(text):
    if positive(text) < 2:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 2 on: one rank moves nothing")
    return int(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parameters", help="JSON: inside and between {alpha, beta | busbw}, gamma, host_size, cards, ffn_row")
    parser.add_argument("--counts", action="append", default=[])
    parser.add_argument("--row-bytes", type=positive, default=14336, help="default: 7168 elements of 2 bytes")
    parser.add_argument("--most-steps", type=positive, default=300, help="of each file, evenly spread")
    parser.add_argument("--calibrate", metavar="FILE", help="fit alpha, beta and gamma to gather_perf's results")
    parser.add_argument("--fit", choices=["ring", "tree", "two_level"], default="ring", help="collectives that were timed")
    parser.add_argument("--measured", metavar="FILE", help="compare with gather_perf's results")
    parser.add_argument("--comm", help="only results of this communicator")
    parser.add_argument("--cross-over", type=ranks_of, action="append", metavar="RANKS")
    parser.add_argument("--plot", type=Path, help="draw the cross-overs in graphs into this SVG, by gnuplot")
    parser.add_argument("--json", type=Path)
    try:
        run(parser.parse_args())
    except BadInput as error:
        print(f"scale_model: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
