/* store_message: the rows of the store as they lie in memory: copied and freed. Any thread. */
#include <stdlib.h>
#include <string.h>

#include "app/store.h"

/* A text as the store knows it: never NULL. */
static char *copy_text(const char *s) { return strdup(s ? s : ""); }

void store_conversation_free(struct store_conversation *c) {
    free(c->title);
    free(c->persona);
    free(c->model);
    free(c->settings);
    *c = (struct store_conversation){0};
}

int store_conversation_copy(struct store_conversation *out, const struct store_conversation *from, struct err *e) {
    *out = *from;
    out->title = copy_text(from->title);
    out->persona = copy_text(from->persona);
    out->model = copy_text(from->model);
    out->settings = copy_text(from->settings);
    if (out->title && out->persona && out->model && out->settings) return 0;
    store_conversation_free(out);
    return err_set(e, ERR_MEMORY, "no memory for a conversation's row");
}

void store_message_free(struct store_message *m) {
    free(m->text);
    free(m->ids);
    free(m->finish_reason);
    free(m->settings);
    free(m->timings);
    *m = (struct store_message){0};
}

int store_message_copy(struct store_message *out, const struct store_message *from, struct err *e) {
    *out = *from;
    out->text = malloc(from->n_text + 1);
    out->ids = from->n_ids ? malloc(from->n_ids * sizeof *out->ids) : NULL;
    out->finish_reason = copy_text(from->finish_reason);
    out->settings = copy_text(from->settings);
    out->timings = copy_text(from->timings);
    if (!out->text || (from->n_ids && !out->ids) || !out->finish_reason || !out->settings || !out->timings) {
        store_message_free(out);
        return err_set(e, ERR_MEMORY, "no memory for a message's row");
    }
    if (from->n_text) memcpy(out->text, from->text, from->n_text);
    out->text[from->n_text] = 0;
    if (from->n_ids) memcpy(out->ids, from->ids, from->n_ids * sizeof *out->ids);
    return 0;
}
