/* kit/kit.h - what every test program needs: cmocka, a folder of its own, small files.
 *
 * A test program ends with KIT_MAIN(tests), where tests is a static array of struct CMUnitTest.  It then
 * takes names of tests as arguments, and --list. */
#ifndef KIT_KIT_H
#define KIT_KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A path inside this program's own temporary folder, which disappears at exit.  The string lives until then. */
const char *kit_path(const char *name);
/* Writes n bytes (or a string) there and returns the path. */
const char *kit_bytes(const char *name, const void *bytes, size_t n);
const char *kit_text(const char *name, const char *text);
/* The whole file as a string that lives until exit; NULL when it cannot be read. */
const char *kit_slurp(const char *path, size_t *n);
bool kit_exists(const char *path);

/* `../shared/NAME` seen from the repository, or NULL when it is not there: skip() then. */
const char *kit_shared(const char *name);
/* `tests/NAME` of this repository, wherever the program was started. */
const char *kit_tests(const char *name);

/* Fails the test unless s contains part; shows both. */
#define kit_contains(s, part) kit_contains_at(s, part, __FILE__, __LINE__)
void kit_contains_at(const char *s, const char *part, const char *file, int line);

int kit_main(const struct CMUnitTest *tests, size_t n, int argc, char **argv);
#define KIT_MAIN(tests)                                                                            \
    int main(int argc, char **argv)                                                                \
    {                                                                                              \
        return kit_main(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);                      \
    }

#endif
