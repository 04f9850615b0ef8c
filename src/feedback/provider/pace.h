/* feedback/provider/pace.h - how many calls may be in flight, and when to ask again.
 *
 * Pure: time and chance come in as arguments, so a test can play a server. */
#ifndef FEEDBACK_PROVIDER_PACE_H
#define FEEDBACK_PROVIDER_PACE_H

#include "base/base.h"

/* Calls in flight, found by trying.  A round ends when twice as many calls have ended as may be
 * in flight.  While a round ends more calls per second than the one before, the window doubles;
 * once it does not (the latency has bent: more calls only wait), the window goes back to where
 * it was, plus a quarter so that the server never idles, and feels its way up again now and
 * then.  429 halves it. */
struct pace {
    double window; // calls that may be in flight
    int most;
    bool fixed;          // `most` at once, whatever happens
    bool rising;         // before the first bend
    double rate, before; // calls per second of the last round, and the window it had
    int ended, rounds;   // calls of this round; rounds since it rises no more
    double start;        // of this round; < 0: it begins with the next call
    double hold;         // nothing is sent before this time
    bool slowed;         // halved in this round already
};
/* first: calls to begin with (0: 4); most: never more (0: 256); fixed: always `most`. */
void pace_init(struct pace *p, int first, int most, bool fixed);
/* Calls that may be in flight now. */
int pace_allows(const struct pace *p, double now);
/* A call ended well; full: as many as allowed were in flight. */
void pace_ended(struct pace *p, double now, bool full);
/* The server asked for patience (429, 503, a time-out): seconds it named, or negative. */
void pace_slow(struct pace *p, double now, double seconds);

/* Seconds before attempt + 1 (from 0): what the server named (>= 0) and up to a tenth more,
 * else `unit` doubled per attempt up to `longest`, less a random part of up to half; chance
 * lies in [0,1).  Spread out, so that calls which failed together do not come back together. */
double retry_wait(int attempt, double named, double unit, double longest, double chance);

#endif
