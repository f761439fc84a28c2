/* theme: the table of themes. See theme.h. */
#include "ui/theme.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ui/ui.h"

#define OWN {-1, -1, -1}
#define BLACK {0, 16, 0x000000}
#define WHITE {7, 231, 0xffffff}

static const struct theme themes[] = {
    {.name = "dark", .colors = true, .look = {
        [THEME_SYSTEM] = {{5, 139, 0xaf87af}, OWN, 0},
        [THEME_USER] = {{6, 80, 0x5fd7d7}, OWN, THEME_BOLD},
        [THEME_ASSISTANT] = {OWN, OWN, 0},
        [THEME_NOTICE] = {{4, 110, 0x87afd7}, OWN, 0},
        [THEME_ERROR] = {{1, 203, 0xff5f5f}, OWN, THEME_BOLD},
        [THEME_LEFT] = {{-1, 243, 0x767676}, OWN, THEME_DIM},
        [THEME_RULE] = {{3, 179, 0xd7af5f}, OWN, 0},
        [THEME_MARK] = {{-1, 245, 0x8a8a8a}, OWN, THEME_DIM},
        [THEME_BAR] = {{7, 252, 0xd0d0d0}, {4, 237, 0x3a3a3a}, 0},
        [THEME_ROOM] = {{2, 114, 0x87d787}, {4, 237, 0x3a3a3a}, 0},
        [THEME_NEAR] = {{3, 221, 0xffd75f}, {4, 237, 0x3a3a3a}, 0},
        [THEME_FULL] = {{1, 203, 0xff5f5f}, {4, 237, 0x3a3a3a}, THEME_BOLD},
        [THEME_PROMPT] = {{6, 80, 0x5fd7d7}, OWN, THEME_BOLD},
        [THEME_INPUT] = {OWN, OWN, 0},
        [THEME_HINT] = {{-1, 245, 0x8a8a8a}, OWN, THEME_DIM},
    }},
    {.name = "light", .colors = true, .look = {
        [THEME_SYSTEM] = {{5, 90, 0x870087}, OWN, 0},
        [THEME_USER] = {{4, 25, 0x005faf}, OWN, THEME_BOLD},
        [THEME_ASSISTANT] = {OWN, OWN, 0},
        [THEME_NOTICE] = {{6, 30, 0x008787}, OWN, 0},
        [THEME_ERROR] = {{1, 124, 0xaf0000}, OWN, THEME_BOLD},
        [THEME_LEFT] = {{-1, 246, 0x949494}, OWN, THEME_DIM},
        [THEME_RULE] = {{3, 130, 0xaf5f00}, OWN, 0},
        [THEME_MARK] = {{-1, 243, 0x767676}, OWN, THEME_DIM},
        [THEME_BAR] = {{0, 235, 0x262626}, {7, 253, 0xdadada}, 0},
        [THEME_ROOM] = {{2, 28, 0x008700}, {7, 253, 0xdadada}, 0},
        [THEME_NEAR] = {{3, 130, 0xaf5f00}, {7, 253, 0xdadada}, 0},
        [THEME_FULL] = {{1, 124, 0xaf0000}, {7, 253, 0xdadada}, THEME_BOLD},
        [THEME_PROMPT] = {{4, 25, 0x005faf}, OWN, THEME_BOLD},
        [THEME_INPUT] = {OWN, OWN, 0},
        [THEME_HINT] = {{-1, 243, 0x767676}, OWN, THEME_DIM},
    }},
    {.name = "mono", .colors = false, .look = {
        [THEME_SYSTEM] = {OWN, OWN, THEME_DIM},
        [THEME_USER] = {OWN, OWN, THEME_BOLD},
        [THEME_ASSISTANT] = {OWN, OWN, 0},
        [THEME_NOTICE] = {OWN, OWN, THEME_DIM},
        [THEME_ERROR] = {OWN, OWN, THEME_BOLD | THEME_UNDERLINE},
        [THEME_LEFT] = {OWN, OWN, THEME_DIM},
        [THEME_RULE] = {OWN, OWN, THEME_DIM},
        [THEME_MARK] = {OWN, OWN, THEME_DIM},
        [THEME_BAR] = {OWN, OWN, THEME_REVERSE},
        [THEME_ROOM] = {OWN, OWN, THEME_REVERSE},
        [THEME_NEAR] = {OWN, OWN, THEME_REVERSE},
        [THEME_FULL] = {OWN, OWN, THEME_REVERSE | THEME_BOLD},
        [THEME_PROMPT] = {OWN, OWN, THEME_BOLD},
        [THEME_INPUT] = {OWN, OWN, 0},
        [THEME_HINT] = {OWN, OWN, THEME_DIM},
    }},
    {.name = "high-contrast", .colors = true, .look = {
        [THEME_SYSTEM] = {{5, 213, 0xff87ff}, BLACK, THEME_BOLD},
        [THEME_USER] = {{3, 226, 0xffff00}, BLACK, THEME_BOLD},
        [THEME_ASSISTANT] = {WHITE, BLACK, 0},
        [THEME_NOTICE] = {{6, 51, 0x00ffff}, BLACK, THEME_BOLD},
        [THEME_ERROR] = {WHITE, {1, 160, 0xd70000}, THEME_BOLD},
        [THEME_LEFT] = {{7, 250, 0xbcbcbc}, BLACK, 0},
        [THEME_RULE] = {{3, 226, 0xffff00}, BLACK, 0},
        [THEME_MARK] = {{6, 51, 0x00ffff}, BLACK, 0},
        [THEME_BAR] = {BLACK, WHITE, THEME_BOLD},
        [THEME_ROOM] = {BLACK, WHITE, THEME_BOLD},
        [THEME_NEAR] = {{4, 19, 0x0000af}, WHITE, THEME_BOLD},
        [THEME_FULL] = {{1, 124, 0xaf0000}, WHITE, THEME_BOLD},
        [THEME_PROMPT] = {{3, 226, 0xffff00}, BLACK, THEME_BOLD},
        [THEME_INPUT] = {WHITE, BLACK, THEME_BOLD},
        [THEME_HINT] = {{6, 51, 0x00ffff}, BLACK, 0},
    }},
};
enum { N_THEMES = sizeof themes / sizeof themes[0], MONO = 2 };

