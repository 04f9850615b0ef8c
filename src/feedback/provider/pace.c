/* provider/pace.c - the window of calls in flight and the waits between attempts. */
#include "feedback/provider/pace.h"

#include <math.h>

enum { FIRST = 4, MOST = 256, ROUNDS_BETWEEN_TRIES = 16 };
static const double better = 1.1; // a round counts as faster from here on

void pace_init(struct pace *p, int first, int most, bool fixed)
{
    *p = (struct pace){
        .most = most > 0 ? most : MOST, .fixed = fixed, .rising = true, .start = -1};
    p->window = first > 0 ? first : FIRST;
    if (fixed || p->window > p->most)
        p->window = p->most;
}

int pace_allows(const struct pace *p, double now)
{
    if (now < p->hold)
        return 0;
    return p->window < 1 ? 1 : (int)p->window;
}

static void next_round(struct pace *p, double window)
{
    p->window = window < 1 ? 1 : window > p->most ? p->most : window;
    p->ended = 0;
    p->start = -1;
    p->slowed = false;
}

/* The window this round had brought nothing over the one before: back to that, and a little. */
static double settled(const struct pace *p)
{
    return ceil(1.25 * p->before);
}

static void judge_round(struct pace *p, double rate)
{
    bool faster = rate > better * p->rate || p->rate == 0;
    if (p->rising && faster) {
        p->before = p->window;
        p->rate = rate;
        next_round(p, 2 * p->window);
    } else if (p->rising) {
        p->rising = false;
        p->rounds = 0;
        next_round(p, settled(p));
    } else if (++p->rounds % ROUNDS_BETWEEN_TRIES == 0) { // a try: servers change
        p->before = p->window;
        p->rate = rate;
        p->rising = true;
        next_round(p, p->window + fmax(1, 0.25 * p->window));
    } else {
        p->rate = rate;
        next_round(p, p->window);
    }
}

void pace_ended(struct pace *p, double now, bool full)
{
    if (p->fixed)
        return;
    if (!full) { // nothing is learnt about the server while it has too little to do
        p->ended = 0;
        p->start = -1;
        return;
    }
    if (p->start < 0) {
        p->start = now;
        p->ended = 0;
        return;
    }
    p->ended++;
    if (p->ended < 2 * (int)p->window || p->ended < 8 || now <= p->start)
        return;
    judge_round(p, p->ended / (now - p->start));
}

void pace_slow(struct pace *p, double now, double seconds)
{
    if (seconds > 0 && now + seconds > p->hold)
        p->hold = now + seconds;
    if (p->fixed || p->slowed)
        return;
    p->rising = false;
    p->rounds = 0;
    p->before = p->window / 2;
    next_round(p, p->window / 2);
    p->slowed = true; // the calls already in flight will say the same
}

double retry_wait(int attempt, double named, double unit, double longest, double chance)
{
    if (named >= 0)
        return named + fmin(1, 0.1 * named + 0.05) * chance;
    double wait = unit * pow(2, attempt < 30 ? attempt : 30);
    return fmin(wait, longest) * (1 - 0.5 * chance);
}
