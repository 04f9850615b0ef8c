/* values.c - a stored value as JSON.
 *
 * Dates count days from 1970-01-01, times and timestamps milli-, micro- or nanoseconds; what
 * comes out is what Python's isoformat() prints: no fraction where it is zero, six digits, nine
 * where nanoseconds need them, "+00:00" for instants.  Decimals are big-endian two's
 * complement. */
#include "data/parquet/parquet.h"

#include <math.h>

static json_t *spoilt(char *why, size_t size, const char *what)
{
    snprintf(why, size, "%s", what);
    return json_null();
}

static json_t *text_json(struct bytes s, char *why, size_t size)
{
    if (memchr(s.n ? (const void *)s.p : "", 0, s.n))
        return spoilt(why, size, "the text holds a NUL character");
    if (utf8_valid((const char *)s.p, s.n) != s.n)
        return spoilt(why, size, "the bytes are no UTF-8 text");
    return json_stringn_nocheck(s.n ? (const char *)s.p : "", s.n);
}

static json_t *parsed_json(struct bytes s, char *why, size_t size)
{
    struct err bad = {0};
    json_t *v = json_parse(s.n ? (const char *)s.p : "", s.n, "JSON", &bad);
    if (v || bad.code == ERR_MEMORY)
        return v;
    return spoilt(why, size, bad.msg);
}

