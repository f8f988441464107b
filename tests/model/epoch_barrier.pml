/* SumLen<PeerStore> between processes, as docs/peer_store.md says: 3 ranks, 2 steps, each a gather and two ways
 * back, with the barrier that compares epochs.
 *
 * Memory is as in peer_store.pml: a store is a message of its own, and messages arrive in any order, but for two to one
 * location, where the later one may replace one that is on its way. A release waits until all data stores of its rank
 * have arrived. Without an acquire, a rank may have read the data before it saw the epoch.
 *
 * Epochs have two bits and begin at the last: the first barrier wraps around, and so do two others. A difference of them is
 * a number from -2 to 1, as one of int32 is from -2^31 to 2^31 - 1.
 *
 * check_model.py defines one NO_... at a time: that model must go wrong.
 */
#define N 3
#define STEPS 2
#define EPOCHS 4
#define AT(of, by) ((of) * N + (by))

byte global[N * N];           /* AT(rank, block): step whose rows lie there */
byte partial[N];              /* of each rank: 2 * step + way back */
byte arrived[N * N];          /* AT(of, by): the epoch that `by` told `of` */
byte global_under_way[N * N]; /* AT(to, by), 0: nothing */
byte partial_under_way[N];
byte epoch_under_way[N * N];  /* epoch + 1, 0: nothing */

#ifdef NO_RELEASE
#define RELEASE(r) skip
#else
#define RELEASE(r) (global_under_way[AT(0, r)] == 0 && global_under_way[AT(1, r)] == 0 && \
                    global_under_way[AT(2, r)] == 0 && partial_under_way[r] == 0)
#endif

#define NEXT(r) (((r) + 1) % N)
#define LAST(r) (((r) + 2) % N)

#ifdef NO_DIFFERENCE
#define REACHED(has, wants) ((has) == (wants))
#else
#ifdef NO_SIGN
#define REACHED(has, wants) ((has) >= (wants))
#else
#define REACHED(has, wants) (((has) + EPOCHS - (wants)) % EPOCHS < EPOCHS / 2)
#endif
#endif

inline barrier(r) {
  RELEASE(r);
  atomic { epoch_under_way[AT(NEXT(r), r)] = (epoch + 1) % EPOCHS + 1; epoch_under_way[AT(LAST(r), r)] = (epoch + 1) % EPOCHS + 1 }
#ifdef NO_ACQUIRE
  read(r);
#endif
#ifndef NO_WAIT
  (REACHED(arrived[AT(r, NEXT(r))], (epoch + 1) % EPOCHS) && REACHED(arrived[AT(r, LAST(r))], (epoch + 1) % EPOCHS));
#endif
#ifndef NO_ADVANCE
  epoch = (epoch + 1) % EPOCHS;
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
  byte step = 1, back, epoch = EPOCHS - 1;
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
#define ARRIVE_EPOCH(i) :: epoch_under_way[i] != 0 -> d_step { arrived[i] = epoch_under_way[i] - 1; epoch_under_way[i] = 0 }

proctype Memory() {
end:
  do
  ARRIVE_ROWS(0) ARRIVE_ROWS(1) ARRIVE_ROWS(2) ARRIVE_ROWS(3) ARRIVE_ROWS(4)
  ARRIVE_ROWS(5) ARRIVE_ROWS(6) ARRIVE_ROWS(7) ARRIVE_ROWS(8)
  ARRIVE_PARTIAL(0) ARRIVE_PARTIAL(1) ARRIVE_PARTIAL(2)
  ARRIVE_EPOCH(1) ARRIVE_EPOCH(2) ARRIVE_EPOCH(3) ARRIVE_EPOCH(5) ARRIVE_EPOCH(6) ARRIVE_EPOCH(7)
  od
}

init {
  atomic {
    arrived[1] = EPOCHS - 1; arrived[2] = EPOCHS - 1; arrived[3] = EPOCHS - 1;
    arrived[5] = EPOCHS - 1; arrived[6] = EPOCHS - 1; arrived[7] = EPOCHS - 1;
    run Memory(); run Rank(0); run Rank(1); run Rank(2)
  }
}
