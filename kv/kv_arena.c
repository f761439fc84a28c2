/* kv_arena: see kv_arena.h.
 *
 * The reservation is PROT_NONE without MAP_NORESERVE: with that flag the kernel would later grant commits that it
 * cannot back. Committing is mprotect, which counts against RLIMIT_DATA and the commit limit. Only mapping PROT_NONE
 * anew gives the commit charge back; mprotect after MADV_DONTNEED does not. */
#include "kv/kv_arena.h"

#include <assert.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HUGE_PAGE ((size_t)2 << 20)

static size_t round_up(size_t n, size_t unit) {
    return (n + unit - 1) / unit * unit;
}

/* Bytes of a range of that many blocks, or 0 where no address space could hold it. */
static size_t range_bytes(size_t block_bytes, uint32_t n_blocks, size_t unit) {
    size_t bytes;
    if (__builtin_mul_overflow(block_bytes, (size_t)n_blocks, &bytes) || bytes > SIZE_MAX / 4) return 0;
    return round_up(bytes, unit);
}

/* The kernel's advice is lost with every new mapping, and neighbours merge only where it is equal. */
static void advise(void *p, size_t bytes) {
    madvise(p, bytes, MADV_HUGEPAGE);
    madvise(p, bytes, MADV_DONTFORK);
    madvise(p, bytes, MADV_DONTDUMP);
}

/* Maps bytes without access, aligned to huge pages. NULL: refused. */
static uint8_t *map_range(size_t bytes) {
    size_t all = bytes + HUGE_PAGE;
    uint8_t *p = mmap(NULL, all, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return NULL;
    size_t head = (HUGE_PAGE - (uintptr_t)p % HUGE_PAGE) % HUGE_PAGE;
    if (head) munmap(p, head);
    munmap(p + head + bytes, all - head - bytes);
    advise(p + head, bytes);
    return p + head;
}

static size_t unit_for(size_t block_bytes, uint32_t cap_blocks) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (double)block_bytes * cap_blocks > (double)HUGE_PAGE ? HUGE_PAGE : page;
}

int kv_arena_open(struct kv_arena *a, size_t block_bytes, uint32_t cap_blocks, enum kv_arena_way way) {
    memset(a, 0, sizeof *a);
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    assert(block_bytes % page == 0 && cap_blocks > 0);
    a->block_bytes = block_bytes;
    a->cap_blocks = cap_blocks;
    a->way = way;
    a->unit = unit_for(block_bytes, cap_blocks);
    size_t bytes = range_bytes(block_bytes, cap_blocks, a->unit);
    if (bytes == 0) return -1;
    if (way == KV_ARENA_RESERVE && (a->base = map_range(bytes)))
        a->reserved_bytes = bytes;
    else
        a->unit = page;
    return 0;
}

void kv_arena_close(struct kv_arena *a) {
    size_t bytes = a->reserved_bytes ? a->reserved_bytes : a->committed_bytes;
    if (a->base && bytes) munmap(a->base, bytes);
    memset(a, 0, sizeof *a);
}

size_t kv_arena_bytes(const struct kv_arena *a, uint32_t n_blocks) {
    size_t few = range_bytes(a->block_bytes, n_blocks, (size_t)sysconf(_SC_PAGESIZE));
    return few < HUGE_PAGE ? few : range_bytes(a->block_bytes, n_blocks, a->unit); /* what is less than one takes no huge page */
}

uint64_t kv_arena_fit(const struct kv_arena *a, uint64_t bytes) {
    return (bytes < HUGE_PAGE ? bytes : bytes / a->unit * a->unit) / a->block_bytes;
}

/* Pages that hold nothing but zeros stay untouched. */
static void copy_pages(uint8_t *to, const uint8_t *from, size_t bytes, uint64_t *copied) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t at = 0; at < bytes; at += page) {
        size_t n = bytes - at < page ? bytes - at : page;
        if (!from[at] && !memcmp(from + at, from + at + 1, n - 1)) continue;
        memcpy(to + at, from + at, n);
        *copied += n;
    }
}

static uint8_t *map_access(size_t bytes) {
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return NULL;
    advise(p, bytes);
    return p;
}

/* Without a reservation: the mapping itself becomes longer or shorter. bytes > 0. */
static int resize_mapping(struct kv_arena *a, size_t bytes) {
    void *p = MAP_FAILED;
    if (a->base && (a->way != KV_ARENA_COPY || bytes < a->committed_bytes))
        p = mremap(a->base, a->committed_bytes, bytes, MREMAP_MAYMOVE);
    if (p != MAP_FAILED)
        advise(p, bytes);
    else {
        size_t both = bytes < a->committed_bytes ? bytes : a->committed_bytes;
        p = map_access(bytes);
        if (!p) return -1;
        if (both) copy_pages(p, a->base, both, &a->copied_bytes);
        if (a->base) munmap(a->base, a->committed_bytes);
    }
    a->base = p;
    a->committed_bytes = bytes;
    return 0;
}

