/* report/draw.h - pieces of the page, each appended to a buffer. */
#ifndef REPORT_DRAW_H
#define REPORT_DRAW_H

#include "report/report.h"

extern const char report_style[];

void html_text(struct buf *b, const char *s);       // escaped; NULL is empty
void draw_chart(struct buf *b, const struct chart *c);
void draw_rates(struct buf *b, const struct rate *r, int n);
void draw_reliability(struct buf *b, const struct bin *bin, int n);
void draw_matrix(struct buf *b, const struct matrix *m);
void draw_bars(struct buf *b, const struct bar *bar, int n);

#endif
