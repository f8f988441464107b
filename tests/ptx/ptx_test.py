"""ptx_test.py ROOT: loops, counts and shortest ways against answers worked out by hand, and against plain searches."""

import json
import os
import random
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(sys.argv.pop(1))
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "tests" / "device_code"), str(Path(__file__).parent)]
from check_kernels import judge  # noqa: E402
from executed import added, rounded  # noqa: E402
from machine import Machine, Memory, from_float, to_float  # noqa: E402
from ptx.cost import Body, access, lanes_of, of_row, shares  # noqa: E402
from ptx.flow import Block, Instruction, blocks_of, loops_of, split_operands  # noqa: E402
from ptx.kernels import BadInput, kernels_of  # noqa: E402
from snippets import COPY, NAME, SUM, kernel  # noqa: E402

SEED = int(os.environ.get("DPGATHER_TEST_SEED", "11"))
REPORT = """ptxas info    : Function properties for {}
    0 bytes stack frame, {} bytes spill stores, 4 bytes spill loads
ptxas info    : Used 40 registers, used 0 barriers
"""


def body(text):
    return Body(kernels_of(text)[0].text)


def after(text):
    return [block.after for block in blocks_of(kernels_of(kernel(text))[0].text)]


class Flow(unittest.TestCase):
    def test_labels_and_branches_make_blocks(self):
        self.assertEqual(after("mov.u32 %r1, 1; add.s32 %r1, %r1, 2; ret;"), [[]])
        # Under a predicate a branch may fall through, also a negated one; without, it does not.
        self.assertEqual(after("@%p1 bra $A; mov.u32 %r1, 1; $A: ret;"), [[2, 1], [2], []])
        self.assertEqual(after("@!%p1 bra $A; bra.uni $B; $A: ret; $B: ret;"), [[2, 1], [3], [], []])
        self.assertEqual(after("@%p1 ret; exit;"), [[1], []])
        # Two labels of one block, and a branch to the next.
        self.assertEqual(after("bra $B; $A: $B: @%p1 bra $A; trap;"), [[1], [1, 2], []])
        self.assertEqual(after("$A: mov.u32 %r1, 1; bra.uni $A;"), [[0]])

    def test_a_table_of_targets_is_a_branch_to_each(self):
        self.assertEqual(after("bra.uni $S; $T: .branchtargets $A, $B, $A; $S: brx.idx.uni %r1, $T; $A: ret; $B: ret;"),
                         [[1], [2, 3], [], []])

    def test_braces_comments_and_directives_are_no_instructions(self):
        text = """.loc 1 2 3; .pragma "nounroll"; /* { bra $X; */ { .reg .b32 %t1; // begin inline asm {
            { add.s32 %t1, %r1, %r2; } } $A : ret;"""
        blocks = blocks_of(kernels_of(kernel(text))[0].text)
        self.assertEqual([[i.opcode for i in block.instructions] for block in blocks], [["add.s32"], ["ret"]])

    def test_operands_in_braces_are_one(self):
        self.assertEqual(split_operands("{%r1, %r2}, [%rd1+4], -1"), ("{%r1, %r2}", "[%rd1+4]", "-1"))
        self.assertEqual(split_operands(None), ())

    def test_loops_by_hand(self):
        b = body(COPY)
        # Entry, row, first piece, pieces, the branch behind them, elements, next, ret.
        self.assertEqual([(loop.header, sorted(loop.blocks), loop.latches, sorted(loop.inside)) for loop in b.loops],
                         [(1, [1, 2, 3, 4, 5, 6], (6,), [3, 5]), (3, [3], (3,), []), (5, [5], (5,), [])])
        self.assertEqual([loop.header for loop in b.outer()], [1])

    def test_what_cannot_be_read_is_said(self):
        for text, says in [("mov.u32 %r1, 1;", "runs past its end"), ("bra $A;", "goes to '\\$A', which is not there"),
                           ("$A: ret; $A: ret;", "there twice"), ("ret; $A:", "nothing follows label '\\$A'"), ("?!;", r"cannot read '\?!'"),
                           ("brx.idx %r1, $T;", "goes to one of '\\$T'"),
                           ("@%p1 bra $B; $A: mov.u32 %r1, 1; $B: @%p2 bra $A; ret;", "a loop has two ways in")]:
            with self.assertRaisesRegex(BadInput, says):
                body(kernel(text))
        with self.assertRaisesRegex(BadInput, "does not end"):
            blocks_of("f() { ret;")
        with self.assertRaisesRegex(BadInput, "has no body"):
            blocks_of("f()")

    def test_loops_are_those_that_dominance_gives_by_its_definition(self):
        rng = random.Random(SEED)
        print("seed", SEED)
        natural = 0
        for _ in range(2000):
            n = rng.randrange(2, 8)
            blocks = [Block([], [], sorted(set(rng.choices(range(n), k=rng.choice([0, 1, 1, 2, 2]))))) for _ in range(n)]

            def reached(without):
                seen, queue = set(), [0] if without != 0 else []
                while queue:
                    at = queue.pop()
                    if at not in seen:
                        seen.add(at)
                        queue += [to for to in blocks[at].after if to != without]
                return seen

            alive = reached(None)
            back = {(at, to) for at in alive for to in blocks[at].after if at not in reached(to)}
            forward = {at: [to for to in blocks[at].after if (at, to) not in back] for at in alive}
            left = dict(forward)  # taking away blocks that lead nowhere leaves the cycles
            while True:
                ends = [at for at, tos in left.items() if not any(to in left for to in tos)]
                if not ends:
                    break
                for at in ends:
                    del left[at]
            if left:
                with self.assertRaisesRegex(BadInput, "two ways in"):
                    loops_of(blocks)
                continue
            loops, order = loops_of(blocks)
            self.assertEqual(sorted(order), sorted(alive))
            self.assertTrue(all(order.index(at) < order.index(to) for at in alive for to in forward[at]))
            self.assertEqual({(latch, loop.header) for loop in loops for latch in loop.latches}, back)
            for loop in loops:  # blocks that come to a latch without the header
                def comes(at, seen):
                    return at in loop.latches or any(comes(to, seen | {at}) for to in blocks[at].after
                                                     if to != loop.header and to not in seen)
                self.assertEqual(loop.blocks, {loop.header} | {at for at in alive - {loop.header} if comes(at, {at})})
                natural += 1
        self.assertGreater(natural, 200)


