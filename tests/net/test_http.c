/* The HTTP client: many calls at once, kept connections, bodies, headers, limits. */
#include "net/scripted.h"

static struct http *client;

static int setup(void **state)
{
    struct http_options o = {.connect_timeout = 10, .stall_timeout = 10};
    scripted_folder();
    scripted_start();
    return http_open(&client, &o, NULL);
}

static int teardown(void **state)
{
    http_close(client);
    return scripted_stop(state);
}

static const char *url(const char *path)
{
    static char s[256];
    snprintf(s, sizeof s, "http://127.0.0.1:%d%s", ports[0], path);
    return s;
}

static struct http_call *one(const struct http_request *q)
{
    struct http_call *c = NULL;
    assert_int_equal(http_send(client, q, NULL), 0);
    assert_int_equal(http_next(client, 60, &c, NULL), 0);
    assert_non_null(c);
    return c;
}

static void what_is_posted_arrives_on_a_connection_that_is_kept(void **state)
{
    static const char *const headers[] = {"Content-Type: application/json"};
    char process[32] = "";
    for (int i = 0; i < 3; i++) {
        struct http_call *c;
        struct http_request q = {.url = url("/echo"),
                                 .body = "{\"n\": 1}",
                                 .n_body = 8,
                                 .headers = headers,
                                 .n_headers = 1,
                                 .token = "secret"};
        assert_int_equal(http_fetch(client, &c, &q, NULL), 0);
        assert_int_equal(c->status, 200);
        assert_string_equal(c->reply.s, "{\"n\": 1}");
        assert_string_equal(http_header(c, "x-method"), "POST");
        assert_non_null(http_header(c, "X-Process"));
        if (i)
            assert_string_equal(http_header(c, "X-Process"), process);
        snprintf(process, sizeof process, "%s", http_header(c, "X-Process"));
        http_call_free(c);
    }
    assert_int_equal(logged("POST /echo", "auth=Bearer secret"), 3);
}

static void many_calls_run_at_once_and_each_ends_once(void **state)
{
    enum { N = 24 };
    bool seen[N] = {false};
    char text[16];
    for (int i = 0; i < N; i++) {
        int n = snprintf(text, sizeof text, "call %d", i);
        struct http_request q = {.url = url("/echo"),
                                 .body = text,
                                 .n_body = (size_t)n,
                                 .user = &seen[i],
                                 .delay = i % 3 ? 0 : 0.05};
        assert_int_equal(http_send(client, &q, NULL), 0);
    }
    assert_int_equal(http_pending(client), N);
    for (int i = 0; i < N; i++) {
        struct http_call *c;
        assert_int_equal(http_next(client, 60, &c, NULL), 0);
        assert_non_null(c);
        bool *mine = c->user;
        snprintf(text, sizeof text, "call %d", (int)(mine - seen));
        assert_string_equal(c->reply.s, text);
        assert_false(*mine);
        *mine = true;
        http_call_free(c);
    }
    assert_int_equal(http_pending(client), 0);
}

static void waiting_has_an_end(void **state)
{
    struct http_call *c;
    struct http_request q = {.url = url("/echo"), .delay = 30};
    assert_int_equal(http_send(client, &q, NULL), 0);
    double start = time_now();
    assert_int_equal(http_next(client, 0.1, &c, NULL), 0);
    assert_null(c);
    assert_true(time_now() - start < 5); // http_close drops the call
}

static void a_reply_longer_than_allowed_is_an_error(void **state)
{
    struct http_call *c;
    struct err e = {0};
    struct http_request q = {
        .url = url("/echo"), .body = "0123456789", .n_body = 10, .max_reply = 9};
    assert_int_equal(http_fetch(client, &c, &q, &e), ERR_FORMAT);
    kit_contains(e.msg, "longer than 9 bytes");
    q.max_reply = 10;
    assert_int_equal(http_fetch(client, &c, &q, &e), 0);
    http_call_free(c);
}

static void the_server_says_how_long_to_wait(void **state)
{
    struct http_request q = {.url = url("/echo")};
    faults("1 echo status 503\n");
    struct http_call *c = one(&q);
    assert_int_equal(c->status, 503);
    assert_true(http_retry_wait(c, 0) > 0 && http_retry_wait(c, 2) > http_retry_wait(c, 1));
    http_call_free(c);
    faults("1 a b\n1 echo status 429 Retry-After:7\n");
    c = one(&q);
    assert_true(http_retry_wait(c, 0) == 7.0);
    http_call_free(c);
    faults("1 a b\n1 a b\n1 echo status 429 Retry-After: Fri, 01 Jan 2100 00:00:00 GMT\n");
    c = one(&q);
    assert_true(http_retry_wait(c, 0) == 60.0); // never longer than a minute
    http_call_free(c);
    faults("1 a b\n1 a b\n1 a b\n1 echo status 404\n");
    c = one(&q);
    assert_int_equal(c->status, 404);
    assert_string_equal(c->reply.s, "trouble");
    assert_true(http_retry_wait(c, 0) < 0);
    http_call_free(c);
}

static void errors_show_no_secrets(void **state)
{
    struct http_call *c;
    struct err e = {0};
    struct http_request q = {.url = "http://user:pass@127.0.0.1:1/x?key=secret",
                             .token = "tok"};
    assert_int_equal(http_fetch(client, &c, &q, &e), ERR_IO);
    kit_contains(e.msg, "http://127.0.0.1:1/x");
    assert_null(strstr(e.msg, "secret"));
    assert_null(strstr(e.msg, "pass"));
    q.url = "gopher://127.0.0.1/";
    assert_int_equal(http_fetch(client, &c, &q, &e), ERR_VALUE);
    q.url = url("/echo");
    q.token = "a\r\nX-Evil: 1";
    assert_int_equal(http_fetch(client, &c, &q, &e), ERR_VALUE);
}

static void a_server_without_http_is_an_error(void **state)
{
    struct http_call *c;
    struct err e = {0};
    struct http_request q = {.url = url("/echo")};
    faults("99 echo garbage\n");
    assert_int_equal(http_fetch(client, &c, &q, &e), ERR_VALUE);
    kit_contains(e.msg, "HTTP");
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

static const struct CMUnitTest tests[] = {
    T(what_is_posted_arrives_on_a_connection_that_is_kept),
    T(many_calls_run_at_once_and_each_ends_once),
    T(waiting_has_an_end),
    T(a_reply_longer_than_allowed_is_an_error),
    T(the_server_says_how_long_to_wait),
    T(errors_show_no_secrets),
    T(a_server_without_http_is_an_error),
};

KIT_MAIN(tests)
