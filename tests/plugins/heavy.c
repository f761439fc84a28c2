/* heavy: a memory plug-in that lets leave what attention does not look at. At the bound the first cells stay (sinks), the newest
 * half stays, and of those between them the ones with the most attention mass (heavy hitters: Zhang et al., "H2O", 2023).
 *
 * Mass is summed over layers, heads and rows as attention tells it, and halves every HALF_LIFE rows, so that what was
 * important long ago does not stay for ever. Cells leave by groups of GROUP neighbours: a few words mean more than every
 * third letter of many, and each gap costs attention one more rotation of its queries.
 *
 * The mass is not saved: what a resumed conversation had read starts from none. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kv/kv_memory.h"

#define SINKS 4u
#define GROUP 8u
#define HALF_LIFE 256.0f

static const struct kv_memory_host *host;
static struct kv_memory table;

struct heavy {
    float *mass; /* [cap] of each cell of the cache */
    size_t cap;
    float *seen;    /* [cap_view] what attention adds for the batch in progress, */
    uint32_t *cell; /* [cap_view] to these cells */
    size_t cap_view, n_view;
    struct group {
        size_t first, n;
        float mass; /* a cell's, on the average */
    } *group; /* [cap_view] */
};

static struct heavy *heavy_of(struct kv *c) {
    return *host->state(c);
}

static int create(struct kv *c, const struct kv_config *g, struct err *e) {
    (void)g;
    struct heavy *h = *host->state(c) = calloc(1, sizeof *h);
    return h ? 0 : host->fail(e, ERR_MEMORY, "no memory for the masses");
}

static void destroy(struct kv *c) {
    struct heavy *h = heavy_of(c);
    free(h->mass);
    free(h->seen);
    free(h->cell);
    free(h->group);
    free(h);
}

/* Room for the mass of cells below n, and for a view of as many. */
static int reserve(struct heavy *h, size_t n) {
    if (n <= h->cap) return 0;
    size_t cap = n * 2;
    float *mass = realloc(h->mass, cap * sizeof *mass);
    if (mass) h->mass = mass;
    float *seen = realloc(h->seen, cap * sizeof *seen);
    if (seen) h->seen = seen;
    uint32_t *cell = realloc(h->cell, cap * sizeof *cell);
    if (cell) h->cell = cell;
    struct group *group = realloc(h->group, cap * sizeof *group);
    if (group) h->group = group;
    if (!mass || !seen || !cell || !group) return -1;
    memset(h->mass + h->cap, 0, (cap - h->cap) * sizeof *mass);
    h->cap = cap;
    return 0;
}

static int place(struct kv *c, int seq, const int32_t *token, uint32_t n, size_t first, struct kv_batch *b, struct err *e) {
    struct heavy *h = heavy_of(c);
    struct kv_stats s;
    int rc = host->base->place(c, seq, token, n, first, b, e);
    if (rc) return rc;
    host->base->stats(c, &s);
    if (reserve(h, s.reserved)) {
        host->base->abandon(c, b);
        return host->fail(e, ERR_MEMORY, "no memory for the masses of %u cells", s.reserved);
    }
    h->n_view = 0;
    return 0;
}

/* Whatever is in the cells next has not been looked at. */
static void drop(struct kv *c, uint32_t cell, uint32_t n) {
    struct heavy *h = heavy_of(c);
    for (uint32_t i = cell; i < cell + n && i < h->cap; i++) h->mass[i] = 0;
}

static void view(struct kv *c, const struct kv_batch *b, struct kv_view *v) {
    struct heavy *h = heavy_of(c);
    host->base->view(c, b, v);
    h->n_view = 0;
    for (size_t i = 0; i < v->n_spans; i++)
        for (uint32_t k = 0; k < v->span[i].n; k++) h->cell[h->n_view++] = v->span[i].cell + k;
    memset(h->seen, 0, h->n_view * sizeof *h->seen);
    v->mass = h->seen;
}

static void apply(struct kv *c, struct kv_batch *b) {
    struct heavy *h = heavy_of(c);
    float fade = exp2f(-(float)b->n / HALF_LIFE);
    for (size_t i = 0; i < h->n_view; i++) h->mass[h->cell[i]] = h->mass[h->cell[i]] * fade + h->seen[i];
    h->n_view = 0;
    host->base->apply(c, b);
}

static int lighter(const void *a, const void *b) {
    const struct group *x = a, *y = b;
    if (x->mass != y->mass) return x->mass < y->mass ? -1 : 1;
    return x->first < y->first ? -1 : 1;
}

/* Groups of neighbours of [0, end) that may leave; returns how many cells they have. */
static size_t make_groups(struct heavy *h, const struct kv_memory_ask *ask, size_t end, size_t *n_groups) {
    size_t n = 0;
    *n_groups = 0;
    for (size_t i = SINKS; i < end; i++) {
        if (ask->cell[i].kept) continue;
        struct group *g = *n_groups ? &h->group[*n_groups - 1] : NULL;
        bool joins = g && g->first + g->n == i && ask->cell[i].token / GROUP == ask->cell[g->first].token / GROUP;
        if (!joins) *(g = &h->group[(*n_groups)++]) = (struct group){.first = i};
        g->mass += (h->mass[ask->cell[i].cell] - g->mass) / (float)++g->n;
        n++;
    }
    return n;
}

static int evict(struct kv *c, const struct kv_memory_ask *ask, struct err *e) {
    (void)e;
    struct heavy *h = heavy_of(c);
    size_t n_groups, newest = ask->n_bound / 2, left = ask->n_need;
    size_t end = ask->n_cells > newest ? ask->n_cells - newest : 0;
    if (!h->cap || make_groups(h, ask, end, &n_groups) < ask->n_need) return 0; /* the mode decides */
    qsort(h->group, n_groups, sizeof *h->group, lighter);
    for (size_t i = 0; i < n_groups && left; i++)
        for (size_t k = 0; k < h->group[i].n; k++) {
            ask->cell[h->group[i].first + k].leaves = true;
            left -= left > 0;
        }
    return 0;
}

const struct kv_memory *kvetch_memory(const struct kv_memory_host *from) {
    if (from->version != KV_MEMORY_VERSION || from->bytes != sizeof *from) return NULL;
    host = from;
    table = *host->base;
    table.version = KV_MEMORY_VERSION;
    table.bytes = sizeof table;
    table.name = "heavy";
    table.create = create;
    table.destroy = destroy;
    table.place = place;
    table.drop = drop;
    table.view = view;
    table.apply = apply;
    table.evict = evict;
    return &table;
}
