/* rows.c - prints data sets as JSON Lines, whatever they are: the smallest whole program.
 *
 *     build/examples/rows 'data/train-*.parquet' extra.csv.gz >all.jsonl
 *     build/examples/rows --time FILE...          only reads, and says how long it took
 *
 * Rows that cannot be used go to standard error with their reasons. */
#include "data/data.h"

static int print_row(const json_t *row)
{
    struct buf b = {0};
    json_add_text(&b, row, 0);
    buf_adds(&b, "\n");
    bool ok = !b.failed && fwrite(b.s, 1, b.len, stdout) == b.len;
    buf_release(&b);
    return ok ? 0 : -1;
}

static int print_rows(const char *name, bool timed)
{
    struct rows rows;
    struct err err = {0};
    double start = time_now();
    if (rows_read(&rows, name, 0, &err)) {
        fprintf(stderr, "rows: %s\n", err.msg);
        return -1;
    }
    int rc = 0;
    for (int i = 0; i < rows.n_rejected; i++)
        fprintf(stderr, "%s: %s\n", rows_place(&rows, rows.rejected[i].line).s,
                rows.rejected[i].why);
    if (timed)
        printf("%d rows of %s in %.3f s, %.0f MB at most\n", rows.n, name, time_now() - start,
               mem_peak_mb());
    for (int i = 0; i < rows.n && !timed && rc == 0; i++)
        rc = print_row(rows.row[i]);
    rows_release(&rows);
    return rc;
}

int main(int argc, char **argv)
{
    int first = argc > 1 && strcmp(argv[1], "--time") == 0 ? 2 : 1, rc = 0;
    if (argc <= first) {
        fprintf(stderr, "usage: rows [--time] FILE...\n");
        return 2;
    }
    for (int i = first; i < argc && rc == 0; i++)
        rc = print_rows(argv[i], first == 2);
    return rc ? 1 : 0;
}
