/* arch: see arch.h. */
#include "model/arch.h"

#include <string.h>

static const struct arch table[] = {
    {"llama", false, 0, ARCH_QKV_BIAS | ARCH_O_BIAS},
    {"qwen2", true, ARCH_QKV_BIAS, 0},
    {"qwen3", true, ARCH_QK_NORM, 0},
};

const struct arch *arch_find(struct gguf_text name) {
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strlen(table[i].name) == name.n && !memcmp(table[i].name, name.p, name.n)) return &table[i];
    return NULL;
}

const char *arch_names(void) {
    return "llama, qwen2, qwen3";
}
