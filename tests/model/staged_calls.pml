/* Small calls of a ThreadComm, as docs/communicators.md says: 3 ranks, 4 calls. A rank copies what it sends into the hub, meets
 * the others once, reads all copies, and leaves. It keeps two copies by turns.
 *
 * The rendezvous is a counter that all ranks raise by one and a phase that the last one raises: threads share memory that is
 * sequentially consistent there, so nothing is on its way. A rank that reads is at it for a while: one copy after the other.
 *
 * check_model.py defines one NO_... at a time: that model must go wrong.
 */
#define N 3
#define CALLS 4

#ifdef NO_TURNS
#define AT(rank, call) (2 * (rank))
#else
#define AT(rank, call) (2 * (rank) + (call) % 2)
#endif

byte copies[2 * N]; /* the call whose data lie there */
byte arrived, phase;

inline meet() {
#ifdef NO_RENDEZVOUS
  skip;
#else
  d_step {
    mine = phase;
    arrived++;
    if
    :: arrived == N -> arrived = 0; phase = (phase + 1) % 4
    :: else -> skip
    fi
  }
  (phase != mine);
#endif
}

proctype Rank(byte r) {
  byte call = 1, mine, peer;
  do
  :: call > CALLS -> break
  :: else ->
#ifndef NO_COPY_BEFORE
    copies[AT(r, call)] = call;
#endif
    meet();
#ifdef NO_COPY_BEFORE
    copies[AT(r, call)] = call;
#endif
    peer = 0;
    do
    :: peer == N -> break
    :: else -> assert(copies[AT(peer, call)] == call); peer++
    od;
    call++
  od
}

init { atomic { run Rank(0); run Rank(1); run Rank(2) } }