class Counts(unittest.TestCase):
    def test_accesses_by_hand(self):
        for opcode, expected in [("ld.global.u16", (2, "load")), ("ld.global.nc.L1::no_allocate.v4.f32", (16, "load")),
                                 ("ld.volatile.global.u32", (4, "load")), ("ld.acquire.sys.global.u32", (4, "load")),
                                 ("st.global.v2.u64", (16, "store")), ("st.release.sys.global.u32", (4, "store")),
                                 ("ld.global.v4.b64", (32, "load")), ("ld.global.v8.b32", (32, "load")), ("ld.u64", (8, "load")),
                                 ("atom.global.add.u64", (8, "atomic")), ("red.global.add.f32", (4, "atomic")),
                                 ("ld.param.u64", None), ("st.shared.u32", None), ("ld.local.u8", None), ("ld.shared::cta.u32", None),
                                 ("add.s64", None)]:
            self.assertEqual(access(Instruction(opcode, (), "")), expected, opcode)

    def test_an_unrolled_loop_is_counted_by_the_bytes_it_moves(self):
        loop, trip = body(COPY).moving()[0]
        self.assertEqual((trip.loads, trip.stores, trip.pieces, trip.instructions), ({16: 2}, {16: 2}, 2, 11))
        self.assertEqual(trip.classes, {"loads": 2, "stores": 2, "arithmetic": 0, "address": 5, "control": 2, "other": 0})
        _, elements = body(COPY).moving()[1]
        self.assertEqual((elements.loads, elements.stores, elements.pieces, elements.moved), ({2: 1}, {2: 1}, 0, 2))

    def test_what_a_stored_value_is_made_of_is_arithmetic_and_the_rest_is_addresses(self):
        b = body(SUM)
        _, trip = b.moving()[0]
        self.assertEqual(trip.classes, {"loads": 2, "stores": 0, "arithmetic": 3, "address": 1, "control": 2, "other": 0})
        self.assertEqual((trip.loads, trip.moved), ({8: 1, 16: 1}, 16))
        # The rounding behind the loop: its comparison decides on data and not on the way. The branch of the row does.
        last = [block for block in b.blocks if any(i.name == "st" for i in block.instructions)][0]
        self.assertEqual(b.count([b.blocks.index(last)]).classes,
                         {"loads": 0, "stores": 1, "arithmetic": 3, "address": 1, "control": 2, "other": 0})

    def test_a_search_is_no_movement_of_rows(self):
        beside = body(SUM).beside()
        self.assertEqual([(count.instructions, count.loads) for count in beside], [(4, {8: 1})])

    def test_of_ways_through_a_loop_the_one_that_moves_most_counts(self):
        b = body(kernel("""$A: @%p1 bra $B; ld.global.u32 %r1, [%rd1]; st.global.u32 [%rd2], %r1; mov.u32 %r3, 0; bra.uni $C;
            $B: mov.u32 %r4, 0; $C: @%p2 bra $A; ret;"""))
        _, trip = b.moving()[0]
        self.assertEqual((trip.instructions, trip.loads, trip.stores), (6, {4: 1}, {4: 1}))

    def test_accesses_under_a_predicate_are_marked(self):
        _, trip = body(kernel("$A: @%p1 st.global.u32 [%rd1], %r1; @%p2 bra $A; ret;")).moving()[0]
        self.assertEqual((trip.maybe, trip.stores), (1, {4: 1}))

    def test_divisions_are_counted(self):
        self.assertEqual(body(kernel("div.u64 %rd1, %rd2, %rd3; rem.s32 %r1, %r2, %r3; div.rn.f32 %f1, %f2, %f3; ret;")).count([0]).divisions, 2)


