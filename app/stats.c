/* stats: see stats.h. */
#include "app/stats.h"

#include <string.h>

#include "app/process.h"

void stats_add_bytes(struct buf *out, uint64_t bytes) {
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double x = (double)bytes;
    size_t i = 0;
    for (; x >= 1024 && i < 4; i++) x /= 1024;
    buf_printf(out, i && x < 100 ? "%.1f %s" : "%.0f %s", x, unit[i]);
}

static void add_figure(struct buf *out, const char *label, uint64_t bytes) {
    buf_printf(out, "%-18s ", label);
    stats_add_bytes(out, bytes);
    buf_add_char(out, '\n');
}

void stats_add(struct buf *out, const struct session_stats *st) {
    buf_printf(out, "%-18s %u used, %u committed, %u spare, %u bound\n", "cells", st->kv.used, st->kv.committed,
               st->kv.spare, st->kv.bound);
    buf_printf(out, "%-18s grown %u, shrunk %u; left the context: tokens %llu, turns %llu\n", "cache", st->kv.n_grow,
               st->kv.n_shrink, (unsigned long long)st->kv.evicted_tokens, (unsigned long long)st->kv.evicted_turns);
    buf_printf(out, "%-18s %s, %s\n", "growth, at bound", kv_grow_name(st->kv.grow), kv_evict_name(st->kv.evict));
    if (strcmp(st->kv.memory, "default") != 0) buf_printf(out, "%-18s %s\n", "memory plug-in", st->kv.memory);
    add_figure(out, "cache in use", st->kv.used_bytes);
    add_figure(out, "cache committed", st->kv.committed_bytes);
    if (st->kv.ring_bytes) add_figure(out, "window rings", st->kv.ring_bytes);
    if (st->kv.state_bytes) add_figure(out, "recurrent states", st->kv.state_bytes);
    if (st->kv.checkpoint_bytes) add_figure(out, "checkpoints", st->kv.checkpoint_bytes);
    buf_printf(out, "%-18s %u conversation%s, ", "held ready", st->kv.n_parked, st->kv.n_parked == 1 ? "" : "s");
    stats_add_bytes(out, st->kv.parked_bytes);
    buf_add_text(out, " of ");
    stats_add_bytes(out, st->kv.parked_limit_bytes);
    buf_printf(out, "\n%-18s ", "cache may take");
    stats_add_bytes(out, st->kv.room_bytes);
    buf_printf(out, " more (limit: %s)\n", st->kv.room_limit ? st->kv.room_limit : "none");
    add_figure(out, "weights mapped", st->weight_mapped_bytes);
    add_figure(out, "weights resident", st->weight_resident_bytes);
    add_figure(out, "scratch", st->scratch_bytes);
    add_figure(out, "process resident", process_rss_bytes());
    buf_printf(out, "%-18s %.1f tokens/s reading, %.1f writing\n", "last reply", st->prefill_tps, st->decode_tps);
    buf_printf(out, "%-18s %d, %s\n", "threads", st->n_threads, st->isa ? st->isa : "");
}
