/* Pieces of regions: what is written stays, room that is given back is used again, and nothing outlives its last piece. */
#include "compute/tensors.h"

enum { MEGA = 1 << 20 };

static void pieces_of_all_sizes_keep_what_is_written_while_others_come_and_go(void **state)
{
    enum { N = 40, ROUNDS = 400 };
    struct device *dev = device(1);
    unsigned char *piece[N] = { 0 };
    size_t bytes[N] = { 0 };
    struct rng r;
    rng_init(&r, 1, RNG_TEST, 0, 0);
    for (int i = 0; i < ROUNDS; i++) {
        int at = (int)rng_below(&r, N);
        for (size_t j = 0; piece[at] && j < bytes[at]; j += 4096)
            assert_int_equal(piece[at][j], at);
        if (piece[at])
            assert_int_equal(piece[at][bytes[at] - 1], at);
        piece_free(piece[at]);
        bytes[at] = 1 + rng_below(&r, i % 20 ? 3 * MEGA : 40 * MEGA);
        piece[at] = piece_new(cpu_of(dev), bytes[at]);
        assert_non_null(piece[at]);
        assert_int_equal((uintptr_t)piece[at] % 64, 0);
        for (size_t j = 0; j < bytes[at]; j += 4096)
            piece[at][j] = (unsigned char)at;
        piece[at][bytes[at] - 1] = (unsigned char)at;
    }
    device_close(dev);      // pieces may be given back later than that
    for (int i = 0; i < N; i++)
        piece_free(piece[i]);
}

static void the_last_piece_gives_its_room_back(void **state)
{
    struct device *dev = device(1);
    void *first = piece_new(cpu_of(dev), MEGA), *second = piece_new(cpu_of(dev), MEGA);
    piece_free(second);
    assert_ptr_equal(piece_new(cpu_of(dev), 2 * MEGA), second);
    piece_free(second);
    piece_free(first);
    assert_ptr_equal(piece_new(cpu_of(dev), MEGA), first);
    piece_free(first);
    device_close(dev);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(pieces_of_all_sizes_keep_what_is_written_while_others_come_and_go),
    cmocka_unit_test(the_last_piece_gives_its_room_back),
};

KIT_MAIN(tests)