class Rows(unittest.TestCase):
    def test_by_hand(self):
        b = body(COPY)
        # 2 + 5 + 3; then 11 for each two more, and the branch behind them.
        self.assertEqual([b.least(k, k).instructions for k in (1, 3, 5)], [10, 22, 33])
        self.assertIsNone(b.least(2, 2))
        self.assertIsNone(b.least(0, 1))
        self.assertIsNone(b.least(0, 0))  # elements are narrower than a piece
        self.assertEqual((b.once().instructions, b.once().divisions), (3, 1))
        self.assertEqual(body(SUM).least(2, 1).loads, {4: 1, 8: 2, 16: 2})

    def test_lanes_share_a_row_as_the_library_has_it(self):
        for pieces in list(range(1, 40)) + [128, 255, 256, 257, 896, 1000]:
            lanes = lanes_of(16 * pieces)
            mine = [len(range(lane, pieces, lanes)) for lane in range(lanes)]
            self.assertEqual(shares(pieces, lanes), {n: mine.count(n) for n in mine})
        self.assertEqual([lanes_of(n) for n in (1, 16, 17, 2048, 4096, 14336)], [1, 1, 2, 128, 256, 256])

    def test_all_lanes_of_a_row(self):
        b = body(COPY)
        row = of_row(b, True, 2048, 128)
        self.assertEqual((row.instructions, row.lane, row.read, row.written), (1280, (10, 10), 2048, 2048))
        row = of_row(b, True, 16 * (256 * 3), 256)
        self.assertEqual((row.instructions, row.read, row.written), (256 * 22, 12288, 12288))
        self.assertIsNone(of_row(b, True, 14336, 256))  # half of the lanes would move 4
        self.assertIsNone(of_row(b, False, 2048, 128))

    def test_what_is_read_twice_counts_twice(self):
        twice = COPY.replace("\tst.global.v4.u32", "\tld.global.v4.u32 \t{%r20, %r21, %r22, %r23}, [%rd3];\n\tst.global.v4.u32")
        row = of_row(body(twice), True, 2048, 128)
        self.assertEqual((row.instructions, row.read, row.written), (128 * 11, 4096, 2048))
        self.assertIsNone(body(twice).least(1, 1))

    def test_the_shortest_way_is_that_of_a_search_of_all(self):
        rng = random.Random(SEED)
        print("seed", SEED)
        found = 0
        for _ in range(600):
            n = rng.randrange(3, 8)
            text, edges, cost, moves = "mov.u32 %r1, 0;\n", [], [], []
            for i in range(n):
                loads, stores, idle = rng.randrange(2), rng.randrange(2), rng.randrange(4)
                narrow = rng.random() < 0.1
                text += f"$B{i}:\n" + "add.s32 %r2, %r2, 1;\n" * idle + "ld.global.v4.u32 {%r3, %r4, %r5, %r6}, [%rd1];\n" * loads
                text += "st.global.v4.u32 [%rd2], {%r3, %r4, %r5, %r6};\n" * stores + "st.global.u16 [%rd2], %rs1;\n" * narrow
                if i + 1 == n:
                    text += "@%p1 bra $B0;\nret;\n"
                    edges.append([0])
                else:
                    to = rng.randrange(i + 1, n)
                    text += f"@%p1 bra $B{to};\n"
                    edges.append(sorted({i + 1, to}))
                cost.append(idle + loads + stores + narrow + 1)
                moves.append(None if narrow else (loads, stores))
            best = {}

            def walk(at, spent, loaded, stored):
                if moves[at] is None:
                    return
                spent, loaded, stored = spent + cost[at], loaded + moves[at][0], stored + moves[at][1]
                for to in edges[at]:
                    if to == 0:
                        best[loaded, stored] = min(spent, best.get((loaded, stored), spent))
                    else:
                        walk(to, spent, loaded, stored)

            walk(0, 0, 0, 0)
            b = body(kernel(text))
            for loads in range(4):
                for stores in range(4):
                    way = b.least(loads, stores)
                    self.assertEqual(way and way.instructions, best.get((loads, stores)), (text, loads, stores))
                    found += way is not None
        self.assertGreater(found, 500)


