/* report/audit.h - one page about how far labels can be trusted.  Part of the door report.h. */
#ifndef REPORT_AUDIT_H
#define REPORT_AUDIT_H

#include "report/report.h"

/* One labeling: a line of the table, and a card with its plots. */
struct audit_labeler {
    const char *name;
    const char *const *cell;        // (n_columns) as the table shows them
    struct rate *rate; int n_rates; // alignment of all, of parts by confidence, of groups
    struct bin *bin; int n_bins;    // reliability
    struct bar *position; int n_position;
    struct bar *probe; int n_probes;        // losing candidates that won by carrying a text, by its kind
    double accuracy, lo, hi;        // NaN: nothing to compare with
    double price, seconds;          // dollars and seconds per thousand labels; NaN: unknown
};
struct audit_page {
    const char *title, *lead;
    bool lead_is_warning;
    const char *const *column, *const *column_help; // (n_columns)
    int n_columns;
    struct audit_labeler *labeler; int n;
    const char *const *p_value;     // (n,n) McNemar's, of row against column; NULL: one labeling
    const char *command, *footer;
};
/* Writes the page atomically.  All of p is borrowed. */
int report_write_audit(const struct audit_page *p, const char *path, struct err *err) MUST_CHECK;

#endif
