/* utf8: see utf8.h. */
#include "config/utf8.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "config/err.h"

/* The length that a leading byte announces; 0: it starts nothing. */
static size_t announced(unsigned char c) {
    if (c < 0x80) return 1;
    if (c < 0xC2) return 0; /* a continuation, or an overlong form */
    if (c < 0xE0) return 2;
    if (c < 0xF0) return 3;
    return c < 0xF5 ? 4 : 0;
}

/* May c be the second byte after lead? Excludes overlong forms, surrogates and what lies above U+10FFFF (Unicode, table
 * 3-7). */
static bool second_fits(unsigned char lead, unsigned char c) {
    switch (lead) {
    case 0xE0: return c >= 0xA0 && c <= 0xBF;
    case 0xED: return c >= 0x80 && c <= 0x9F;
    case 0xF0: return c >= 0x90 && c <= 0xBF;
    case 0xF4: return c >= 0x80 && c <= 0x8F;
    default: return c >= 0x80 && c <= 0xBF;
    }
}

/* How many bytes of s[0..n) agree with one character; *whole: it is complete. 0 where the first byte starts nothing. */
static size_t matching(const char *s, size_t n, bool *whole) {
    const unsigned char *u = (const unsigned char *)s;
    size_t want = n ? announced(u[0]) : 0, i = want ? 1 : 0;
    while (i && i < want && i < n && (i == 1 ? second_fits(u[0], u[1]) : (u[i] & 0xC0) == 0x80)) i++;
    *whole = want && i == want;
    return i;
}

size_t utf8_decode(const char *s, size_t n, uint32_t *cp) {
    bool whole;
    size_t len = matching(s, n, &whole);
    *cp = 0xFFFD;
    if (!n) return 0;
    if (!whole) return 1;
    const unsigned char *u = (const unsigned char *)s;
    uint32_t c = len == 1 ? u[0] : u[0] & (0xFFu >> (len + 1));
    for (size_t i = 1; i < len; i++) c = c << 6 | (u[i] & 0x3Fu);
    *cp = c;
    return len;
}

size_t utf8_encode(uint32_t cp, char out[4]) {
    if (cp > 0x10FFFF || (cp >= 0xD800 && cp < 0xE000)) cp = 0xFFFD;
    size_t n = cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = n; i-- > 1; cp >>= 6) out[i] = (char)(0x80 | (cp & 0x3F));
    out[0] = (char)(lead[n] | cp);
    return n;
}

bool utf8_valid(const char *s, size_t n) {
    for (size_t i = 0; i < n;) {
        bool whole;
        size_t len = matching(s + i, n - i, &whole);
        if (!whole) return false;
        i += len;
    }
    return true;
}

size_t utf8_incomplete(const char *s, size_t n) {
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        unsigned char c = (unsigned char)s[n - back];
        if ((c & 0xC0) == 0x80) continue;
        bool whole;
        return matching(s + n - back, back, &whole) == back && !whole ? back : 0;
    }
    return 0;
}

/* ---- columns ---- */

/* Terminal columns of a code point on its own: utf8proc's, and where terminals (and the C library's wcwidth, which
 * ncurses goes by) differ from it, theirs. */
static int columns_of(uint32_t cp) {
    if (cp < 0x20 || (cp >= 0x7F && cp < 0xA0)) return 0;
    const utf8proc_property_t *p = utf8proc_get_property((utf8proc_int32_t)cp);
    if (p->category == UTF8PROC_CATEGORY_MC || p->boundclass == UTF8PROC_BOUNDCLASS_PREPEND) return 1;
    if (p->boundclass == UTF8PROC_BOUNDCLASS_V || p->boundclass == UTF8PROC_BOUNDCLASS_T)
        return 0;                               /* drawn into the syllable */
    if (cp >= 0x4DC0 && cp <= 0x4DFF) return 2; /* hexagrams */
    return p->charwidth > 2 ? 2 : (int)p->charwidth;
}

/* May U+FE0F make an emoji of it? */
static bool has_emoji_form(uint32_t cp) {
    return (cp >= '0' && cp <= '9') || cp == '#' || cp == '*' ||
           utf8proc_get_property((utf8proc_int32_t)cp)->boundclass == UTF8PROC_BOUNDCLASS_EXTENDED_PICTOGRAPHIC;
}

size_t utf8_grapheme(const char *s, size_t n, int *width) {
    uint32_t first, before, cp;
    size_t len = utf8_decode(s, n, &first);
    utf8proc_int32_t state = 0;
    int columns = len ? columns_of(first) : 0;
    before = first;
    while (len && len < n) {
        size_t more = utf8_decode(s + len, n - len, &cp);
        if (utf8proc_grapheme_break_stateful((utf8proc_int32_t)before, (utf8proc_int32_t)cp, &state)) break;
        columns += cp == 0xFE0F && has_emoji_form(first) ? 1 : columns_of(cp);
        before = cp;
        len += more;
        if (columns > 2) columns = 2; /* a family is as wide as one of its members */
    }
    if (width) *width = columns;
    return len;
}