const char *const *ui_theme_names(void) {
    static const char *names[N_THEMES + 1];
    for (int i = 0; i < N_THEMES; i++) names[i] = themes[i].name;
    return names;
}

const struct theme *theme_find(const char *name) {
    const char *no_color = getenv("NO_COLOR");
    if (no_color && *no_color) return &themes[MONO];
    for (int i = 0; name && i < N_THEMES; i++)
        if (!strcmp(themes[i].name, name)) return &themes[i];
    return &themes[0];
}

int theme_number(const struct theme_color *c, enum theme_depth depth) {
    switch (depth) {
    case THEME_8: return c->c8;
    case THEME_256: return c->c256;
    case THEME_TRUE: return c->rgb;
    default: return -1;
    }
}

enum theme_depth theme_depth_guess(void) {
    const char *term = getenv("TERM"), *color = getenv("COLORTERM");
    if (!term || !strcmp(term, "dumb")) return THEME_NO_COLOR;
    if (color && (!strcmp(color, "truecolor") || !strcmp(color, "24bit"))) return THEME_TRUE;
    if (strstr(term, "direct")) return THEME_TRUE;
    return strstr(term, "256color") ? THEME_256 : THEME_8;
}

static size_t sgr_color(const struct theme_color *c, enum theme_depth depth, int base, char *out, size_t out_bytes) {
    int v = theme_number(c, depth);
    if (v < 0) return 0;
    if (depth == THEME_8) return (size_t)snprintf(out, out_bytes, ";%d", base + v);
    if (depth == THEME_256) return (size_t)snprintf(out, out_bytes, ";%d;5;%d", base + 8, v);
    return (size_t)snprintf(out, out_bytes, ";%d;2;%d;%d;%d", base + 8, v >> 16 & 255, v >> 8 & 255, v & 255);
}

void theme_sgr(const struct theme *t, enum theme_style s, enum theme_depth depth, char *out, size_t out_bytes) {
    static const struct { unsigned attribute; int code; } codes[] = {
        {THEME_BOLD, 1}, {THEME_DIM, 2}, {THEME_ITALIC, 3}, {THEME_UNDERLINE, 4}, {THEME_REVERSE, 7},
    };
    const struct theme_look *look = &t->look[s];
    char body[96] = "";
    size_t n = 0;
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
        if (look->attributes & codes[i].attribute) n += (size_t)snprintf(body + n, sizeof body - n, ";%d", codes[i].code);
    n += sgr_color(&look->fg, depth, 30, body + n, sizeof body - n);
    n += sgr_color(&look->bg, depth, 40, body + n, sizeof body - n);
    snprintf(out, out_bytes, n ? "\033[0%sm" : "", body);
}

const char *theme_role_sign(unsigned role) {
    static const char *const signs[] = {
        [UI_SYSTEM] = "# ", [UI_USER] = "> ", [UI_ASSISTANT] = "  ", [UI_NOTICE] = "· ", [UI_ERROR] = "! ",
    };
    return role < sizeof signs / sizeof signs[0] ? signs[role] : "  ";
}
