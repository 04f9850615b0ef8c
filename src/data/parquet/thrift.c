/* thrift.c - Thrift's compact protocol, the part that reads.
 *
 *   field      1 byte: id's step << 4 | type; step 0: the id follows as a zigzag integer
 *   integer    zigzag LEB128; a byte as it is
 *   binary     LEB128 length, bytes
 *   list, set  1 byte: size << 4 | type of the elements; size 15: it follows as LEB128
 *   map        LEB128 size; where it is not 0, 1 byte: type of keys << 4 | type of values
 *   boolean    in the field's type; as an element a byte of its own
 *
 * Source: the Thrift project's thrift-compact-protocol.md.  Left out: writing, doubles
 * (skipped). */
#include "data/parquet/thrift.h"

enum { STOP, TRUE_, FALSE_, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT, UUID };
enum { DEPTH_MAX = 32 };

bool varint_read(const uint8_t **p, const uint8_t *end, uint64_t *out)
{
    uint64_t v = 0;
    for (int shift = 0; shift < 64 && *p < end; shift += 7) {
        uint8_t b = *(*p)++;
        v |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80)) {
            *out = v;
            return shift < 63 || b < 2;
        }
    }
    return false;
}

static uint64_t varint(struct thrift *t)
{
    uint64_t v = 0;
    if (!t->bad && !varint_read(&t->p, t->end, &v))
        t->bad = true;
    return t->bad ? 0 : v;
}

static uint8_t byte(struct thrift *t)
{
    if (t->bad || t->p >= t->end) {
        t->bad = true;
        return 0;
    }
    return *t->p++;
}

bool thrift_next(struct thrift *t, struct field *f)
{
    uint8_t head = byte(t);
    f->type = head & 15;
    if (t->bad || f->type == STOP)
        return false;
    int64_t id = head >> 4 ? f->id + (head >> 4) : zigzag(varint(t));
    if (id < -32768 || id > 32767)
        t->bad = true;
    f->id = (int)id;
    return !t->bad;
}

int64_t thrift_int(struct thrift *t, const struct field *f)
{
    if (f->type == BYTE)
        return (int8_t)byte(t);
    if (f->type < I16 || f->type > I64)
        t->bad = true;
    return zigzag(varint(t));
}

int32_t thrift_i32(struct thrift *t, const struct field *f)
{
    int64_t v = thrift_int(t, f);
    if (v != (int32_t)v)
        t->bad = true;
    return t->bad ? 0 : (int32_t)v;
}

bool thrift_bool(struct thrift *t, const struct field *f)
{
    if (f->type != TRUE_ && f->type != FALSE_)
        t->bad = true;
    return f->type == TRUE_;
}

static struct bytes binary(struct thrift *t)
{
    uint64_t n = varint(t);
    if (n > (size_t)(t->end - t->p))
        t->bad = true;
    if (t->bad)
        return (struct bytes){0};
    struct bytes b = {t->p, n};
    t->p += n;
    return b;
}

struct bytes thrift_bytes(struct thrift *t, const struct field *f)
{
    if (f->type != BINARY)
        t->bad = true;
    return binary(t);
}

bool thrift_struct(struct thrift *t, const struct field *f)
{
    if (f->type != STRUCT)
        t->bad = true;
    return !t->bad;
}

static size_t list(struct thrift *t, int *type)
{
    uint8_t head = byte(t);
    uint64_t n = head >> 4;
    *type = head & 15;
    if (n == 15)
        n = varint(t);
    if (n > (size_t)(t->end - t->p))
        t->bad = true;
    return t->bad ? 0 : n;
}

size_t thrift_structs(struct thrift *t, const struct field *f)
{
    int type;
    if (f->type != LIST)
        t->bad = true;
    size_t n = list(t, &type);
    if (n && type != STRUCT)
        t->bad = true;
    return t->bad ? 0 : n;
}

static void skip(struct thrift *t, int type, int depth);

static void skip_elements(struct thrift *t, size_t n, int type, int depth)
{
    for (; n && !t->bad; n--)
        if (type == TRUE_ || type == FALSE_)
            byte(t);
        else
            skip(t, type, depth);
}

static void skip_map(struct thrift *t, int depth)
{
    uint64_t n = varint(t);
    if (n == 0)
        return;
    uint8_t types = byte(t);
    if (n > (size_t)(t->end - t->p))
        t->bad = true;
    for (; n && !t->bad; n--) {
        skip_elements(t, 1, types >> 4, depth);
        skip_elements(t, 1, types & 15, depth);
    }
}

static void skip(struct thrift *t, int type, int depth)
{
    struct field f = {0};
    size_t fixed = type == DOUBLE ? 8 : type == UUID ? 16 : 0;
    if (depth > DEPTH_MAX || type == STOP || type > UUID || fixed > (size_t)(t->end - t->p))
        t->bad = true;
    if (t->bad)
        return;
    t->p += fixed;
    if (type == BYTE)
        byte(t);
    else if (type >= I16 && type <= I64)
        varint(t);
    else if (type == BINARY)
        binary(t);
    else if (type == MAP)
        skip_map(t, depth + 1);
    else if (type == STRUCT)
        while (thrift_next(t, &f))
            skip(t, f.type, depth + 1);
    else if (type == LIST || type == SET) {
        int element;
        size_t n = list(t, &element);
        skip_elements(t, n, element, depth + 1);
    }
}

void thrift_skip(struct thrift *t, int type)
{
    skip(t, type, 0);
}