size_t utf8_width(const char *s, size_t n) {
    size_t columns = 0;
    for (size_t i = 0; i < n;) {
        int w;
        i += utf8_grapheme(s + i, n - i, &w);
        columns += (size_t)w;
    }
    return columns;
}

/* ---- the stream ---- */

/* What a control sequence is made of (ECMA-48):
 *
 *     ESC [ , or U+009B      CSI: parameters 0x30-0x3F, intermediates 0x20-0x2F, one final byte 0x40-0x7E
 *     ESC ] P X ^ _ , k      strings (OSC, DCS, SOS, PM, APC, and screen's title), to BEL or ST (ESC \ or U+009C)
 *     ESC 0x20-0x2F ...      intermediates, then a final byte 0x30-0x7E
 *     ESC any other          that one
 */
enum stream_state { STREAM_TEXT, STREAM_ESC, STREAM_INTERMEDIATE, STREAM_CSI, STREAM_STRING, STREAM_STRING_ESC };

static bool is_override(uint32_t cp) {
    return (cp >= 0x202A && cp <= 0x202E) || (cp >= 0x2066 && cp <= 0x2069);
}

static unsigned char after_escape(uint32_t cp) {
    if (cp == '[') return STREAM_CSI;
    if (cp == ']' || cp == 'P' || cp == 'X' || cp == '^' || cp == '_' || cp == 'k') return STREAM_STRING;
    if (cp == 0x1B) return STREAM_ESC;
    return cp >= 0x20 && cp <= 0x2F ? STREAM_INTERMEDIATE : STREAM_TEXT;
}

/* One code point in text: true where it is to be shown. */
static bool step_text(struct utf8_stream *st, uint32_t cp) {
    if (cp == '\n' || cp == '\t') return true;
    if (cp == 0x1B)
        st->state = STREAM_ESC;
    else if (cp == 0x9B)
        st->state = STREAM_CSI;
    else if (cp == 0x9D || cp == 0x90 || cp == 0x98 || cp == 0x9E || cp == 0x9F)
        st->state = STREAM_STRING;
    return cp >= 0x20 && !(cp >= 0x7F && cp < 0xA0) && !is_override(cp);
}

/* One code point: true where it is to be shown. A line end gives up an unfinished sequence, so that a reply which
 * mentions one loses no more than its line. */
static bool step(struct utf8_stream *st, uint32_t cp) {
    if (st->state == STREAM_TEXT) return step_text(st, cp);
    if (cp == '\n' || cp == 0x18 || cp == 0x1A) {
        st->state = STREAM_TEXT;
        return cp == '\n';
    }
    if (cp > 0x7E && st->state != STREAM_STRING) { /* no control sequence holds that: it is text again */
        st->state = STREAM_TEXT;
        return step_text(st, cp);
    }
    switch (st->state) {
    case STREAM_ESC: st->state = after_escape(cp); break;
    case STREAM_INTERMEDIATE:
        if (cp == 0x1B)
            st->state = STREAM_ESC;
        else if (cp >= 0x30)
            st->state = STREAM_TEXT;
        break;
    case STREAM_CSI:
        if (cp == 0x1B)
            st->state = STREAM_ESC;
        else if (cp >= 0x40)
            st->state = STREAM_TEXT;
        break;
    case STREAM_STRING:
        if (cp == 0x1B)
            st->state = STREAM_STRING_ESC;
        else if (cp == 0x07 || cp == 0x9C)
            st->state = STREAM_TEXT;
        break;
    default: /* ESC in a string: ST, or another sequence */
        st->state = cp == '\\' ? STREAM_TEXT : after_escape(cp);
        break;
    }
    return false;
}

static int stream_take(struct utf8_stream *st, const char *s, size_t len, struct buf *out) {
    uint32_t cp;
    size_t good = utf8_decode(s, len, &cp);
    if (!step(st, cp)) return 0;
    return good == len && (cp != 0xFFFD || len == 3) ? buf_add(out, s, len) : buf_add(out, "\xEF\xBF\xBD", 3);
}

int utf8_stream_add(struct utf8_stream *st, const char *bytes, size_t n, struct buf *out) {
    for (size_t i = 0; i < n; i++) {
        st->held[st->n_held++] = bytes[i];
        bool whole;
        size_t fits = matching(st->held, st->n_held, &whole);
        if (!whole && fits == st->n_held) continue; /* more must come */
        if (whole) {
            stream_take(st, st->held, st->n_held, out);
            st->n_held = 0;
            continue;
        }
        /* the last byte does not go on with what was held: that is one U+FFFD (Unicode, section 3.9), and the byte
         * starts anew */
        bool had = st->n_held > 1;
        stream_take(st, "\xFF", 1, out);
        st->n_held = 0;
        if (had) i--;
    }
    return out->failed ? ERR_MEMORY : 0;
}

