"""Instructions and bytes of a kernel's loops and of one row, from its PTX.

What is counted is PTX: ptxas merges, splits and drops instructions (a 64-bit add becomes two, a division some dozens), so
these are proportions of work and no cycles.
"""

import heapq
import re
from dataclasses import dataclass, field

from .flow import REGISTER, blocks_of, loops_of

PIECE = 16  # bytes, what a lane moves at once
THREADS = 256  # of a block; the most lanes of a row (core/launch.hpp, core/cuda/launch.cuh)
CLASSES = ("loads", "stores", "arithmetic", "address", "control", "other")
CONTROL = {"bra", "brx", "ret", "exit", "trap", "call", "setp"}


def access(instruction):
    """(bytes, 'load' | 'store' | 'atomic') of an access to global memory, else None. One that names no state space may go
    there and counts as if it did."""
    parts = instruction.opcode.split(".")
    if parts[0] not in ("ld", "ldu", "st", "atom", "red"):
        return None
    if any(part.split("::")[0] in ("param", "shared", "local", "const") for part in parts):
        return None
    number = next((int(part[1:]) for part in parts if re.fullmatch(r"v\d", part)), 1)
    bits = re.search(r"\d+$", parts[-1])
    kind = {"ld": "load", "ldu": "load", "st": "store"}.get(parts[0], "atomic")
    return number * int(bits.group(0)) // 8, kind


def data_registers(blocks):
    """Registers that stored values are made of, back to what was loaded: not addresses, not what loops count."""
    made_of, queue = {}, []
    for block in blocks:
        for instruction in block.instructions:
            if instruction.name in ("st", "red"):
                if access(instruction):
                    queue += REGISTER.findall(" ".join(instruction.operands[1:]))
            elif instruction.name == "atom":
                if access(instruction):
                    queue += REGISTER.findall(" ".join(instruction.operands[2:]))
            elif instruction.operands and instruction.name not in ("ld", "ldu", "bra", "brx", "bar", "call"):
                for register in REGISTER.findall(instruction.operands[0]):
                    made_of.setdefault(register, []).append(instruction)
    found = set()
    while queue:
        register = queue.pop()
        if register not in found:
            found.add(register)
            for instruction in made_of.get(register, []):
                queue += REGISTER.findall(" ".join(instruction.operands[1:]))
    return found


