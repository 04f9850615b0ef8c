/* A person at a pipe: keys in, screens out; what was answered stays, what was taken back does
 * not. */
#include "feedback/feedback.h"
#include "feedback/provider/people.h"
#include "kit/kit.h"

#include <fcntl.h>
#include <unistd.h>

enum { N = 4 };
static struct label label[N];
static struct annotate_counts counts;
static const struct label_item items[N] = {
    {.prompt = "Post one", .first = "A cat.", .second = "A dog."},
    {.prompt = "Post two", .first = "A cow.", .second = "A hen."},
    {.prompt = "Post three", .first = "A fox.", .second = "An owl."},
    {.prompt = "Post four", .first = "A bee.", .second = "An ant."},
};

/* One sitting: these keys are pressed, then the input ends.  Returns the screens. */
static const char *sit(struct store *store, const char *keys)
{
    static int count;
    char name[32];
    snprintf(name, sizeof name, "screen%d", count++);
    int in = open(kit_text("keys", keys), O_RDONLY);
    int out = open(kit_path(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    struct annotator by = {
        .name = "ann", .store = store, .seed = 1, .in = in, .out = out, .width = 60};
    struct err e = {0};
    assert_true(in >= 0 && out >= 0);
    if (annotate_items(label, &counts, &by, items, N, &e))
        fail_msg("%s", e.msg);
    close(in);
    close(out);
    return kit_slurp(kit_path(name), NULL);
}

static struct store *open_store(const char *name)
{
    struct store *s = NULL;
    struct err e = {0};
    if (store_open(&s, kit_path(name), &e))
        fail_msg("%s", e.msg);
    return s;
}

/* Which text a screen shows left. */
static bool left_is(const char *screen, const char *left, const char *right)
{
    const char *a = strstr(screen, left), *b = strstr(screen, right);
    assert_non_null(a);
    assert_non_null(b);
    return a < b;
}

static void keys_become_labels_of_the_text_not_of_the_side(void **state)
{
    struct store *s = open_store("a.db");
    const char *screen = sit(s, "1x2t\ns");
    assert_int_equal(counts.now, 4);
    assert_int_equal(counts.answered, 3);
    assert_int_equal(counts.ties, 1);
    assert_int_equal(counts.skipped, 1);
    assert_true(label[0].p == (left_is(screen, "A cat.", "A dog.") ? 1.0 : 0.0));
    assert_true(label[1].p == (left_is(screen, "A cow.", "A hen.") ? 0.0 : 1.0));
    assert_true(label[2].p == 0.5 && label[2].state == LABEL_ANSWERED);
    assert_int_equal(label[3].state, LABEL_NO_ANSWER);
    kit_contains(screen, "1 of 4");
    store_close(s);
}

static void a_second_sitting_goes_on_where_the_first_ended(void **state)
{
    struct store *s = open_store("b.db");
    sit(s, "12q1");
    assert_int_equal(counts.open, 2);
    struct label first = label[0];
    store_close(s);
    s = open_store("b.db");
    const char *screen = sit(s, "11");
    assert_null(strstr(screen, "Post one"));
    kit_contains(screen, "Post three");
    assert_int_equal(counts.now, 2);
    assert_int_equal(counts.open, 0);
    assert_true(label[0].p == first.p);
    assert_string_equal(sit(s, "1"), "");
    store_close(s);
}

static void undo_takes_back_answers_of_this_sitting(void **state)
{
    struct store *s = open_store("c.db");
    sit(s, "1");
    double p = label[0].p;
    sit(s, "11uu2q");
    assert_int_equal(counts.now, 1);
    assert_true(label[0].p == p);
    assert_int_equal(label[2].state, LABEL_NO_ANSWER); // taken back, and not given again
    double second = label[1].p;
    sit(s, "u11"); // nothing to take back yet
    assert_true(label[0].p == p && label[1].p == second);
    assert_int_equal(counts.open, 0);
    store_close(s);
}

static void orders_differ_and_are_hidden(void **state)
{
    struct store *s = open_store("d.db");
    int left = 0;
    sit(s, "1111");
    for (int i = 0; i < N; i++)
        left += label[i].p == 1;
    assert_in_range(left, 1, N - 1);
    store_close(s);
}

static void texts_stand_side_by_side_within_the_width(void **state)
{
    struct people_pair p = {"Say it in a few words, please, and do not forget the cat",
                            "one two three four five six seven", "eins\nzwei drei vier",
                            "1 of 9"};
    struct buf b = {0};
    people_layout(&b, &p, 31);
    assert_string_equal(b.s,
                        "Say it in a few words, please,\n"
                        "and do not forget the cat\n"
                        "\n"
                        "[1]            | [2]\n"
                        "one two three  | eins\n"
                        "four five six  | zwei drei vier\n"
                        "seven          | \n"
                        "\n"
                        "1 left   2 right   t tie   s skip   u undo   q quit      1 of 9\n");
    buf_release(&b);
}

static void texts_cannot_steer_the_terminal(void **state)
{
    struct people_pair p = {"a\033[2Jb\rc",
                            "\x9b"
                            "31m \xc2\x9b"
                            "31m",
                            "wide \xe6\xbc\xa2\xe5\xad\x97 \xe2\x80\xae"
                            "abc",
                            ""};
    struct buf b = {0};
    people_layout(&b, &p, 40);
    assert_null(strchr(b.s, '\033'));
    assert_null(strchr(b.s, '\r'));
    assert_null(strstr(b.s, "\xc2\x9b"));
    assert_null(strstr(b.s, "\xe2\x80\xae"));
    assert_int_equal(utf8_valid(b.s, b.len), b.len);
    kit_contains(b.s, "\xe6\xbc\xa2\xe5\xad\x97");
    buf_release(&b);
    char word[2000];
    memset(word, 'x', sizeof word - 1);
    word[sizeof word - 1] = 0;
    for (int width = 1; width < 30; width += 7) { // ends, whatever the width
        p = (struct people_pair){word, "\xe6\xbc\xa2\xe5\xad\x97", "\n\n  \n", "x"};
        people_layout(&b, &p, width);
        buf_release(&b);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(keys_become_labels_of_the_text_not_of_the_side),
    cmocka_unit_test(a_second_sitting_goes_on_where_the_first_ended),
    cmocka_unit_test(undo_takes_back_answers_of_this_sitting),
    cmocka_unit_test(orders_differ_and_are_hidden),
    cmocka_unit_test(texts_stand_side_by_side_within_the_width),
    cmocka_unit_test(texts_cannot_steer_the_terminal),
};
KIT_MAIN(tests)
