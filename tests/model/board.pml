/* How ranks of a host agree on a board (comm/board.hpp): 3 ranks, 3 rounds, each a post and a wait; before any round the
 * last rank may fail the board in place of posting.
 *
 * A rank posts into the slot of the round, stores the round in the slot's word, and wakes those that sleep if by then
 * all have posted. It waits by looking at each rank's word, asleep if it likes. Sleeping has no time limit here, so a
 * wake that is lost is a deadlock. Words are sequentially consistent, as in the library; a record is written in two steps,
 * and whoever reads it must find the round's, whole. `touch` is what the library does to fetch back the lines of a slot.
 *
 * check_model.py defines one NO_... at a time: that model must go wrong.
 */
#define N 3
#define ROUNDS 3
#define BROKEN 255 /* a record that is being written */

#ifdef NO_SECOND_SLOT
#define SLOT(r, round) ((r) * 2)
#else
#define SLOT(r, round) ((r) * 2 + (round) % 2)
#endif

byte posted[N * 2]; /* round + 1 */
byte record[N * 2]; /* likewise */
byte sleepers, wakes;
bool asleep[N], failed;

#ifdef NO_CHANGE_OF_WORD
#define CHANGE_WORD skip
#else
#define CHANGE_WORD wakes++
#endif
inline wake() {
  CHANGE_WORD;
  d_step { asleep[0] = false; asleep[1] = false; asleep[2] = false }
}

/* Looks at ranks from `next` on, one load at a time. */
inline look(round) {
  do
#ifdef NO_LAST_RANK
  :: next < N - 1 && posted[SLOT(next, round)] == round + 1 -> next++
  :: next < N - 1 && posted[SLOT(next, round)] != round + 1 -> break
  :: next == N - 1 -> next = N; break
#else
  :: next < N && posted[SLOT(next, round)] == round + 1 -> next++
  :: next < N && posted[SLOT(next, round)] != round + 1 -> break
#endif
  :: next == N -> break
  od
}

proctype Rank(byte r) {
  byte round, next, seen;
  bool someone;
  do
  :: round == ROUNDS -> break
  :: else ->
    if
    :: r == N - 1 ->
      failed = true;
#ifndef NO_WAKE_WHEN_FAILED
      wake();
#endif
      break
    :: failed -> break
    :: !failed
    fi;
#ifdef NO_WORD_BEFORE_SLEEPERS
    someone = sleepers > 0;
#endif
    record[SLOT(r, round)] = BROKEN;
#ifdef NO_RECORD_BEFORE_WORD
    posted[SLOT(r, round)] = round + 1;
    record[SLOT(r, round)] = round + 1;
#else
    record[SLOT(r, round)] = round + 1;
    posted[SLOT(r, round)] = round + 1;
#endif
#ifndef NO_WORD_BEFORE_SLEEPERS
    someone = sleepers > 0;
#endif
    if
    :: someone ->
      next = 0;
      look(round);
      if
      :: next == N -> wake()
      :: else
      fi;
      someone = false
    :: else
    fi;
#ifdef NO_ALL_BEFORE_TOUCH
    record[SLOT(r, round + 1)] = BROKEN;
#endif
    next = 0;
    look(round);
    if
    :: next == N || failed
    :: next < N -> /* sleeps */
#ifndef NO_SLEEPERS_BEFORE_LOOK
      sleepers++;
#endif
      do
      ::
#ifndef NO_WORD_READ_BEFORE_LOOK
        seen = wakes;
#endif
        look(round);
        if
        :: next == N || failed -> break
        :: else
        fi;
#ifdef NO_SLEEPERS_BEFORE_LOOK
        sleepers++;
#endif
#ifdef NO_WORD_READ_BEFORE_LOOK
        seen = wakes;
#endif
        atomic {
          if
          :: wakes == seen -> asleep[r] = true
          :: else
          fi
        };
        !asleep[r];
#ifdef NO_SLEEPERS_BEFORE_LOOK
        sleepers--
#endif
      od;
#ifndef NO_SLEEPERS_BEFORE_LOOK
      sleepers--
#endif
    fi;
    seen = 0;
    if
    :: next == N
    :: else -> break /* it failed */
    fi;
    next = 0;
    do
    :: next < N -> assert(record[SLOT(next, round)] == round + 1); next++
    :: else -> break
    od;
    record[SLOT(r, round + 1)] = BROKEN; /* touch */
    next = 0;
    round++
  od
}

init {
  atomic { run Rank(0); run Rank(1); run Rank(2) }
}
