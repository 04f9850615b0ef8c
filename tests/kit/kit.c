/* kit.c - temporary files and the common main() of test programs. */
#include "kit/kit.h"

#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[256];
static pid_t owner;
static void *kept[4096];    // strings handed out, freed at exit so that leak checkers stay quiet
static int n_kept;

static char *keep(char *s)
{
    if (!s || n_kept == (int)(sizeof kept / sizeof kept[0])) {
        fprintf(stderr, "kit: no room for another string\n");
        abort();
    }
    kept[n_kept++] = s;
    return s;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *at)
{
    return remove(path);
}

static void forget_all(void)
{
    if (folder[0] && getpid() == owner)     // a forked child must not remove its parent's files
        nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    while (n_kept)
        free(kept[--n_kept]);
}

const char *kit_path(const char *name)
{
    if (!folder[0]) {
        const char *tmp = getenv("TMPDIR");
        snprintf(folder, sizeof folder, "%s/rlaif-test-XXXXXX", tmp && tmp[0] ? tmp : "/tmp");
        if (!mkdtemp(folder)) {
            perror(folder);
            abort();
        }
        owner = getpid();
        atexit(forget_all);
    }
    char *s = NULL;
    if (asprintf(&s, "%s/%s", folder, name) < 0)
        s = NULL;
    return keep(s);
}

const char *kit_bytes(const char *name, const void *bytes, size_t n)
{
    const char *path = kit_path(name);
    FILE *f = fopen(path, "wb");
    if (!f || (n && fwrite(bytes, 1, n, f) != n) || fclose(f)) {
        perror(path);
        abort();
    }
    return path;
}

const char *kit_text(const char *name, const char *text)
{
    return kit_bytes(name, text, strlen(text));
}

const char *kit_slurp(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    char *s = NULL;
    size_t len = 0;
    if (!f)
        return NULL;
    FILE *out = open_memstream(&s, &len);
    for (int c; out && (c = fgetc(f)) != EOF;)
        fputc(c, out);
    if (out)
        fclose(out);
    fclose(f);
    if (n)
        *n = len;
    return keep(s);
}

bool kit_exists(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

const char *kit_tests(const char *name)
{
    static const char here[] = KIT_TESTS;   // the folder tests/, from the Makefile
    char *s = NULL;
    if (asprintf(&s, "%s/%s", here, name) < 0)
        s = NULL;
    return keep(s);
}

const char *kit_shared(const char *name)
{
    char *s = NULL;
    if (asprintf(&s, "%s/../../shared/%s", KIT_TESTS, name) < 0)
        s = NULL;
    keep(s);
    return kit_exists(s) ? s : NULL;
}

void kit_contains_at(const char *s, const char *part, const char *file, int line)
{
    if (s && strstr(s, part))
        return;
    print_error("expected: ...%s...\nfound:    %s\n", part, s ? s : "(nothing)");
    _fail(file, line);
}

int kit_main(const struct CMUnitTest *tests, size_t n, int argc, char **argv)
{
    struct CMUnitTest *chosen = calloc(n, sizeof *chosen);
    size_t m = 0;
    bool list = argc > 1 && strcmp(argv[1], "--list") == 0;
    for (size_t i = 0; i < n && chosen; i++) {
        bool take = argc < 2;
        for (int a = 1; a < argc; a++)
            take = take || strcmp(argv[a], tests[i].name) == 0;
        if (list)
            puts(tests[i].name);
        else if (take)
            chosen[m++] = tests[i];
    }
    int rc = list ? 0 : m ? _cmocka_run_group_tests(argv[0], chosen, m, NULL, NULL) : 2;
    if (rc == 2 && !list && !m)
        fprintf(stderr, "%s: no such test; --list shows them\n", argv[0]);
    free(chosen);
    return rc;
}
