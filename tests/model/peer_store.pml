/* SumLen<PeerStore> in a graph, as docs/peer_store.md says: 3 ranks, 2 steps, each a gather and
 * two ways back.
 *
 * A store is a message of its own: it is on its way until memory takes it, and messages arrive in any order, but for two
 * to one location. A release waits until all data stores of its rank have arrived. Without an acquire, a rank may have
 * read the data before it saw the flag. A flag is set by the rank that is there and cleared by the one that saw it.
 *
 * check_model.py defines one NO_... at a time: that model must go wrong.
 */
#define N 3
#define STEPS 2
#define AT(of, by) ((of) * N + (by))

byte global[N * N];         /* AT(rank, block): step whose rows lie there */
byte partial[N];            /* of each rank: 2 * step + way back */
bool flag[N * N];           /* AT(from, to) */
byte global_under_way[N * N]; /* AT(to, by), 0: nothing */
byte partial_under_way[N];
bool set_under_way[N * N], clear_under_way[N * N];

#ifdef NO_RELEASE
#define RELEASE(r) skip
#else
#define RELEASE(r) (global_under_way[AT(0, r)] == 0 && global_under_way[AT(1, r)] == 0 && \
                    global_under_way[AT(2, r)] == 0 && partial_under_way[r] == 0)
#endif

#define NEXT(r) (((r) + 1) % N)
#define LAST(r) (((r) + 2) % N)

/* Flags of the captured barrier: Handshake::ready, Handshake::done. */
inline barrier(r) {
  RELEASE(r);
  atomic { !set_under_way[AT(r, NEXT(r))] && !set_under_way[AT(r, LAST(r))] ->
    set_under_way[AT(r, NEXT(r))] = true; set_under_way[AT(r, LAST(r))] = true }
#ifdef NO_ACQUIRE
  read(r);
#endif
  /* It sees its own clears of before: they are to the same location. */
  (flag[AT(NEXT(r), r)] && flag[AT(LAST(r), r)] && !clear_under_way[AT(NEXT(r), r)] && !clear_under_way[AT(LAST(r), r)]);
  atomic { clear_under_way[AT(NEXT(r), r)] = true; clear_under_way[AT(LAST(r), r)] = true }
#ifndef NO_WAIT_FOR_CLEAR
  (!flag[AT(r, NEXT(r))] && !flag[AT(r, LAST(r))] && !set_under_way[AT(r, NEXT(r))] && !set_under_way[AT(r, LAST(r))]);
#endif
}

#define ALL(a, b, c, v) ((a) == (v) && (b) == (v) && (c) == (v))

/* What the rank's loads give. */
inline read(r) {
  d_step { g0 = global[AT(r, 0)]; g1 = global[AT(r, 1)]; g2 = global[AT(r, 2)];
    p0 = partial[0]; p1 = partial[1]; p2 = partial[2] }
}
#ifdef NO_ACQUIRE
#define LOOK(r) skip
#else
#define LOOK(r) read(r)
#endif

proctype Rank(byte r) {
  byte step = 1, back;
  byte g0, g1, g2, p0, p1, p2;
  do
  :: step > STEPS -> break
  :: else ->
#ifndef NO_BARRIER_BEFORE_STORES
    barrier(r);
#endif
    atomic { global_under_way[AT(0, r)] == 0 && global_under_way[AT(1, r)] == 0 && global_under_way[AT(2, r)] == 0 ->
      global_under_way[AT(0, r)] = step; global_under_way[AT(1, r)] = step; global_under_way[AT(2, r)] = step }
#ifndef NO_BARRIER_AFTER_STORES
    barrier(r);
#endif
    LOOK(r);
    assert(ALL(g0, g1, g2, step)); /* rows are there */
    back = 1;
    do
    :: back > 2 -> break
    :: else ->
      atomic { partial_under_way[r] == 0 -> partial_under_way[r] = 2 * step + back }
#ifndef NO_BARRIER_BEFORE_PULLS
      barrier(r);
#endif
      LOOK(r);
      assert(ALL(p0, p1, p2, 2 * step + back)); /* partial sums are whole */
#ifndef NO_BARRIER_AFTER_PULLS
      barrier(r);
#endif
      back++
    od;
    LOOK(r);
    assert(ALL(g0, g1, g2, step)); /* and what was gathered has stayed */
    step++
  od
}

#define ARRIVE_ROWS(i) :: global_under_way[i] != 0 -> d_step { global[i] = global_under_way[i]; global_under_way[i] = 0 }
#define ARRIVE_PARTIAL(i) :: partial_under_way[i] != 0 -> d_step { partial[i] = partial_under_way[i]; partial_under_way[i] = 0 }
#define ARRIVE_SET(i) :: set_under_way[i] -> d_step { flag[i] = true; set_under_way[i] = false }
#define ARRIVE_CLEAR(i) :: clear_under_way[i] -> d_step { flag[i] = false; clear_under_way[i] = false }

proctype Memory() {
end:
  do
  ARRIVE_ROWS(0) ARRIVE_ROWS(1) ARRIVE_ROWS(2) ARRIVE_ROWS(3) ARRIVE_ROWS(4)
  ARRIVE_ROWS(5) ARRIVE_ROWS(6) ARRIVE_ROWS(7) ARRIVE_ROWS(8)
  ARRIVE_PARTIAL(0) ARRIVE_PARTIAL(1) ARRIVE_PARTIAL(2)
  ARRIVE_SET(1) ARRIVE_SET(2) ARRIVE_SET(3) ARRIVE_SET(5) ARRIVE_SET(6) ARRIVE_SET(7)
  ARRIVE_CLEAR(1) ARRIVE_CLEAR(2) ARRIVE_CLEAR(3) ARRIVE_CLEAR(5) ARRIVE_CLEAR(6) ARRIVE_CLEAR(7)
  od
}

init { atomic { run Memory(); run Rank(0); run Rank(1); run Rank(2) } }
