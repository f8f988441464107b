"""Kernels of bf16 executed from their PTX, row by row with all lanes: what they leave in memory against plain Python, and
the instructions that they took against what tools/ptx counts.

The structures below are those of the library's headers, as compilers lay them out.
"""

import random
from ctypes import Structure, c_int32, c_int64, c_uint64

from ptx.cost import Body, lanes_of, of_row
from ptx.kernels import BadInput

from machine import Machine, Memory, from_float, to_float

SIZE = 2  # of a bf16
FILLER = 0x7fc1  # a NaN that nobody computes: what must not change, or be read


def structure(name, *fields):
    return type(name, (Structure,), {"_fields_": list(fields)})


Rows = structure("Rows", ("data", c_uint64), ("rows", c_int64), ("width", c_int64), ("stride", c_int64))
Peers = structure("Peers", ("addresses", c_uint64), ("ranks", c_int32), ("rank", c_int32), ("stop", c_uint64))
CountsView = structure("CountsView", ("valid", c_uint64), ("offsets", c_uint64), ("lens", c_uint64), ("error", c_uint64),
                       ("blocks", c_int64), ("own", c_int64))
HostRows = structure("HostRows", ("counts", CountsView), ("blocks", c_int64), ("host_len", c_int64), ("global_len", c_int64))
CopyRow = structure("CopyRow", ("from_", Rows), ("to", Rows))
SelectOwnRow = structure("SelectOwnRow", ("from_", Rows), ("to", Rows), ("first", c_int64), ("len", c_int64), ("counts", CountsView))
StoreToPeers = structure("StoreToPeers", ("from_", Rows), ("global_", Peers), ("each", c_int64), ("local_len", c_int64),
                         ("global_len", c_int64), ("tp", c_int64), ("attn_tp", c_int64), ("fixed_slice", c_int64), ("counts", CountsView))
PullAndAdd = structure("PullAndAdd", ("partial", Peers), ("out", Rows), ("first", c_int64), ("local_len", c_int64),
                       ("global_len", c_int64), ("counts", CountsView))
StoreToLeader = structure("StoreToLeader", ("from_", Rows), ("area", Peers), ("rows", HostRows), ("local_len", c_int64), ("tp", c_int64),
                          ("attn_tp", c_int64), ("fixed_slice", c_int64))
PullAll = structure("PullAll", ("area", Peers), ("global_", Rows), ("rows", HostRows))
AddOnHost = structure("AddOnHost", ("partial", Peers), ("area", Peers), ("rows", HostRows), ("width", c_int64), ("first", c_int64))
PullOwn = structure("PullOwn", ("area", Peers), ("out", Rows), ("rows", HostRows), ("first", c_int64), ("local_len", c_int64))


def packed(elements):
    return b"".join(element.to_bytes(SIZE, "little") for element in elements)


def rounded(value):
    """The bf16 that is nearest to a float, the even one of two: by distances."""
    low = from_float(value) & 0xffff0000
    down, up = to_float(low), to_float(low + 0x10000)
    nearer = abs(value - down) - abs(up - value)
    return (low >> 16) + (nearer > 0 or (nearer == 0 and low >> 16 & 1))


def added(rows):
    """Sums in fp32, in the order of `rows`, rounded once."""
    sums = []
    for elements in zip(*rows):
        total = to_float(elements[0] << 16)
        for element in elements[1:]:
            total = to_float(from_float(total + to_float(element << 16)))
        sums.append(rounded(total))
    return sums