int utf8_stream_end(struct utf8_stream *st, struct buf *out) {
    if (st->n_held) stream_take(st, "\xFF", 1, out);
    *st = (struct utf8_stream){0};
    return out->failed ? ERR_MEMORY : 0;
}

char *utf8_show(const char *text, char *out, size_t size) {
    struct utf8_stream st = {0};
    size_t n = strlen(text), used = 0, cut = 0; /* cut: the last character's end that leaves room for the dots */
    for (size_t i = 0; i < n;) {
        char s[4];
        uint32_t cp;
        i += utf8_decode(text + i, n - i, &cp);
        if (!step(&st, cp)) continue;
        size_t len = utf8_encode(cp == '\n' || cp == '\t' ? ' ' : cp, s);
        if (used + len >= size) {
            used = cut;
            memcpy(out + used, "...", 3);
            used += 3;
            break;
        }
        memcpy(out + used, s, len);
        used += len;
        if (used + 4 <= size) cut = used;
    }
    out[used] = 0;
    return out;
}

int utf8_add_line(const char *text, struct buf *out) {
    struct utf8_stream st = {0};
    size_t first = out->len;
    utf8_stream_add(&st, text, strlen(text), out);
    int rc = utf8_stream_end(&st, out);
    for (size_t i = first; i < out->len; i++)
        if (out->data[i] == '\n' || out->data[i] == '\t') out->data[i] = ' ';
    return out->failed ? ERR_MEMORY : rc;
}

/* ---- normal form ---- */

int utf8_nfc(const char *s, size_t n, struct buf *out) {
    if (!n) return 0;
    utf8proc_uint8_t *form = NULL;
    utf8proc_ssize_t len = UTF8PROC_ERROR_INVALIDUTF8;
    if (utf8_valid(s, n))
        len = utf8proc_map((const utf8proc_uint8_t *)s, (utf8proc_ssize_t)n, &form, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    int rc = len >= 0 ? buf_add(out, form, (size_t)len) : len == UTF8PROC_ERROR_NOMEM ? ERR_MEMORY : buf_add(out, s, n);
    free(form);
    return rc;
}

/* ---- names ---- */

#define NAME_MAX_CP 64 /* longer words are nobody's misspelling */

static size_t fold_name(const char *s, uint32_t out[NAME_MAX_CP]) {
    size_t n = 0, len = strlen(s);
    for (size_t i = 0; i < len;) {
        if (n == NAME_MAX_CP) return 0;
        uint32_t cp;
        i += utf8_decode(s + i, len - i, &cp);
        out[n++] = cp == '_' ? '-' : (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp);
    }
    return n;
}

/* Optimal string alignment: insertions, deletions, substitutions and swaps of neighbours count one each. */
static size_t distance(const uint32_t *a, size_t n, const uint32_t *b, size_t m) {
    size_t row[3][NAME_MAX_CP + 1];
    for (size_t j = 0; j <= m; j++) row[0][j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t *now = row[i % 3], *up = row[(i - 1) % 3], *upper = row[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t best = up[j - 1] + (a[i - 1] != b[j - 1]);
            if (up[j] + 1 < best) best = up[j] + 1;
            if (now[j - 1] + 1 < best) best = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && upper[j - 2] + 1 < best)
                best = upper[j - 2] + 1;
            now[j] = best;
        }
    }
    return row[n % 3][m];
}

const char *utf8_nearest(const char *word, const char *const *names, size_t n) {
    uint32_t a[NAME_MAX_CP], b[NAME_MAX_CP];
    size_t na = fold_name(word, a), best = SIZE_MAX;
    const char *found = NULL;
    if (!na) return NULL;
    for (size_t i = 0; i < n; i++) {
        size_t nb = fold_name(names[i], b);
        if (!nb) continue;
        size_t d = distance(a, na, b, nb);
        size_t shorter = na < nb ? na : nb, allowed = shorter < 3 ? 0 : shorter < 5 ? 1 : shorter < 9 ? 2 : 3;
        /* a word that goes on where a name ends, or stops before it does ("temperature" and "temp") */
        bool begins = shorter >= 3 && !memcmp(a, b, shorter * sizeof *a);
        size_t rank = 2 * d;
        if (d && begins && na < nb)
            rank = 1; /* an abbreviation is no typing mistake: it comes before all of these */
        else if (d > allowed && begins && shorter >= 4)
            rank = 2 * allowed + 2;
        else if (d > allowed)
            continue;
        if (rank < best) best = rank, found = names[i];
    }
    return found;
}
