/* kv_rope: rotary positions. Pure functions, any thread. See kv.h for the shapes.
 *
 * The formula is that of RoFormer (Su et al., 2021): pair i of a head, seen as a complex number, is multiplied by
 * exp(i * pos * freq[i]). */
#include "kv/kv.h"

#include <math.h>

void kv_rope_angles(const struct kv_rope *r, int64_t pos, float *cs) {
    for (uint32_t i = 0; i < r->n_rot / 2; i++) {
        double angle = (double)pos * r->freq[i]; /* libm reduces it exactly; a float would be off by .03 at a million */
        cs[2 * i] = (float)cos(angle);
        cs[2 * i + 1] = (float)sin(angle);
    }
}

void kv_rope_turn(const struct kv_rope *r, const float *cs, float scale, float *head) {
    uint32_t half = r->n_rot / 2;
    uint32_t step = r->neox ? 1 : 2, far = r->neox ? half : 1;
    for (uint32_t i = 0; i < half; i++) {
        float *x = head + (size_t)i * step, *y = x + far;
        float c = cs[2 * i] * scale, s = cs[2 * i + 1] * scale;
        float x0 = *x, y0 = *y;
        *x = x0 * c - y0 * s;
        *y = x0 * s + y0 * c;
    }
}
