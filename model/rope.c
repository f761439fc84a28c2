/* rope: see rope.h. */
#include "model/rope.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "config/hash.h"

/* What the metadata says about scaling, defaults filled in. */
struct scaling {
    double factor;      /* positions are divided by it */
    double attn_factor; /* on top of YaRN's own magnitude */
    double n_ctx_orig;  /* context of the training before the extension */
    bool yarn;
};

/* Turns within n_ctx_orig between which YaRN's ramp lies: the paper's. The keys that could name others (yarn_beta_fast,
 * yarn_beta_slow, yarn_ext_factor) are not read for our architectures by libllama either, and both engines should say
 * the same. */
#define BETA_FAST 32.0
#define BETA_SLOW 1.0

static int read_real(const struct gguf *g, const struct arch *a, const char *name, double min, double max, double *out,
                     struct err *e) {
    struct weights_key key;
    int rc = gguf_real(g, weights_key(&key, a, name), out, e);
    if (rc) return rc;
    if (!(*out >= min && *out <= max))
        return err_set(e, ERR_FILE, "%s: %s: found %g, expected %g to %g", g->path, key.text, *out, min, max);
    return 0;
}

static int read_kind(const struct gguf *g, const struct arch *a, struct rope *r, struct scaling *s, struct err *e) {
    static const char *const kinds[] = {"none", "linear", "yarn"};
    struct weights_key key;
    struct gguf_text kind = {"linear", 6};
    int rc = gguf_string(g, weights_key(&key, a, "rope.scaling.type"), &kind, e);
    if (rc) return rc;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strlen(kinds[i]) == kind.n && !memcmp(kinds[i], kind.p, kind.n)) r->scaling = kinds[i];
    if (!r->scaling)
        return err_set(e, ERR_FILE, "%s: %s: found \"%.*s\", expected one of none, linear, yarn", g->path, key.text,
                       (int)(kind.n < 64 ? kind.n : 64), kind.p);
    s->yarn = !strcmp(r->scaling, "yarn");
    return 0;
}

static int read_scaling(const struct gguf *g, const struct weights *w, struct rope *r, struct scaling *s,
                        struct err *e) {
    const struct arch *a = w->arch;
    int rc;
    *s = (struct scaling){.factor = 0, .attn_factor = 1, .n_ctx_orig = w->shape.n_ctx_train};
    if ((rc = read_kind(g, a, r, s, e))) return rc;
    if ((rc = read_real(g, a, "rope.scale_linear", 0, 1e6, &s->factor, e))) return rc; /* the key's older name */
    if ((rc = read_real(g, a, "rope.scaling.factor", 0, 1e6, &s->factor, e))) return rc;
    if ((rc = read_real(g, a, "rope.scaling.attn_factor", 1e-6, 1e6, &s->attn_factor, e))) return rc;
    if ((rc = read_real(g, a, "rope.scaling.original_context_length", 1, 1e12, &s->n_ctx_orig, e))) return rc;
    if (s->factor == 0 || !strcmp(r->scaling, "none")) s->factor = 1;
    if (s->factor == 1 && !s->yarn) r->scaling = w->rope_factors ? "llama3" : "none";
    return 0;
}

/* The pair that turns n_turns times within n_ctx positions (a real number). */
static double turning_pair(double n_rot, double base, double n_ctx, double n_turns) {
    return n_rot * log(n_ctx / (n_turns * 2 * M_PI)) / (2 * log(base));
}

/* 1 for pairs that turn fast, which keep their frequency, 0 for slow ones, which are interpolated; a ramp between. */
static double yarn_ramp(const struct scaling *s, uint32_t n_rot, double base, uint32_t i) {
    double low = floor(turning_pair(n_rot, base, s->n_ctx_orig, BETA_FAST));
    double high = ceil(turning_pair(n_rot, base, s->n_ctx_orig, BETA_SLOW));
    low = low > 0 ? low : 0;
    high = high < n_rot - 1 ? high : n_rot - 1;
    double width = high - low > 0.001 ? high - low : 0.001, y = ((double)i - low) / width;
    return 1 - (y < 0 ? 0 : y > 1 ? 1 : y);
}

static void fill_frequencies(struct rope *r, const struct scaling *s, uint32_t n_rot, const float *factors) {
    for (uint32_t i = 0; i < n_rot / 2; i++) {
        double plain = pow(r->base, -2.0 * i / n_rot);
        if (factors) plain /= (double)factors[i];
        double mix = s->yarn ? yarn_ramp(s, n_rot, r->base, i) : 0;
        r->freq[i] = plain / s->factor * (1 - mix) + plain * mix;
    }
}

int rope_read(struct rope *r, const struct gguf *g, const struct weights *w, struct err *e) {
    *r = (struct rope){.base = 10000};
    struct scaling s;
    uint32_t n_rot = w->shape.n_rot;
    int rc = read_real(g, w->arch, "rope.freq_base", 1.0001, 1e30, &r->base, e);
    if (rc || (rc = read_scaling(g, w, r, &s, e))) return rc;
    for (uint32_t i = 0; w->rope_factors && i < n_rot / 2; i++)
        if (!(w->rope_factors[i] > 0))
            return err_set(e, ERR_FILE, "%s: rope_freqs.weight: found %g, expected numbers above 0", g->path,
                           (double)w->rope_factors[i]);
    r->freq = calloc(n_rot / 2, sizeof *r->freq);
    if (!r->freq) return err_set(e, ERR_MEMORY, "no memory for the rotary frequencies of %s", g->path);
    fill_frequencies(r, &s, n_rot, w->rope_factors);
    /* attention's temperature, as the YaRN paper's section 3.4 has it, applied to queries and keys alike */
    double magnitude = s.attn_factor * (s.yarn && s.factor > 1 ? 1 + 0.1 * log(s.factor) : 1);
    r->kv = (struct kv_rope){.n_rot = n_rot, .neox = w->arch->neox, .magnitude = (float)magnitude, .freq = r->freq};
    double rest[3] = {n_rot, r->kv.neox, (double)r->kv.magnitude};
    r->fingerprint = hash_bytes(r->freq, n_rot / 2 * sizeof *r->freq, hash_bytes(rest, sizeof rest, 0));
    return 0;
}

void rope_free(struct rope *r) {
    free(r->freq);
    *r = (struct rope){0};
}
