/* report/draw.h - pieces of the page, each appended to a buffer. */
#ifndef REPORT_DRAW_H
#define REPORT_DRAW_H

#include "report/report.h"

extern const char report_style[];

void html_text(struct buf *b, const char *s);       // escaped; NULL is empty
void html_element(struct buf *b, const char *tag, const char *class, const char *text);
/* A page from its beginning to the sentence below its title; and its end. */
void html_head(struct buf *b, const char *title, const char *lead, bool warning);
void html_foot(struct buf *b, const char *command, const char *footer);
/* A share y (0 to 1) with its interval (lo > hi: none) at x. */
struct dot { const char *name; double x, y, lo, hi; };
void draw_dots(struct buf *b, const char *title, const char *x_label, const struct dot *dot, int n);
void draw_chart(struct buf *b, const struct chart *c);
void draw_rates(struct buf *b, const struct rate *r, int n);
void draw_reliability(struct buf *b, const struct bin *bin, int n);
void draw_matrix(struct buf *b, const struct matrix *m);
void draw_bars(struct buf *b, const struct bar *bar, int n);

#endif
