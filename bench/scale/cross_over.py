"""Which mode wins, by the bytes of a step and its skew, and where one takes over from another."""

from .modes import MODES, best

IN_GRAPHS = [mode for mode in MODES if mode != "sum_len_all_gather_v"]  # whose counts are baked
SKEWS = [1, 1.1, 1.25, 1.5, 2, 2.5, 3, 4, 6, 8, 12, 16, 32, 64]
SIZES = [1 << k for k in range(10, 31)]  # bytes of all ranks together


def skewed(ranks, total, skew):
    """Counts of `total` whose longest is `skew` times the mean; the others are alike. `skew` at most `ranks`."""
    longest = total * skew / ranks
    return [longest] + [(total - longest) / (ranks - 1)] * (ranks - 1)


def winner(machine, ranks, total, skew, modes):
    """(mode, seconds) of a step without FFN"""
    ways = [(best(machine, mode, skewed(ranks, total, skew), 1), mode) for mode in modes]
    return min((way[0], mode) for way, mode in ways if way)[::-1]


def cross_overs(machine, ranks, modes):
    """For each skew the winners from few bytes to many: [(skew, [(from these bytes on, mode), ...]), ...]; where one takes
    over is found to 1 % by bisection."""
    found = []
    for skew in (skew for skew in SKEWS if skew <= ranks):
        at, runs = SIZES[0], [(SIZES[0], winner(machine, ranks, SIZES[0], skew, modes)[0])]
        for size in SIZES[1:]:
            mode = winner(machine, ranks, size, skew, modes)[0]
            if mode != runs[-1][1]:
                low, high = at, size
                while high > 1.01 * low:
                    middle = (low * high) ** 0.5
                    if winner(machine, ranks, middle, skew, modes)[0] == runs[-1][1]:
                        low = middle
                    else:
                        high = middle
                runs.append((round(high), mode))
            at = size
        found.append((skew, runs))
    return found
