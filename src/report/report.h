/* report/report.h - a finished run as one self-contained page.
 *
 * The page is HTML with inline SVG drawn here: no scripts, no fonts, nothing fetched; light and
 * dark; readable at phone width and on paper.  Every text that comes from a model or a data set
 * is escaped. */
#ifndef REPORT_REPORT_H
#define REPORT_REPORT_H

#include "base/base.h"

/* One line of a chart: n points, x rising; a NaN y leaves a gap.  Arrays are borrowed for the call. */
struct series { const char *name; const double *x, *y; int n; };

struct chart {
    const char *title, *x_label, *caption;
    struct series s[3];
    int n;
    double floor;
    bool has_floor;
};
/* A share with its 95 % interval; lo > hi: no interval. */
struct rate { const char *name; double value, lo, hi; };
/* A share of a whole that a bar shows, with a note behind it. */
struct bar { const char *name; double value; const char *note; };
/* One bin of a reliability diagram: mean label, observed share, pairs in it. */
struct bin { double label, observed; int n; };
/* Policies against each other: cell (i,k) is the share of prompts on which i beats k; beside it
 * drift and oracle score (NaN: unknown). */
struct matrix {
    const char *const *name;
    const struct rate *cell;
    const double *kl, *oracle;
    int n;
};
struct box { const char *name, *what, *count; };        // one stage of the pipeline picture
struct sample { const char *prompt, *before, *after, *verdict; };
struct figure { const char *name, *value, *interval, *command; };

struct report {
    const char *title, *lead;           // lead: the result in one or two sentences
    bool lead_is_warning;               // the lead says that there is no usable signal
    const char *note;                   // what the run shows and what not; NULL: none
    const char *command;                // what made it
    struct box *box; int n_boxes;
    struct rate *rate; int n_rates;     // drawn against the line at one half
    struct matrix matrix;               // n 0: none
    struct chart *chart; int n_charts;
    struct bin *bin; int n_bins;
    struct bar *position; int n_position;   // position bias
    struct bar *cost; int n_costs;      // seconds by stage; value is the share of the whole
    struct sample *sample; int n_samples;
    bool fold;                          // texts can be offensive: folded until opened
    struct figure *figure; int n_figures;
    const char *footer;                 // machine, version, date
};

/* Writes the page atomically.  All of r is borrowed. */
int report_write(const struct report *r, const char *path, struct err *err) MUST_CHECK;

#include "report/audit.h"

#endif