class World:
    """Buffers of some ranks with a block of 3 rows each, of which 2, 2, 0, 1, 2 and 0 exist; rank 1 runs, built for up to
    `local_len` rows that exist."""

    def __init__(self, width, shift, ranks, local_len, rng):
        self.memory, self.width, self.shift, self.rng = Memory(), width, shift, rng
        self.ranks, self.rows, self.local_len, self.own = ranks, 3 * ranks, local_len, min(2, local_len)
        self.valid = [2, 2, 0, 1, 2, 0][:ranks]
        self.stop = self.memory.place(bytes(4))
        self.error = self.memory.place(bytes(8))
        words = [self.words(numbers) for numbers in (self.valid, range(0, self.rows, 3), [3] * ranks)]
        self.counts = CountsView(*words, self.error, ranks, 1)
        self.host = HostRows(self.counts, ranks, 0, self.rows)

    def exists(self, row):
        return row % 3 < self.valid[row // 3]

    def words(self, numbers):
        return self.memory.place(b"".join(number.to_bytes(8, "little") for number in numbers))

    def buffer(self, rows):
        """(address, numbers that bf16 holds) of `[rows, width]`."""
        numbers = [[from_float(self.rng.uniform(-9, 9)) >> 16 for _ in range(self.width)] for _ in range(rows)]
        return self.memory.place(packed(sum(numbers, [])), self.shift), numbers

    def empty(self, rows):
        return self.memory.place(packed([FILLER] * rows * self.width), self.shift)

    def view(self, address, rows):
        return Rows(address, rows, self.width, self.width)

    def peers(self, addresses):
        return Peers(self.words(addresses), len(addresses), 1, self.stop)

    def row(self, address, number):
        begin = address + number * self.width * SIZE - self.memory.begin
        content = self.memory.bytes[begin:begin + self.width * SIZE]
        return [int.from_bytes(content[i:i + SIZE], "little") for i in range(0, len(content), SIZE)]


# Each gives (argument of the kernel, rows of the launch, {(address, row): what must be there}).
def copy_row(w):
    source, numbers = w.buffer(2)
    to = w.empty(2)
    return CopyRow(w.view(source, 2), w.view(to, 2)), 2, {(to, row): numbers[row] for row in range(2)}


def own_rows(w, to, of):
    """The 3 rows of this rank's block: `of(row)` where they exist."""
    return {(to, row): of(row) if row < w.own else [0] * w.width for row in range(3)}


def select_own_row(w):
    source, numbers = w.buffer(3)
    to = w.empty(3)
    return SelectOwnRow(w.view(source, 3), w.view(to, 3), 0, w.local_len, w.counts), 3, own_rows(w, to, lambda row: numbers[row])


def stored(w, to, numbers):
    """This rank's rows in a global buffer, and nothing else."""
    return {(to, row): numbers[row - 3] if 3 <= row < 3 + w.own else [FILLER] * w.width for row in range(w.rows)}


def store_to_peers(w):
    source, numbers = w.buffer(3)
    buffers = [w.empty(w.rows) for _ in range(w.ranks)]
    expected = {}
    for to in buffers:
        expected |= stored(w, to, numbers)
    return StoreToPeers(w.view(source, 3), w.peers(buffers), 3, w.local_len, w.rows, 0, 1, 0, w.counts), 3 * w.ranks, expected


def pull_and_add(w):
    buffers = [w.buffer(w.rows) for _ in range(w.ranks)]
    to = w.empty(3)
    peers = w.peers([address for address, _ in buffers])
    return PullAndAdd(peers, w.view(to, 3), 0, w.local_len, w.rows, w.counts), 3, own_rows(
        w, to, lambda row: added([numbers[3 + row] for _, numbers in buffers]))


def store_to_leader(w):
    source, numbers = w.buffer(3)
    area = w.empty(w.rows)
    return StoreToLeader(w.view(source, 3), w.peers([area] + [0] * (w.ranks - 1)), w.host, w.local_len, 0, 1, 0), 3, stored(w, area, numbers)


def pull_all(w):
    area, numbers = w.buffer(w.rows)
    to = w.empty(w.rows)
    expected = {(to, row): numbers[row] if w.exists(row) else [0] * w.width for row in range(w.rows)}
    return PullAll(w.peers([area] + [0] * (w.ranks - 1)), w.view(to, w.rows), w.host), w.rows, expected


def add_on_host(w):
    buffers = [w.buffer(w.rows) for _ in range(w.ranks)]
    area = w.empty(w.rows)
    expected = {(area, row): added([numbers[row] for _, numbers in buffers]) if w.exists(row) else [FILLER] * w.width
                for row in range(w.rows)}
    peers = w.peers([address for address, _ in buffers])
    return AddOnHost(peers, w.peers([area] + [0] * (w.ranks - 1)), w.host, w.width, 0), w.rows, expected


def pull_own(w):
    area, numbers = w.buffer(w.rows)
    to = w.empty(3)
    return PullOwn(w.peers([area] + [0] * (w.ranks - 1)), w.view(to, 3), w.host, 0, w.local_len), 3, own_rows(
        w, to, lambda row: numbers[3 + row])


CASES = {"CopyRow": copy_row, "SelectOwnRow": select_own_row, "StoreToPeers": store_to_peers, "PullAndAdd": pull_and_add,
         "StoreToLeader": store_to_leader, "PullAll": pull_all, "AddOnHost": add_on_host, "PullOwn": pull_own}
# Whose instructions are known beforehand: there is neither a word that may stop them nor a search. Not quite, where a division
# of numbers that fit 32 bits is done by more instructions, if faster ones.
EXACT = {"CopyRow", "SelectOwnRow"}
SUMS = {"PullAndAdd", "AddOnHost"}
NEVER_LATE = {"CopyRow", "PullAll", "AddOnHost"}  # do not clamp this rank's count


def execute(kernel, width, shift, lanes, ranks, local_len, seed):
    """What is wrong with one kernel at one width, buffers `shift` bytes off 16; and whether it moved 16 bytes at once."""
    world = World(width, shift, ranks, local_len, random.Random(seed))
    argument, rows, expected = CASES[kernel.kind](world)
    machine = Machine(kernel.text, [bytes(argument), rows.to_bytes(8, "little"), lanes.to_bytes(4, "little")], world.memory)
    body = Body(kernel.text)
    in_rows = frozenset().union(*(loop.blocks for loop in body.outer()))
    length = [len(block.instructions) for block in body.blocks]
    blocks = {number for number in in_rows if body.count([number]).wide}
    each, wide = 256 // lanes, False
    took = [0] * rows
    for block in range((rows + each - 1) // each):
        for thread in range(256):
            row = block * each + thread // lanes
            if row >= rows and thread != 255:
                continue  # all that have no row are alike
            way = machine.run({"%tid.x": thread, "%ctaid.x": block, "%nctaid.x": (rows + each - 1) // each})
            if row < rows:
                wide = wide or any(number in blocks for number in way)
                took[row] += sum(length[number] for number in way if number in in_rows)
    wrong = []
    for (address, row), numbers in expected.items():
        got = world.row(address, row)
        if got != numbers:
            at = next(i for i in range(width) if got[i] != numbers[i])
            wrong.append(f"row {row} of H = {width}, {shift} bytes off: column {at} is {got[at]:#x}, must be {numbers[at]:#x}")
    error = int.from_bytes(world.memory.bytes[world.memory.at(world.error, 8)], "little")
    if error != (2 if local_len < 2 and kernel.kind not in NEVER_LATE else 0):
        wrong.append(f"a count of 2 where {local_len} were expected leaves {error} in the error word")
    if width * SIZE % 16 == 0 and shift == 0 and local_len == 3 and kernel.kind in EXACT:
        for row in range(rows):
            exists = kernel.kind != "SelectOwnRow" or row < world.own
            counted = of_row(body, exists, width * SIZE, lanes)
            if counted is None or not counted.instructions <= took[row] <= 1.05 * counted.instructions:
                wrong.append(f"row {row} of H = {width} took {took[row]} instructions, counted were {counted and counted.instructions}")
    return wrong, wide


def judge_executed(kernels, seed=1):
    """What is wrong with those of `kernels` that are executed."""
    wrong, seen = [], set()
    for kernel in kernels:
        if kernel.types != "bf16" or kernel.kind not in CASES:
            continue
        seen.add(kernel.kind)
        # Fewer lanes than the library takes have more to do each: all ways through unrolled loops.
        cases = [(8, 0, 1, 3, 3), (24, 0, 2, 3, 1), (56, 0, 2, 3, 3), (104, 0, 2, 3, 3), (24, 2, 4, 3, 3), (9, 0, 2, 3, 1), (26, 0, 2, 3, 3),
                 (14, 0, 2, 3, 3)]
        if kernel.kind in EXACT:
            cases += [(width, 0, lanes_of(width * SIZE), 3, 3) for width in (1024, 7168)]
        if kernel.kind in SUMS:
            cases += [(width, 0, 2, ranks, 3) for width in (24, 9) for ranks in (2, 4, 6)]
        for width, shift, lanes, ranks, local_len in cases:
            try:
                found, wide = execute(kernel, width, shift, lanes, ranks, local_len, seed)
            except (BadInput, KeyError) as error:
                found, wide = [f"H = {width}, {shift} bytes off, {ranks} ranks: {error}"], None
            if wide is not None and width % 8 == 0 and wide != (shift == 0):  # rows of 9 may begin at a multiple of 16 or not
                found.append(f"H = {width}, {shift} bytes off: is {'not ' if shift == 0 else ''}moved 16 bytes at a time")
            wrong += [f"{kernel.label}, executed: {what}" for what in found]
    missing = CASES.keys() - seen
    if missing:
        wrong.append(f"not executed: {', '.join(sorted(missing))}")
    return wrong