class Kernels(unittest.TestCase):
    def test_names_and_what_ptxas_says(self):
        name = NAME.format(7, "CopyRow")
        found, = kernels_of(COPY, REPORT.format(name, 8))
        self.assertEqual((found.label, found.chunked, found.registers, found.spills), ("CopyRow<bf16>", False, 40, (0, 8, 4)))
        found, = kernels_of(COPY)
        self.assertEqual((found.registers, found.spills), (None, None))
        chunk = "_ZN8dpgather6detail8run_rowsINS0_9ChunkBodyINS0_4SaveIfEEEEEEvT_li"
        found, = kernels_of(COPY.replace(name, chunk))
        self.assertEqual((found.label, found.chunked), ("Save<float>", True))
        self.assertEqual(kernels_of(COPY.replace(name, "_ZN3cub4scanEv")), [])

    def test_a_kernel_that_moves_elements_alone_is_judged_wrong(self):
        def wrong(text, kind, spills=0):
            name = NAME.format(len(kind), kind)
            report = REPORT.format(name, spills).replace("4 bytes", "0 bytes")
            return [what for what in judge(text.replace(NAME.format(7, "CopyRow"), name), report)[0] if kind in what and "not compiled" not in what]

        for kind in ("CopyRow", "StoreToLeader", "AddOnHost"):
            self.assertEqual(wrong(COPY, kind), [])
        narrow = COPY.replace("st.global.v4.u32", "st.global.v2.u32")
        for kind in ("CopyRow", "StoreToLeader", "AddOnHost"):
            self.assertEqual(wrong(narrow, kind), [f"{kind}<bf16>: no way to copy 16 bytes by one load and one store"])
        # Copies as it should, but does not zero what does not exist.
        for kind in ("PullAll", "PullOwn"):
            self.assertEqual(wrong(COPY, kind), [f"{kind}<bf16>: no way to write 16 bytes by one store"])
        self.assertEqual(wrong(COPY, "CopyRow", 8), ["CopyRow<bf16>: 0 bytes stack frame, 8 bytes spill stores, 0 bytes spill loads"])
        self.assertEqual(wrong(COPY.replace("mov.u64", "ld.local.u64"), "CopyRow"), ["CopyRow<bf16>: uses local memory"])


