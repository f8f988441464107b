"""Parameters from measured times, and predictions beside them. Reads the JSON of gather_perf: `results`, each with what
(all_gather, ..., gather, back), mode, counts, ranks, bytes (of all rows), time_us; `comm` picks one communicator."""

import itertools
from dataclasses import replace

from .costs import Collectives
from common.bad_input import BadInput

from .machine import Link, number, read_json
from .modes import MODES, seconds

COLLECTIVES = {"all_gather": "max_len", "reduce_scatter": "max_len", "all_reduce": "sum_len_all_reduce",
               "all_gather_v": "sum_len_all_gather_v", "reduce_scatter_v": "sum_len_all_gather_v"}
BACK = ["reduce_scatter", "reduce_scatter_v", "back"]


def spread(counts, total, ranks):
    """Bytes of each rank as gather_perf spreads them; None where only it knows."""
    shares = {"even": [1] * ranks, "linear": list(range(1, ranks + 1)), "one_hot": [1] + [0] * (ranks - 1)}.get(counts)
    return shares and [total * share / sum(shares) for share in shares]


def samples(path, comm=None):
    """(mode, back, counts, blocks, seconds) of what the model knows about, and how many results were left out."""
    read = read_json(path)
    if not isinstance(read, dict) or not isinstance(read.get("results"), list):
        raise BadInput(f"{path}: results is missing, must be a list")
    taken, left_out = [], 0
    for at, result in enumerate(read["results"]):
        where = f"{path}: result {at}"
        if not isinstance(result, dict):
            raise BadInput(f"{where}: is {result!r}, must be an object")
        what = result.get("what")
        mode = result.get("mode") if what in ("gather", "back") else COLLECTIVES.get(what)
        if mode not in MODES or comm not in (None, result.get("comm")):
            left_out += 1
            continue
        ranks = number(where, result, "ranks", 1, 4096, whole=True)
        total = number(where, result, "bytes", 0, 1e15)
        time = number(where, result, "time_us", 1e-6, 1e12) * 1e-6
        blocks = spread(result.get("counts", "even"), total, ranks)
        if blocks is None or ranks == 1 or total == 0:
            left_out += 1
            continue
        taken.append((mode, what in BACK, result.get("counts", "even"), blocks, time))
    return taken, left_out


def least_squares(rows, values):
    """Coefficients >= 0 with the least sum of squares; of so few, every set that may be above 0 is tried."""
    unknowns = len(rows[0])
    best = None
    for size in range(1, unknowns + 1):
        for chosen in itertools.combinations(range(unknowns), size):
            solved = solve([[sum(row[i] * row[j] for row in rows) for j in chosen] for i in chosen],
                           [sum(row[i] * value for row, value in zip(rows, values)) for i in chosen])
            if solved is None or min(solved) < 0:
                continue
            full = [0.0] * unknowns
            for at, value in zip(chosen, solved):
                full[at] = value
            off = sum((sum(a * b for a, b in zip(row, full)) - value) ** 2 for row, value in zip(rows, values))
            if best is None or off < best[0]:
                best = (off, full)
    return best and best[1]


def solve(matrix, right):
    """Gauss with pivots, on columns scaled to 1; None: singular."""
    scale = [matrix[i][i] ** 0.5 for i in range(len(right))]
    if min(scale) == 0:
        return None
    rows = [[matrix[i][j] / scale[i] / scale[j] for j in range(len(right))] + [right[i] / scale[i]]
            for i in range(len(right))]
    for at in range(len(rows)):
        pivot = max(range(at, len(rows)), key=lambda i: abs(rows[i][at]))
        if abs(rows[pivot][at]) < 1e-12:
            return None
        rows[at], rows[pivot] = rows[pivot], rows[at]
        for i in range(len(rows)):
            if i != at:
                factor = rows[i][at] / rows[at][at]
                rows[i] = [a - factor * b for a, b in zip(rows[i], rows[at])]
    return [rows[i][-1] / rows[i][i] / scale[i] for i in range(len(rows))]


def calibrate(machine, path, comm=None, how="ring"):
    """`machine` with alpha, beta and gamma of the links that samples of collectives by `how` are about, by least squares
    of relative errors: in even counts alone, so that what is ragged is left to judge the model by."""
    taken, _ = samples(path, comm)
    taken = [s for s in taken if s[2] == "even" and s[0] != "sum_len_peer_store" and s[0] != "sum_len_hierarchical"]
    adds = any(s[1] or s[0] == "sum_len_all_reduce" for s in taken)
    fitted = machine
    for name in ["inside", "between"]:
        of_link = [s for s in taken if (machine.hosts(len(s[3])) == 1) == (name == "inside")]
        if not of_link:
            continue
        if len({(len(s[3]), sum(s[3])) for s in of_link}) < 2:
            raise BadInput(f"{path}: needs at least two sizes with even counts to fit {name}")
        rows = []
        for mode, back, _, blocks, time in of_link:
            units = []
            for alpha, beta, gamma in [(1, 0, 0), (0, 1, 0), (0, 0, 1)][:3 if adds and name == "inside" else 2]:
                unit = replace(machine, inside=Link(alpha, beta), between=Link(alpha, beta), gamma=gamma)
                units.append(predicted(unit, mode, how, blocks, back) / time)
            rows.append(units)
        found = least_squares(rows, [1.0] * len(rows))
        if found is None:
            raise BadInput(f"{path}: its times fit no alpha and beta of {name}")
        fitted = replace(fitted, **{name: Link(found[0], found[1])})
        if len(found) == 3:
            fitted = replace(fitted, gamma=found[2])
    if fitted is machine:
        raise BadInput(f"{path}: has no collective with even counts")
    return fitted


def predicted(machine, mode, how, blocks, back):
    if mode == "sum_len_all_reduce":  # without the choice that a tree makes, which is not linear
        return Collectives(machine, len(blocks)).all_reduce(how, sum(blocks))
    return seconds(machine, mode, how, blocks, back)


def compare(machine, path, comm=None):
    """A row for each sample: mode, direction, counts, ranks, bytes, measured and predicted seconds; and how many were left
    out."""
    taken, left_out = samples(path, comm)
    rows = []
    for mode, back, counts, blocks, time in taken:
        ways = [seconds(machine, mode, how, blocks, back) for how in MODES[mode]]
        if None in ways:
            left_out += 1
            continue
        rows.append({"mode": mode, "direction": "back" if back else "out", "counts": counts, "ranks": len(blocks),
                     "bytes": sum(blocks), "measured_us": time * 1e6, "predicted_us": min(ways) * 1e6})
    return rows, left_out
