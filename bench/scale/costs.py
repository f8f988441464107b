"""Seconds of collectives, as a latency-bandwidth model has them. A model: no contention but that for network cards, no
switch of protocols, and every rank comes at the same time.

`blocks` are bytes of the ranks; all_gather and reduce_scatter of equal blocks are the case that all are the same. Sources:
  [T] Thakur, Rabenseifner, Gropp, "Optimization of Collective Communication Operations in MPICH", IJHPCA 19(1), 2005
  [P] Patarasuk, Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", JPDC 69(2), 2009
  [B] Bruck, Ho, Kipnis, Upfal, Weathersby, "Efficient algorithms for all-to-all communications ...", IEEE TPDS 8(11), 1997
  [C] Cho, Finkler, Serrano, Kung, Hunter, "BlueConnect: decomposing all-reduce ...", IBM J. R&D 63(6), 2019
  [H] Hensgen, Finkel, Manber, "Two algorithms for barrier synchronization", IJPP 17(1), 1988
"""

from .machine import Link


def rounds(ranks):
    """ceil(log2(ranks))"""
    return (ranks - 1).bit_length()


def link_at(machine, ranks, distance):
    """What a message to the rank `distance` further costs, while all others send likewise. Where ranks are on several
    hosts, somebody's message leaves its host, and min(distance, host_size) ranks of a host share its cards."""
    if machine.hosts(ranks) == 1:
        return machine.inside
    sharing = max(1.0, min(distance, machine.host_size) / machine.cards)
    return Link(machine.between.alpha, machine.between.beta * sharing)


# Ring: p - 1 messages to the next rank. All blocks but its own reach each rank: (p - 1) alpha + (n - own) beta, for equal
# blocks (p - 1) alpha + (p - 1)/p n beta [T, 4.1]. Ragged ones are taken to go in pieces, so that a link does not wait
# for the longest block; a ring that passes whole blocks on would cost as much as with all blocks as long as the longest.
def ring_gather(link, blocks):
    return (len(blocks) - 1) * link.alpha + (sum(blocks) - min(blocks)) * link.beta


# The same way round, each message added to what is there [T, 4.2; P]: and as many bytes are added.
def ring_scatter(link, gamma, blocks):
    return ring_gather(link, blocks) + (sum(blocks) - min(blocks)) * gamma


# In round k each rank has 2^k blocks, from its own on, and fetches as many as are still missing, at most 2^k, from the rank
# 2^k further [B]. For powers of two as much as recursive doubling: log2(p) alpha + (p - 1)/p n beta [T, 4.1]. A round is as
# long as its largest message. `step(distance)` is the link.
def tree_messages(blocks):
    """(distance, largest message in bytes) of each round"""
    ranks = len(blocks)
    if min(blocks) == max(blocks):
        return [(1 << k, min(1 << k, ranks - (1 << k)) * blocks[0]) for k in range(rounds(ranks))]
    before = [0]
    for block in blocks + blocks:
        before.append(before[-1] + block)
    messages = []
    for k in range(rounds(ranks)):
        many = min(1 << k, ranks - (1 << k))
        messages.append((1 << k, max(before[i + many] - before[i] for i in range(ranks))))
    return messages


def tree_gather(step, blocks):
    return sum(step(distance).alpha + size * step(distance).beta for distance, size in tree_messages(blocks))


# That turned round, which for powers of two is recursive halving: log2(p) alpha + (p - 1)/p n (beta + gamma) [T, 4.2].
def tree_scatter(step, gamma, blocks):
    return tree_gather(step, blocks) + sum(size for _, size in tree_messages(blocks)) * gamma


# Reduce-scatter, then all-gather: 2 (p - 1) alpha + 2 (p - 1)/p n beta + (p - 1)/p n gamma by rings [P], 2 log2(p) alpha and
# the same by trees (Rabenseifner's); of short vectors whole ones double up: log2(p) (alpha + n beta + n gamma) [T, 4.5].
def ring_reduce(link, gamma, size, ranks):
    parts = [size / ranks] * ranks
    return ring_scatter(link, gamma, parts) + ring_gather(link, parts)


def tree_reduce(step, gamma, size, ranks):
    parts = [size / ranks] * ranks
    doubling = sum(step(1 << k).alpha + size * (step(1 << k).beta + gamma) for k in range(rounds(ranks)))
    return min(doubling, tree_scatter(step, gamma, parts) + tree_gather(step, parts))


# Dissemination: a round of short messages at each distance of a power of two [H].
def barrier(link, ranks):
    return rounds(ranks) * link.alpha


class Collectives:
    """The collectives of `ranks` on a machine: flat rings, flat trees, or two levels as in [C]: ranks that have the same place
    on their hosts exchange by trees, all at once, and each host among itself by rings."""

    def __init__(self, machine, ranks):
        self.machine, self.ranks, self.hosts = machine, ranks, machine.hosts(ranks)
        self.ring = link_at(machine, ranks, 1)
        cards = Link(machine.between.alpha, machine.between.beta * machine.host_size / machine.cards)
        self.flat = lambda distance: link_at(machine, ranks, distance)
        self.rails = lambda distance: cards

    def lanes(self, blocks):
        """Blocks of the ranks that have the same place on their hosts."""
        size = self.ranks // self.hosts
        return [blocks[place::size] for place in range(size)]

    def all_gather(self, how, blocks):
        if how == "ring":
            return ring_gather(self.ring, blocks)
        if how == "tree":
            return tree_gather(self.flat, blocks)
        lanes = self.lanes(blocks)
        return max(tree_gather(self.rails, lane) for lane in lanes) + ring_gather(self.machine.inside,
                                                                                  [sum(lane) for lane in lanes])

    def reduce_scatter(self, how, blocks):
        gamma = self.machine.gamma
        if how == "ring":
            return ring_scatter(self.ring, gamma, blocks)
        if how == "tree":
            return tree_scatter(self.flat, gamma, blocks)
        lanes = self.lanes(blocks)
        return max(tree_scatter(self.rails, gamma, lane) for lane in lanes) + ring_scatter(
            self.machine.inside, gamma, [sum(lane) for lane in lanes])

    def all_reduce(self, how, size):
        gamma = self.machine.gamma
        if how == "ring":
            return ring_reduce(self.ring, gamma, size, self.ranks)
        if how == "tree":
            return tree_reduce(self.flat, gamma, size, self.ranks)
        here = self.ranks // self.hosts
        return ring_reduce(self.machine.inside, gamma, size, here) + tree_reduce(self.rails, gamma, size / here,
                                                                                 self.hosts)