class Executed(unittest.TestCase):
    def registers(self, text, arguments=(), memory=None, **special):
        machine = Machine(kernels_of(kernel(text + "ret;"))[0].text, arguments, memory or Memory())
        machine.run({"%" + name: value for name, value in special.items()})
        return machine.registers

    def test_instructions_by_hand(self):
        for text, register, expected in [
                ("mov.u32 %r1, -1; add.s32 %r2, %r1, -1;", "%r2", 0xfffffffe), ("mov.u64 %r1, -7; div.s64 %r2, %r1, 2;", "%r2", 2**64 - 3),
                ("mov.u32 %r1, -7; rem.s32 %r2, %r1, 4;", "%r2", 2**32 - 3), ("mov.u32 %r1, -7; div.u32 %r2, %r1, 4;", "%r2", (2**32 - 7) // 4),
                ("mov.u32 %r1, -7; cvt.s64.s32 %r2, %r1;", "%r2", 2**64 - 7), ("mov.u32 %r1, -7; cvt.u64.u32 %r2, %r1;", "%r2", 2**32 - 7),
                ("mov.u64 %r1, -7; cvt.u32.u64 %r2, %r1;", "%r2", 2**32 - 7), ("mov.u32 %r1, -8; shr.s32 %r2, %r1, 1;", "%r2", 2**32 - 4),
                ("mov.u32 %r1, -8; shr.u32 %r2, %r1, 28;", "%r2", 15), ("mov.u32 %r1, 3; shl.b32 %r2, %r1, 40;", "%r2", 0),
                ("mov.u32 %r1, -3; mul.wide.s32 %r2, %r1, 5;", "%r2", 2**64 - 15), ("mov.u32 %r1, -3; mul.lo.s32 %r2, %r1, 5;", "%r2", 2**32 - 15),
                ("mov.u32 %r1, 3; mad.lo.s32 %r2, %r1, 5, %r1;", "%r2", 18), ("mov.u32 %r1, 5; bfi.b32 %r2, %r1, 65535, 8, 4;", "%r2", 0xf5ff),
                ("mov.u32 %r1, 0x11223344; prmt.b32 %r2, %r1, 0x55667788, 0x7104;", "%r2", 0x55334488),
                ("mov.b64 %r1, 0x1122334455667788; mov.b64 {%r3, %r2}, %r1;", "%r2", 0x11223344),
                ("mov.u32 %r1, 1; mov.b64 %r2, {%r1, %r1};", "%r2", 0x100000001), ("mov.u32 %r1, 5; not.b32 %r2, %r1;", "%r2", 0xfffffffa),
                ("mov.u32 %r1, -1; setp.lt.s32 %p1, %r1, 0; selp.u32 %r2, 6, 7, %p1;", "%r2", 6),
                ("mov.u32 %r1, -1; setp.lt.u32 %p1, %r1, 0; selp.u32 %r2, 6, 7, %p1;", "%r2", 7),
                ("mov.pred %p1, 1; setp.eq.and.s32 %p2, 3, 4, %p1; or.pred %p3, %p2, %p1; selp.u32 %r2, 6, 7, %p3;", "%r2", 6),
                ("mov.f32 %f1, 0f3F800000; add.f32 %r2, %f1, 0f40000000;", "%r2", from_float(3.0)),
                ("mov.u32 %r2, 1; mov.pred %p1, 0; @%p1 bra $A; mov.u32 %r2, 2; $A: @!%p1 bra $B; mov.u32 %r2, 3; $B:", "%r2", 2)]:
            self.assertEqual(self.registers(text)[register], expected, text)

    def test_memory_is_that_which_was_placed(self):
        memory = Memory()
        at = memory.place(bytes(range(32)))
        name = NAME.format(7, "CopyRow")
        load = f"ld.param.u64 %rd1, [{name}_param_1]; mov.b64 %rd9, {name}_param_0; ld.param.u32 %r9, [%rd9+4]; "
        arguments = [(5 << 32).to_bytes(8, "little"), at.to_bytes(8, "little")]
        found = self.registers(load + "ld.global.v2.u64 {%rd2, %rd3}, [%rd1+16]; ld.global.u16 %rs1, [%rd1+2]; st.global.u8 [%rd1+1], 300;",
                               arguments, memory)
        self.assertEqual((found["%rd3"].to_bytes(8, "little"), found["%rs1"], found["%r9"]), (bytes(range(24, 32)), 0x302, 5))
        self.assertEqual(memory.bytes[memory.at(at, 2)], bytes([0, 300 % 256]))
        for access, says in [("ld.global.u64 %rd2, [%rd1+4];", "not aligned"), ("ld.global.v2.u64 {%rd2, %rd3}, [%rd1+8];", "not aligned"),
                             ("ld.global.u32 %r2, [%rd1+32];", "not of any buffer"), ("st.global.u8 [%rd1+-512], 1;", "not of any buffer"),
                             ("atom.global.add.u32 %r2, [%rd1], 1;", "atom.global.add.u32 is not executed here"),
                             ("@%p1 st.global.u8 [%rd1], 1;", "under a predicate")]:
            with self.assertRaisesRegex(BadInput, says):
                self.registers(load + access, arguments, memory)

    def test_sums_are_rounded_once_to_the_nearest_even(self):
        one = 0x3f80
        # 1 + 2^-8 lies between 1 and its neighbour: to the even one. A little more, and it is nearer to the other.
        self.assertEqual(rounded(1 + 2**-8), one)
        self.assertEqual(rounded(1 + 3 * 2**-8), one + 2)
        self.assertEqual(rounded(-1 - 2**-8 - 2**-20), 0x8000 + one + 1)
        small = from_float(2**-9) >> 16
        self.assertEqual(added([[one], [small], [small], [small]]), [one + 1])  # each alone would be lost
        self.assertEqual(to_float(added([[one], [0x8000 | one]])[0] << 16), 0)


class Program(unittest.TestCase):
    def run_with(self, *arguments):
        return subprocess.run([sys.executable, str(ROOT / "bench" / "ptx_cost.py"), *arguments], text=True, capture_output=True,
                              env=dict(os.environ, PATH="/usr/bin:/bin"))

    def test_a_file_of_ptx_is_counted(self):
        with tempfile.TemporaryDirectory() as folder:
            path, out = Path(folder) / "a.ptx", Path(folder) / "out.json"
            path.write_text(COPY)
            done = self.run_with("--ptx", str(path), "--json", str(out), "--width", "1024", "--width", "7168")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(done.stderr, "")
            self.assertIn("counted from PTX, not timed", done.stdout)
            figures, = json.loads(out.read_text())["sm_90"]
            self.assertEqual(figures["loops"][0]["per_16_bytes"], 5.5)
            self.assertEqual((figures["once"], figures["divisions_once"]), (3, 1))
            # At H = 7168 half of the lanes would move 4 pieces, which this kernel cannot: no figure, and no guess.
            row, = figures["rows"]
            self.assertEqual((row["width"], row["instructions"], row["read"] + row["written"], row["least"]), (1024, 1280, 4096, 4096))
            self.assertRegex(done.stdout, r"CopyRow<bf16> +moved +3 +1 +10 +1,280 +10\.0 +\? +\? +\? +1\.00")

    def test_bad_input_is_one_line_and_exit_code_2(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.ptx"
            for text, says in [("", "is no PTX: it has no .target"), (".target sm_90\n", "has no kernel of the library for bf16"),
                               (kernel("bra $A;"), "CopyRow<bf16>: PTX: a branch goes to '$A'"), (COPY[:-4], "does not end")]:
                path.write_text(text)
                done = self.run_with("--ptx", str(path))
                self.assertEqual((done.returncode, done.stderr.count("\n")), (2, 1), done)
                self.assertIn(says, done.stderr)
            path.write_bytes(b"\xff\xfe")
            for arguments, says in [(["--ptx", str(path)], "it is no text"), (["--ptx", folder + "/missing"], "missing: No such file"),
                                    (["--ptx", str(path), "--width", "1001"], "--width is 1001, must be a multiple of 8"),
                                    (["--compiler", folder + "/nvcc", "--arch", "sm_90"], "cannot run " + folder + "/nvcc: No such file")]:
                done = self.run_with(*arguments)
                self.assertEqual((done.returncode, done.stderr.count("\n")), (2, 1), done)
                self.assertIn(says, done.stderr)
            for arguments, says in [(["--arch", "90"], "'90' is no architecture"), (["--width", "0"], "'0' is not a whole number from 1"),
                                    (["--type", "int8"], "invalid choice"), (["--ptx", "a", "--arch", "sm_90"], "--ptx compiles nothing")]:
                done = self.run_with(*arguments)
                self.assertEqual(done.returncode, 2, done)
                self.assertIn(says, done.stderr)


if __name__ == "__main__":
    unittest.main()
