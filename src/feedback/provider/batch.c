/* provider/batch.c - the two files of a batch.
 *
 * What is left out: sending them.  Each host has its own way of uploading, and a person or a
 * script of theirs does it. */
#include "feedback/provider/batch.h"

#include "data/data.h"

enum { MOST_IN_ONE = 50000 };

struct batch {
    struct file_out out;
    bool writes;
    int written;
    json_t *replies; // custom_id -> row
};

bool batch_writes(const struct batch *b)
{
    return b->writes;
}

/* ---- written ----------------------------------------------------------------------------- */

int batch_write(struct batch *b, struct hash128 key, const struct request *r, struct err *err)
{
    char id[33];
    struct buf line = {0};
    hash_hex(id, key);
    // The host's name is theirs to know: a batch names paths only.
    const char *path = strstr(r->url, "://");
    path = path ? strchr(path + 3, '/') : NULL;
    buf_addf(&line,
             "{\"custom_id\": \"%s\", \"method\": \"POST\", \"url\": \"%s\", \"body\": ", id,
             path ? path : "/");
    buf_add(&line, r->body.s, r->body.len);
    buf_adds(&line, "}\n");
    int rc = line.failed ? err_set(err, ERR_MEMORY, "no memory for a question") : 0;
    if (rc == 0 && fwrite(line.s, 1, line.len, b->out.f) != line.len)
        rc = err_set(err, ERR_IO, "%s: could not be written", b->out.path);
    b->written += rc == 0;
    buf_release(&line);
    return rc;
}

/* ---- collected --------------------------------------------------------------------------- */

static int read_file(struct batch *b, const char *path, struct err *err)
{
    struct rows rows = {0};
    int rc = rows_read(&rows, path, 0, err);
    if (rc)
        return rc;
    for (int i = 0; i < rows.n && rc == 0; i++) {
        const char *id = json_string_value(json_object_get(rows.row[i], "custom_id"));
        if (!id)
            rc = err_set(err, ERR_FORMAT,
                         "%s: no \"custom_id\"; expected the replies of a batch",
                         rows_place(&rows, rows.line[i]).s);
        else if (json_object_set(b->replies, id, rows.row[i]))
            rc = err_set(err, ERR_MEMORY, "no memory for the replies of %s", path);
    }
    if (rc == 0 && rows.n_rejected)
        log_warn("%s: %d lines are no replies", path, rows.n_rejected);
    rows_release(&rows);
    return rc;
}

const json_t *batch_find(const struct batch *b, struct hash128 key, struct err *why)
{
    char id[33];
    hash_hex(id, key);
    const json_t *row = json_object_get(b->replies, id), *r = json_object_get(row, "response");
    const json_t *e = json_object_get(row, "error"), *body = json_object_get(r, "body");
    if (!e || json_is_null(e))
        e = json_object_get(body, "error");
    const json_t *status = json_object_get(r, "status_code");
    const char *text = json_string_value(json_object_get(e, "message"));
    if (!row)
        err_set(why, ERR_MISSING, "no reply in the batch's files");
    else if (text || (e && !json_is_null(e)) || (status && json_integer_value(status) != 200))
        err_set(why, ERR_IO, "status %lld: %s", (long long)json_integer_value(status),
                text ? text : "no reason given");
    else if (!json_is_object(body))
        err_set(why, ERR_FORMAT, "a reply without a body");
    else
        return body;
    return NULL;
}

/* ---- both -------------------------------------------------------------------------------- */

static int read_files(struct batch *b, const char *in, struct err *err)
{
    char *list = strdup(in), *save = NULL;
    int rc = list ? 0 : err_set(err, ERR_MEMORY, "no memory for a path");
    for (char *path = list ? strtok_r(list, ",", &save) : NULL; path && rc == 0;
         path = strtok_r(NULL, ",", &save))
        rc = read_file(b, path, err);
    free(list);
    return rc;
}

int batch_open(struct batch **out, const char *to, const char *in, struct err *err)
{
    struct batch *b = mem_alloc(1, sizeof *b);
    if (b)
        b->replies = json_object();
    int rc = b && b->replies ? 0 : err_set(err, ERR_MEMORY, "no memory for a batch");
    if (rc == 0 && to) {
        b->writes = true;
        rc = file_out_open(&b->out, to, err);
    } else if (rc == 0) {
        rc = read_files(b, in, err);
    }
    if (rc == 0) {
        *out = b;
    } else if (b) {
        json_decref(b->replies);
        free(b);
    }
    return rc;
}

int batch_close(struct batch *b, struct err *err)
{
    int rc = 0;
    if (!b)
        return 0;
    if (b->written) {
        char *path = strdup(b->out.path);
        rc = file_out_commit(&b->out, err);
        if (rc == 0)
            log_info("%d questions are in %s; --collect reads the replies", b->written,
                     path ? path : "the batch file");
        if (rc == 0 && b->written > MOST_IN_ONE)
            log_warn("%s has more than %d questions: hosts take less in one file (split -l %d)",
                     path ? path : "it", MOST_IN_ONE, MOST_IN_ONE);
        free(path);
    }
    if (b->writes)
        file_out_close(&b->out);
    json_decref(b->replies);
    free(b);
    return rc;
}
