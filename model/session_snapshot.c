/* session_snapshot: a session to a file and back. See engine.h and kv_save.
 *
 * A reply never uses logits from an earlier call: each begins by computing at least the prompt's last token. So what
 * must be stored for a resumed session to go on with the same bits is the cache and the sampler, nothing else. */
#include "model/session.h"

#include <stdlib.h>

#include "config/hash.h"

#define SNAPSHOT_VERSION 1u /* of what stands beside the cache */

static struct kv_snapshot_info snapshot_info(const struct session *s) {
    uint64_t id[2] = {s->model->fingerprint, SNAPSHOT_VERSION};
    return (struct kv_snapshot_info){.model_fingerprint = hash_bytes(id, sizeof id, 0),
                                     .rope_fingerprint = s->model->rope.fingerprint};
}

int session_save(struct session *s, const char *path, uint64_t *bytes, struct err *e) {
    struct kv_snapshot_info info = snapshot_info(s);
    size_t n = sampler_save(s->sampler, NULL);
    void *state = malloc(n);
    if (!state) return err_set(e, ERR_MEMORY, "no memory to save the conversation's state");
    info.extra = state;
    info.extra_bytes = sampler_save(s->sampler, state);
    int rc = kv_save(s->kv, s->seq, path, &info, bytes, e);
    free(state);
    return rc;
}

/* Changes nothing where it refuses, and nothing fails after it. */
static int take_sampler(void *ctx, const void *state, size_t n, struct err *e) {
    return sampler_load(ctx, state, n, e);
}

int session_load(struct session *s, const char *path, uint64_t *bytes, struct err *e) {
    struct kv_snapshot_info info = snapshot_info(s);
    info.accept = take_sampler;
    info.accept_ctx = s->sampler;
    return kv_load(s->kv, s->seq, path, &info, bytes, e);
}