static bool fails(struct kv_arena *a) {
    if (!a->fail_in || --a->fail_in) return false;
    if (a->fail_more) {
        a->fail_more--;
        a->fail_in = 1;
    }
    return true;
}

int kv_arena_commit(struct kv_arena *a, uint32_t n_blocks) {
    assert(n_blocks <= a->cap_blocks);
    if (n_blocks <= a->n_blocks) return 0;
    if (fails(a)) return -1;
    size_t bytes = kv_arena_bytes(a, n_blocks);
    if (!a->reserved_bytes) {
        if (resize_mapping(a, bytes)) return -1;
    } else if (bytes > a->committed_bytes) {
        if (mprotect(a->base + a->committed_bytes, bytes - a->committed_bytes, PROT_READ | PROT_WRITE)) return -1;
        a->committed_bytes = bytes;
    }
    uint32_t more = n_blocks - a->n_blocks;
    a->n_spare -= a->n_spare < more ? a->n_spare : more;
    a->n_blocks = n_blocks;
    return 0;
}

bool kv_arena_next_spare(const struct kv_arena *a, uint8_t **at, size_t *bytes) {
    uint32_t n = a->n_blocks + a->n_spare + 1;
    if (!a->reserved_bytes || n > a->cap_blocks) return false;
    size_t end = kv_arena_bytes(a, n);
    *at = a->base + a->committed_bytes;
    *bytes = end > a->committed_bytes ? end - a->committed_bytes : 0;
    return true;
}

void kv_arena_add_spare(struct kv_arena *a, size_t bytes) {
    a->committed_bytes += bytes;
    a->n_spare++;
}

void kv_arena_uncommit(struct kv_arena *a, uint32_t n_blocks) {
    if (n_blocks >= a->n_blocks && !a->n_spare) return;
    assert(n_blocks <= a->n_blocks);
    size_t bytes = kv_arena_bytes(a, n_blocks);
    /* The rest of the last huge page stays committed; what its blocks held is given back all the same. */
    size_t cut = (size_t)n_blocks * a->block_bytes, end = ((size_t)a->n_blocks + a->n_spare) * a->block_bytes;
    if (!a->reserved_bytes) {
        if (bytes && bytes < a->committed_bytes && resize_mapping(a, bytes)) return;
    } else if (bytes < a->committed_bytes) {
        uint8_t *from = a->base + bytes;
        size_t n = a->committed_bytes - bytes;
        if (mmap(from, n, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) return;
        advise(from, n);
        a->committed_bytes = bytes;
    }
    if (end > a->committed_bytes) end = a->committed_bytes;
    if (cut < end) madvise(a->base + cut, end - cut, MADV_DONTNEED);
    a->n_blocks = n_blocks;
    a->n_spare = 0;
}

void kv_arena_discard(struct kv_arena *a, uint32_t block) {
    madvise(a->base + (size_t)block * a->block_bytes, a->block_bytes, MADV_DONTNEED);
}

/* Takes the committed pages over into a new range, by moving their page tables or else by copying them, and unmaps the
 * old one. Addresses that mremap has left may belong to another thread by now: they are not unmapped again. */
static int move_pages(uint8_t *to, struct kv_arena *a) {
    size_t bytes = a->committed_bytes;
    if (bytes && a->way != KV_ARENA_COPY &&
        mremap(a->base, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to) != MAP_FAILED) {
        if (a->reserved_bytes > bytes) munmap(a->base + bytes, a->reserved_bytes - bytes);
        return 0;
    }
    if (bytes) {
        if (mprotect(to, bytes, PROT_READ | PROT_WRITE)) return -1;
        copy_pages(to, a->base, bytes, &a->copied_bytes);
    }
    munmap(a->base, a->reserved_bytes);
    return 0;
}

int kv_arena_reserve(struct kv_arena *a, uint32_t cap_blocks) {
    assert(cap_blocks >= a->n_blocks && cap_blocks > 0);
    if (cap_blocks <= a->cap_blocks) return 0;
    size_t unit = unit_for(a->block_bytes, cap_blocks);
    size_t bytes = range_bytes(a->block_bytes, cap_blocks, unit);
    if (bytes == 0) return -1;
    if (!a->reserved_bytes) {
        a->cap_blocks = cap_blocks;
        return 0;
    }
    uint8_t *to = map_range(bytes);
    if (!to) return -1;
    if (move_pages(to, a)) {
        munmap(to, bytes);
        return -1;
    }
    a->base = to;
    a->reserved_bytes = bytes;
    a->cap_blocks = cap_blocks;
    /* Commits go on from a whole unit: what is committed now may end inside a huge page. */
    a->unit = a->committed_bytes % unit ? a->unit : unit;
    return 0;
}
