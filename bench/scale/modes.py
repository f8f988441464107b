"""Seconds and rows of a step in each mode of the library, out and back, for the counts of its ranks."""

from .costs import Collectives, barrier, ring_gather, ring_scatter, tree_gather, tree_scatter

# Which collectives a mode may go by.
MODES = {
    "max_len": ["ring", "tree", "two_level"],
    "sum_len_all_reduce": ["ring", "tree", "two_level"],
    "sum_len_all_gather_v": ["ring", "tree", "two_level"],
    "sum_len_peer_store": ["stores"],
    "sum_len_hierarchical": ["ring", "tree"],  # among the leaders
}


# Every rank stores its block into p - 1 others, or pulls p - 1 parts of it and adds them, between two barriers
# (docs/peer_store.md). The longest rank sends (p - 1) blocks of its own through one link, which no ring does.
def stores(machine, blocks, adds):
    ranks = len(blocks)
    sent, received = (ranks - 1) * max(blocks), sum(blocks) - min(blocks)
    return 2 * barrier(machine.inside, ranks) + max(sent, received) * machine.inside.beta + (
        sent * machine.gamma if adds else 0)


# The rows of docs/hierarchical.md, where leaders exchange exact runs, each through one card.
def by_hosts(machine, how, blocks, adds):
    ranks, size = len(blocks), min(len(blocks), machine.host_size)
    runs = [sum(blocks[at:at + size]) for at in range(0, ranks, size)]
    total, members = sum(blocks), size - 1
    step = lambda distance: machine.between  # noqa: E731
    if not adds:
        leaders = ring_gather(machine.between, runs) if how == "ring" else tree_gather(step, runs)
        stored = max(run - blocks[host * size] for host, run in enumerate(runs))
        return 3 * barrier(machine.inside, size) + leaders + (stored + members * total) * machine.inside.beta
    leaders = (ring_scatter(machine.between, machine.gamma, runs) if how == "ring" else
               tree_scatter(step, machine.gamma, runs))
    # Each member reads its share of the others' partial sums; the leader receives the sums of all, then gives out rows.
    share = total / size
    pulled = max(run - blocks[host * size] for host, run in enumerate(runs))
    return 4 * barrier(machine.inside, size) + leaders + members * share * (
        2 * machine.inside.beta + machine.gamma) + pulled * machine.inside.beta


def seconds(machine, mode, how, blocks, back):
    """One direction of a step. `blocks`: bytes of each rank. None: the mode does not go there. One rank moves nothing."""
    ranks, hosts = len(blocks), machine.hosts(len(blocks))
    if mode == "sum_len_peer_store" and hosts > 1 or mode == "sum_len_hierarchical" and hosts == 1:
        return None
    if ranks == 1 or max(blocks) == 0:
        return 0.0
    if mode == "sum_len_peer_store":
        return stores(machine, blocks, back)
    if mode == "sum_len_hierarchical":
        return by_hosts(machine, how, blocks, back)
    collectives = Collectives(machine, ranks)
    if mode == "sum_len_all_reduce":
        return collectives.all_reduce(how, sum(blocks))
    if mode == "max_len":
        blocks = [max(blocks)] * ranks
    return collectives.reduce_scatter(how, blocks) if back else collectives.all_gather(how, blocks)


def ffn_rows(mode, counts):
    return len(counts) * max(counts) if mode == "max_len" else sum(counts)


def rows_moved(mode, counts):
    """Rows that a rank receives on the way out, on average over ranks, as serve_trace counts them."""
    return {"max_len": len(counts) * max(counts), "sum_len_all_reduce": 2 * sum(counts)}.get(mode, sum(counts))


def step_seconds(machine, mode, how, counts, row_bytes):
    """Out, FFN and back."""
    blocks = [count * row_bytes for count in counts]
    both = [seconds(machine, mode, how, blocks, back) for back in (False, True)]
    return None if None in both else sum(both) + ffn_rows(mode, counts) * machine.ffn_row


def best(machine, mode, counts, row_bytes):
    """(seconds, by which collectives) of the fastest way that the mode may go; None: none."""
    ways = [(step_seconds(machine, mode, how, counts, row_bytes), how) for how in MODES[mode]]
    ways = [way for way in ways if way[0] is not None]
    return min(ways) if ways else None