static json_t *real_json(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

/* 1 sign, 5 exponent, 10 mantissa bits. */
static double half(const uint8_t *p)
{
    unsigned h = p[0] | (unsigned)p[1] << 8, e = (h >> 10) & 31, m = h & 1023;
    double x = e == 0    ? ldexp(m, -24)
               : e == 31 ? (m ? NAN : INFINITY)
                         : ldexp(m + 1024, (int)e - 25);
    return h >> 15 ? -x : x;
}

/* ---- numbers in text --------------------------------------------------------- */

static json_t *decimal_json(const struct node *leaf, union raw v, char *why, size_t size)
{
    __int128 x = v.i;
    if (leaf->type == PHYS_BYTES || leaf->type == PHYS_FIXED) {
        if (v.s.n > 16)
            return spoilt(why, size, "a decimal of more than 16 bytes");
        x = v.s.n && v.s.p[0] & 0x80 ? -1 : 0;
        for (size_t i = 0; i < v.s.n; i++)
            x = (__int128)((unsigned __int128)x << 8 | v.s.p[i]);
    }
    char text[48], *at = text + sizeof text;
    unsigned __int128 u = x < 0 ? -(unsigned __int128)x : (unsigned __int128)x;
    *--at = 0;
    for (int digits = 0; digits <= leaf->scale || u; digits++, u /= 10) {
        if (digits && digits == leaf->scale)
            *--at = '.';
        *--at = (char)('0' + (int)(u % 10));
    }
    if (x < 0)
        *--at = '-';
    return json_string_nocheck(at);
}

static json_t *uuid_json(const uint8_t *p)
{
    char text[37], *at = text;
    for (int i = 0; i < 16; i++)
        at += sprintf(at, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", p[i]);
    return json_string_nocheck(text);
}

/* ---- dates and times --------------------------------------------------------- */

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

/* Days since 1970 as year, month, day of the Gregorian calendar continued both ways.  Counted
 * from March, so that the leap day comes last; 400 years are 146097 days. */
static void add_date(struct buf *b, int64_t days)
{
    int64_t z = days + 719468, era = floor_div(z, 146097), day = z - era * 146097;
    int64_t year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
    int64_t of_year = day - (365 * year + year / 4 - year / 100), m = (5 * of_year + 2) / 153;
    int64_t month = m < 10 ? m + 3 : m - 9;
    year += era * 400 + (month <= 2);
    buf_addf(b, "%04lld-%02d-%02d", (long long)year, (int)month,
             (int)(of_year - (153 * m + 2) / 5 + 1));
}

/* Nanoseconds are exact: a day of them fits. */
static void add_time(struct buf *b, int64_t ns)
{
    int64_t s = ns / 1000000000, rest = ns % 1000000000;
    buf_addf(b, "%02d:%02d:%02d", (int)(s / 3600), (int)(s / 60 % 60), (int)(s % 60));
    if (rest % 1000)
        buf_addf(b, ".%09d", (int)rest);
    else if (rest)
        buf_addf(b, ".%06d", (int)(rest / 1000));
}

static json_t *string_of(struct buf *b)
{
    json_t *v = b->failed ? NULL : json_stringn_nocheck(b->s, b->len);
    buf_release(b);
    return v;
}

static json_t *time_json(const struct node *leaf, union raw v, char *why, size_t size)
{
    int64_t second = leaf->unit == 3   ? 1000
                     : leaf->unit == 6 ? 1000000
                                       : 1000000000,
            day = 86400 * second;
    int64_t days = floor_div(v.i, day), rest = v.i % day + (v.i % day < 0 ? day : 0);
    struct buf b = {0};
    if (leaf->meaning == AS_TIME && days)
        return spoilt(why, size, "a time outside the day");
    if (leaf->meaning == AS_TIMESTAMP) {
        add_date(&b, days);
        buf_adds(&b, "T");
    }
    add_time(&b, rest * (1000000000 / second));
    if (leaf->meaning == AS_TIMESTAMP && leaf->utc)
        buf_adds(&b, "+00:00");
    return string_of(&b);
}

/* INT96: nanoseconds of the day, then the Julian day; 2440588 is 1970-01-01. */
static json_t *int96_json(const uint8_t *p, char *why, size_t size)
{
    uint64_t ns;
    uint32_t julian;
    memcpy(&ns, p, 8);
    memcpy(&julian, p + 8, 4);
    if (ns >= 86400000000000u)
        return spoilt(why, size, "a time outside the day");
    struct buf b = {0};
    add_date(&b, (int64_t)julian - 2440588);
    buf_adds(&b, "T");
    add_time(&b, (int64_t)ns);
    return string_of(&b);
}

/* ---- all of them ------------------------------------------------------------- */

static json_t *plain_json(const struct node *leaf, union raw v, char *why, size_t size)
{
    switch (leaf->type) {
    case PHYS_BOOLEAN:
        return json_boolean(v.i);
    case PHYS_INT32:
    case PHYS_INT64:
        return json_integer(v.i);
    case PHYS_FLOAT:
    case PHYS_DOUBLE:
        return real_json(v.d);
    case PHYS_INT96:
        return int96_json(v.s.p, why, size);
    default:
        return text_json(v.s, why, size);
    }
}

json_t *value_json(const struct node *leaf, union raw v, char *why, size_t size)
{
    struct buf b = {0};
    switch (leaf->meaning) {
    case AS_TEXT:
        return text_json(v.s, why, size);
    case AS_JSON:
        return parsed_json(v.s, why, size);
    case AS_UNSIGNED:
        if (leaf->type == PHYS_INT32)
            return json_integer((json_int_t)(uint32_t)v.i);
        return v.i < 0 ? spoilt(why, size, "a number beyond 63 bits") : json_integer(v.i);
    case AS_DECIMAL:
        return decimal_json(leaf, v, why, size);
    case AS_DATE:
        add_date(&b, v.i);
        return string_of(&b);
    case AS_TIME:
        return time_json(leaf, v, why, size);
    case AS_TIMESTAMP:
        return leaf->type == PHYS_INT96 ? int96_json(v.s.p, why, size)
                                        : time_json(leaf, v, why, size);
    case AS_UUID:
        return uuid_json(v.s.p);
    case AS_HALF:
        return real_json(half(v.s.p));
    case AS_PLAIN:
        break;
    }
    return plain_json(leaf, v, why, size);
}