@dataclass
class Count:
    """Of a run of instructions of one lane."""
    classes: dict = field(default_factory=lambda: dict.fromkeys(CLASSES, 0))
    loads: dict = field(default_factory=dict)  # bytes of an access -> how many
    stores: dict = field(default_factory=dict)
    maybe: int = 0  # accesses to global memory that stand under a predicate
    divisions: int = 0  # of integers: some dozens of machine instructions each

    def add(self, instruction, data):
        found = access(instruction)
        self.divisions += instruction.name in ("div", "rem") and instruction.opcode[-3] in "su"
        if found:
            size, kind = found
            self.maybe += bool(instruction.guard)
            if kind != "store":
                self.loads[size] = self.loads.get(size, 0) + 1
            if kind != "load":
                self.stores[size] = self.stores.get(size, 0) + 1
            self.classes["loads" if kind == "load" else "stores" if kind == "store" else "other"] += 1
        elif instruction.name in CONTROL:
            is_data = instruction.name == "setp" and data.intersection(REGISTER.findall(instruction.operands[0]))
            self.classes["arithmetic" if is_data else "control"] += 1
        elif instruction.name in ("ld", "st", "atom", "red", "bar", "barrier", "membar", "fence"):
            self.classes["other"] += 1
        elif instruction.operands and data.intersection(REGISTER.findall(instruction.operands[0])):
            self.classes["arithmetic"] += 1
        else:
            self.classes["address"] += 1

    @property
    def instructions(self):
        return sum(self.classes.values())

    @property
    def loaded(self):
        return sum(size * n for size, n in self.loads.items())

    @property
    def stored(self):
        return sum(size * n for size, n in self.stores.items())

    @property
    def accesses(self):
        return bool(self.loads or self.stores)

    @property
    def pieces_loaded(self):
        return sum(size // PIECE * n for size, n in self.loads.items())

    @property
    def pieces_stored(self):
        return sum(size // PIECE * n for size, n in self.stores.items())

    @property
    def wide(self):
        return self.pieces_loaded + self.pieces_stored

    @property
    def moved(self):
        """Bytes of rows that go through: loaded or stored, whichever is more, without what is narrower than what is moved."""
        return PIECE * self.pieces or max(self.loaded, self.stored)

    @property
    def pieces(self):
        """16-byte pieces that are moved: loaded, or stored, or both."""
        return max(self.pieces_loaded, self.pieces_stored)


class Body:
    """What one kernel does, as far as its PTX shows."""

    def __init__(self, text):
        self.blocks = blocks_of(text)
        self.loops, self.order = loops_of(self.blocks)
        self.data = data_registers(self.blocks)

    def count(self, numbers):
        total = Count()
        for number in numbers:
            for instruction in self.blocks[number].instructions:
                total.add(instruction, self.data)
        return total

    def outer(self):
        """Loops that lie in no other: over rows, in all kernels but those that wait."""
        return [loop for loop in self.loops
                if not any(other is not loop and loop.header in other.blocks for other in self.loops)]

    def moving(self):
        """(loop, count of one trip) of the loops that access global memory and in which no loop lies that does. First those
        that load or store data, and not counts or addresses alone; of them first those that load most pieces, then that
        store most, then that move most bytes: what a row that exists goes through."""
        counts = {loop.header: self.count(loop.blocks) for loop in self.loops}
        found = [(loop, self.trip(loop)) for loop in self.loops if counts[loop.header].accesses
                 and not any(counts[header].accesses for header in loop.inside)]
        return sorted(found, key=lambda each: (not self.has_data(*each), -each[1].pieces_loaded, -each[1].pieces_stored,
                                               -each[1].loaded - each[1].stored, each[1].instructions))

    def has_data(self, loop, count):
        """Does a loop store, or load what is stored later?"""
        loaded = {register for number in loop.blocks for instruction in self.blocks[number].instructions
                  if access(instruction) and instruction.name == "ld" for register in REGISTER.findall(instruction.operands[0])}
        return bool(count.stores or loaded & self.data)

    def trip(self, loop):
        """One trip: of the ways from the header to a branch back the one that moves most, of those the shortest. Where the
        loop is one block that is all of it. Loops inside, whose trips data decides, are gone through at most once."""
        best = {}
        for at in (number for number in self.order if number in loop.blocks):
            ways = [best[before] for before in best if at in self.blocks[before].after]
            if ways or at == loop.header:
                key, way = max(ways, default=((0, 0, 0), ()), key=lambda each: each[0])
                own = self.count([at])
                more = (own.wide, own.loaded + own.stored, -own.instructions)
                best[at] = tuple(a + b for a, b in zip(key, more)), way + (at,)
        return self.count(max((best[latch] for latch in loop.latches), key=lambda each: each[0])[1])

    def beside(self):
        """Counts of one trip of each loop without data: searches, and lists of addresses."""
        return [count for loop, count in self.moving() if not self.has_data(loop, count)]

    def least(self, loads, stores, most_loads=None):
        """The fewest instructions of one row in which a lane loads `loads` pieces (or up to `most_loads`), stores `stores`,
        and stores nothing narrower; None where there is no such way. Loops over data that is not known, such as a search,
        take no trip, so real rows take more."""
        best = None
        for loop in self.outer():
            way = self.shortest(loop.header, loop.blocks, loop.header, (loads, most_loads or loads), stores)
            if way is not None and (best is None or way.instructions < best.instructions):
                best = way
        return best

    def once(self):
        """What a thread does before its first row."""
        rows = self.outer()
        ways = [self.shortest(0, frozenset(range(len(self.blocks))) - loop.blocks, loop.header, (0, 0), 0) for loop in rows]
        ways = [way for way in ways if way is not None]
        return min(ways, key=lambda count: count.instructions) if ways else None

    def shortest(self, first, within, goal, loads, stores):
        """Dijkstra over (block, pieces loaded, pieces stored): from the start of `first` to the start of `goal`; `loads` is
        from and to how many."""
        moved = {}
        for number in within:
            count = self.count([number])
            narrow = any(size < PIECE for size in count.stores) or count.maybe
            moved[number] = None if narrow else (count.pieces_loaded, count.pieces_stored, count.instructions)
        queue, came, serial = [(0, 0, first, 0, 0, None)], {}, 0
        while queue:
            cost, _, at, loaded, stored, before = heapq.heappop(queue)
            state = (at, loaded, stored)
            if at == goal and before is not None:
                if loaded < loads[0] or stored != stores:
                    continue
                way = []
                while before is not None:
                    way.append(before[0])
                    before = came[before]
                return self.count(reversed(way))
            if state in came or at not in within or moved[at] is None:
                continue
            came[state] = before
            more_loads, more_stores, instructions = moved[at]
            if loaded + more_loads <= loads[1] and stored + more_stores <= stores:
                for after in self.blocks[at].after:
                    serial += 1
                    heapq.heappush(queue, (cost + instructions, serial, after, loaded + more_loads, stored + more_stores, state))
        return None


def lanes_of(row_bytes):
    """As `lanes_for` in core/launch.hpp."""
    lanes = 1
    while lanes < THREADS and lanes * PIECE < row_bytes:
        lanes *= 2
    return lanes


def shares(pieces, lanes):
    """Pieces of a lane -> how many lanes have so many: lane l takes l, l + lanes, ..."""
    each, more = divmod(pieces, lanes)
    return {n: lanes_with for n, lanes_with in ((each + 1, more), (each, lanes - more)) if lanes_with}


@dataclass(frozen=True)
class RowCost:
    """Of all lanes of a row, along the shortest way of each."""
    instructions: int
    lane: tuple  # the fewest and the most of a lane
    read: int  # bytes
    written: int
    beside: tuple  # (how many, bytes of each) of other loads of the lane that has most: counts, addresses


def of_row(body, loads_too, row_bytes, lanes):
    """RowCost of a row of which each piece is stored, and loaded if `loads_too`, perhaps more than once; None where no way
    through the kernel does that."""
    counts = []
    for pieces, number in shares(row_bytes // PIECE, lanes).items():
        count = body.least(pieces, pieces, 4 * pieces) if loads_too else body.least(0, pieces)
        if count is None:
            return None
        counts.append((number, count))
    lane = [count.instructions for _, count in counts]
    beside = max((sorted((n, size) for size, n in count.loads.items() if size < PIECE) for _, count in counts))
    return RowCost(sum(number * count.instructions for number, count in counts), (min(lane), max(lane)),
                   PIECE * sum(number * count.pieces_loaded for number, count in counts),
                   PIECE * sum(number * count.pieces_stored for number, count in counts), tuple(beside))
