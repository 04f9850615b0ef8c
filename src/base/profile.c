/* profile.c - where the time of a command went: RLAIF_TRACE=time.
 *
 * Scopes nest as calls do, so they make a tree: a stage, its phases, the operations in them.  A
 * node is a name below a parent; it counts entries and sums their time.  Only the thread that
 * entered first is followed: it is the one that drives the device, and the others work for it. */
#include "base/base.h"

#include <pthread.h>

enum { NODES = 1024, DEPTH = 64 };
struct node {
    const char *name;
    int parent, child, sibling; // -1: none
    int64_t calls;
    double seconds;
};

static struct {
    int on; // 0: not asked yet, 1: yes, -1: no
    pthread_t owner;
    int n, here, depth; // here: the innermost open scope, -1 at the root
    struct node node[NODES];
} profile;

static bool begin(void)
{
    if (!profile.on) {
        profile.on = trace_on("time") ? 1 : -1;
        profile.owner = pthread_self();
        profile.here = -1;
    }
    return profile.on > 0 && pthread_equal(profile.owner, pthread_self());
}

static int first_child(int parent)
{
    return parent >= 0 ? profile.node[parent].child : profile.n ? 0 : -1;
}

static int find(int parent, const char *name)
{
    int last = -1;
    for (int i = first_child(parent); i >= 0; last = i, i = profile.node[i].sibling)
        if (profile.node[i].name == name || !strcmp(profile.node[i].name, name))
            return i;
    if (profile.n == NODES)
        return -1;
    int i = profile.n++;
    profile.node[i] = (struct node){.name = name, .parent = parent, .child = -1, .sibling = -1};
    if (last >= 0)
        profile.node[last].sibling = i;
    else if (parent >= 0)
        profile.node[parent].child = i;
    return i;
}

struct profile_scope profile_enter(const char *name)
{
    struct profile_scope s = {-1, 0};
    if (profile.on < 0 || !begin() || profile.depth == DEPTH)
        return s;
    s.node = find(profile.here, name);
    if (s.node >= 0) {
        profile.here = s.node;
        profile.depth++;
        s.start = time_now();
    }
    return s;
}

void profile_leave(struct profile_scope *s)
{
    if (s->node < 0)
        return;
    struct node *n = &profile.node[s->node];
    n->seconds += time_now() - s->start;
    n->calls++;
    profile.here = n->parent;
    profile.depth--;
}

/* ---- what it came to ------------------------------------------------------------------ */

static void print_line(int depth, const char *name, double seconds, double whole, int64_t calls,
                       FILE *to)
{
    fprintf(to, "%*s%-*s %9.3f %6.1f %% ", 2 * depth, "", 44 - 2 * depth, name, seconds,
            whole > 0 ? 100 * seconds / whole : 0);
    if (calls)
        fprintf(to, "%9lld\n", (long long)calls);
    else
        fputs("\n", to);
}

/* Children by falling time; below a thousandth of the whole they are summed up. */
static void print_children(int parent, int depth, double whole, FILE *to)
{
    bool shown[NODES] = {false};
    double small = 0, all = 0;
    int n_small = 0;
    for (;;) {
        int best = -1;
        for (int i = first_child(parent); i >= 0; i = profile.node[i].sibling)
            if (!shown[i] && (best < 0 || profile.node[i].seconds > profile.node[best].seconds))
                best = i;
        if (best < 0)
            break;
        const struct node *n = &profile.node[best];
        shown[best] = true;
        all += n->seconds;
        if (parent >= 0 && n->seconds < whole / 1000) {
            small += n->seconds;
            n_small++;
            continue;
        }
        print_line(depth, n->name, n->seconds, parent < 0 ? n->seconds : whole, n->calls, to);
        print_children(best, depth + 1, parent < 0 ? n->seconds : whole, to);
    }
    double own = parent >= 0 ? profile.node[parent].seconds - all + small : 0;
    if ((all > 0 || n_small) && own > whole / 1000)
        print_line(depth, n_small ? "(the rest)" : "(its own)", own, whole, 0, to);
}

static bool is_op(const struct node *n)
{
    return !strncmp(n->name, "op_", 3);
}

/* The same operations, wherever they were called from. */
static void print_ops(FILE *to)
{
    bool seen[NODES] = {false};
    double whole = 0;
    for (int i = 0; i < profile.n; i++)
        whole += profile.node[i].parent < 0 ? profile.node[i].seconds : 0;
    for (;;) {
        int best = -1;
        double most = 0;
        int64_t calls = 0;
        for (int i = 0; i < profile.n; i++) {
            double sum = 0;
            int64_t n = 0;
            for (int j = i; j < profile.n && !seen[i] && is_op(&profile.node[i]); j++)
                if (!strcmp(profile.node[i].name, profile.node[j].name)) {
                    sum += profile.node[j].seconds;
                    n += profile.node[j].calls;
                }
            if (sum > most) {
                best = i;
                most = sum;
                calls = n;
            }
        }
        if (best < 0)
            break;
        print_line(1, profile.node[best].name, most, whole, calls, to);
        for (int j = 0; j < profile.n; j++)
            seen[j] |= !strcmp(profile.node[best].name, profile.node[j].name);
    }
}

void profile_print(FILE *to)
{
    if (profile.on <= 0 || !profile.n)
        return;
    fprintf(to, "%-44s %9s %8s %9s\n", "time by phase", "seconds", "share", "calls");
    print_children(-1, 0, 0, to);
    fprintf(to, "%s\n", "by operation, wherever it was called");
    print_ops(to);
}
