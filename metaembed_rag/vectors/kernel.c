/* MaxSim of whole-number vectors, fused: no similarity is ever written to memory.
 *
 * Pages are taken one after the other (so many at a time as make 64 vectors). Their vectors go
 * into a buffer in the L1 cache as int8, are multiplied with 16 query vectors at a time, and only
 * the largest product of each query vector is kept. The order of the float operations is that of
 * the definition in integers.py; the build forbids contraction, so the bits agree.
 *
 * Query layout ("packed"): [groups][padded / 4][16 query vectors][4 values], which is what both
 * VPDPBUSD (16 lanes of 4 bytes) and an AMX tile B expect. The unused columns hold zeros.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <immintrin.h>

#if defined(__linux__) && !defined(NO_AMX)
#define WITH_AMX 1
#include <sys/syscall.h>
#include <unistd.h>
#else
#define WITH_AMX 0
#endif

enum { AVX2 = 1, VNNI = 2, AMX = 3 };
enum { INT8 = 0, INT4 = 1, BITS = 2 };
#define LANES 16
#define FULL 64 /* rows that are multiplied at one time: four AMX tiles */

typedef struct {
    const uint8_t *values, *scales;
    int64_t page_step, vector_step;             /* bytes */
    int64_t scale_page_step, scale_vector_step; /* bytes; scales are fp16 */
    int32_t vectors, kind;
} Level;

typedef struct {
    const int8_t *packed;
    const int32_t *offsets; /* [groups][16]: 128 * sum of a query vector's values */
    const float *scales;    /* [queries * vectors] */
    int32_t queries, vectors, groups, dimension, padded;
} Query;

typedef struct {
    int8_t *rows;    /* [capacity][padded] */
    int16_t *wide;   /* the same as int16 for AVX2: [8][padded] */
    float *scales;   /* [capacity] */
    int32_t *page;   /* [capacity]: which page of the chunk a row belongs to */
    float *best;     /* [pages of a chunk][groups * 16] */
    int32_t count;   /* rows in use */
    int32_t pages;   /* pages in this chunk */
    const uint8_t *ahead, *ahead_end; /* bytes of the next page that are not yet asked for */
} Buffer;

/* The best instruction set of this machine; 0: none that this file has code for. */
int metaembed_instructions(void) {
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("f16c")) return 0;
    if (!__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512vl") ||
        !__builtin_cpu_supports("avx512vnni"))
        return AVX2;
#if WITH_AMX
    uint32_t a = 7, b, c = 0, d;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    /* bits 24 and 25: AMX-TILE and AMX-INT8; Linux lends the tile registers on request */
    if ((d >> 24 & 3) == 3 && syscall(SYS_arch_prctl, 0x1023, 18) == 0) return AMX;
#endif
    return VNNI;
}

/* ---- a vector of any format as int8 values in the buffer ---- */

__attribute__((target("avx2"))) static void unpack_int4(int8_t *out, const uint8_t *in, int n) {
    const __m128i low = _mm_set1_epi8(15), offset = _mm_set1_epi8(15);
    int i = 0;
    for (; i + 32 <= n; i += 32, in += 16) {
        __m128i both = _mm_loadu_si128((const __m128i *)in);
        __m128i even = _mm_and_si128(both, low), odd = _mm_and_si128(_mm_srli_epi16(both, 4), low);
        even = _mm_sub_epi8(_mm_add_epi8(even, even), offset);
        odd = _mm_sub_epi8(_mm_add_epi8(odd, odd), offset);
        _mm_storeu_si128((__m128i *)(out + i), _mm_unpacklo_epi8(even, odd));
        _mm_storeu_si128((__m128i *)(out + i + 16), _mm_unpackhi_epi8(even, odd));
    }
    for (; i < n; i++, in += !(i & 1)) out[i] = (int8_t)(2 * (i & 1 ? *in >> 4 : *in & 15) - 15);
}

__attribute__((target("avx2"))) static void unpack_bits(int8_t *out, const uint8_t *in, int n) {
    const __m256i spread = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2,
                                            2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
    const __m256i mask = _mm256_set1_epi64x(0x0102040810204080LL);
    int i = 0;
    for (; i + 32 <= n; i += 32, in += 4) {
        int32_t word;
        memcpy(&word, in, 4);
        __m256i bits = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(word), spread), mask);
        __m256i is_set = _mm256_cmpeq_epi8(bits, mask); /* -1 or 0 */
        __m256i sign = _mm256_sub_epi8(_mm256_set1_epi8(-1), _mm256_add_epi8(is_set, is_set));
        _mm256_storeu_si256((__m256i *)(out + i), sign);
    }
    for (; i < n; i++) out[i] = (int8_t)(2 * (in[(i & 31) >> 3] >> (7 - (i & 7)) & 1) - 1);
}

__attribute__((target("f16c"))) static float scale_of(const Level *level, int64_t page, int row) {
    uint16_t half;
    memcpy(&half, level->scales + page * level->scale_page_step + row * level->scale_vector_step, 2);
    return _cvtsh_ss(half);
}

/* Ask for some more of the next page. A burst of requests would stall (16 fit into the queue of the
 * L1 cache); spread between the products they cost nothing: 82 against 103 ms for 100,000 pages. */
static inline __attribute__((always_inline)) void ask_ahead(Buffer *buffer, int64_t bytes) {
    const uint8_t *end = buffer->ahead + bytes;
    if (end > buffer->ahead_end) end = buffer->ahead_end;
    for (; buffer->ahead < end; buffer->ahead += 64) __builtin_prefetch(buffer->ahead, 0, 3);
}

static void take(Buffer *buffer, const Query *query, const Level *level, int64_t page, int row,
                 int place) {
    int8_t *out = buffer->rows + (int64_t)buffer->count * query->padded;
    const uint8_t *in = level->values + page * level->page_step + row * level->vector_step;
    if (level->kind == INT8) memcpy(out, in, (size_t)query->dimension);
    else if (level->kind == INT4) unpack_int4(out, in, query->dimension);
    else unpack_bits(out, in, query->dimension);
    buffer->scales[buffer->count] = scale_of(level, page, row);
    buffer->page[buffer->count++] = place;
}

/* ---- AVX2: 16 products an instruction, in int16 ---- */

__attribute__((target("avx2"))) static void keep_avx2(const int32_t *dots, float scale, float *best) {
    for (int half = 0; half < 2; half++) {
        __m256 x = _mm256_cvtepi32_ps(_mm256_loadu_si256((const __m256i *)(dots + 8 * half)));
        x = _mm256_mul_ps(x, _mm256_set1_ps(scale));
        _mm256_storeu_ps(best + 8 * half, _mm256_max_ps(_mm256_loadu_ps(best + 8 * half), x));
    }
}

/* Dot products of 4 rows (int16) with 4 query vectors; sums in int32. */
__attribute__((target("avx2"))) static void dots_avx2(const int16_t *rows, const int8_t *packed,
                                                      int padded, int32_t (*out)[LANES]) {
    __m256i sum[4];
    for (int t = 0; t < 4; t++) sum[t] = _mm256_setzero_si256();
    for (int k = 0; k < padded; k += 4) {
        __m256i q = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(packed + k * LANES)));
        for (int t = 0; t < 4; t++) {
            int64_t four;
            memcpy(&four, rows + (int64_t)t * padded + k, 8);
            sum[t] = _mm256_add_epi32(sum[t], _mm256_madd_epi16(q, _mm256_set1_epi64x(four)));
        }
    }
    for (int t = 0; t < 4; t++) {
        __m256i pairs = _mm256_hadd_epi32(sum[t], sum[t]);
        _mm_storeu_si128((__m128i *)out[t], _mm256_castsi256_si128(_mm256_permute4x64_epi64(pairs, 8)));
    }
}

__attribute__((target("avx2"))) static void score_avx2(Buffer *buffer, const Query *query) {
    int padded = query->padded, width = query->groups * LANES;
    int32_t dots[4][LANES];
    for (int first = 0; first < buffer->count; first += 4) {
        int n = buffer->count - first < 4 ? buffer->count - first : 4;
        const int8_t *rows = buffer->rows + (int64_t)first * padded;
        for (int k = 0; k < n * padded; k += 16) {
            __m128i bytes = _mm_loadu_si128((const __m128i *)(rows + k));
            _mm256_storeu_si256((__m256i *)(buffer->wide + k), _mm256_cvtepi8_epi16(bytes));
        }
        for (int g = 0; g < query->groups; g++) {
            for (int c = 0; c < LANES; c += 4)
                dots_avx2(buffer->wide, query->packed + (int64_t)g * LANES * padded + 4 * c, padded,
                          (int32_t(*)[LANES])(&dots[0][c]));
            for (int t = 0; t < n; t++)
                keep_avx2(dots[t], buffer->scales[first + t],
                          buffer->best + (int64_t)buffer->page[first + t] * width + g * LANES);
        }
    }
}

/* ---- AVX-512 VNNI: 64 products an instruction; rows are made unsigned, which adds 128 ---- */

#define T512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))

T512 static inline __m512 scaled(__m512i dots, float scale) {
    return _mm512_mul_ps(_mm512_cvtepi32_ps(dots), _mm512_set1_ps(scale));
}

T512 static inline void keep_512(__m512 x, float *best) {
    _mm512_storeu_ps(best, _mm512_max_ps(_mm512_loadu_ps(best), x));
}

T512 static inline __attribute__((always_inline)) void rows_vnni(
    const int n, Buffer *buffer, const Query *query, int first, int g) {
    int padded = query->padded;
    const int8_t *rows = buffer->rows + (int64_t)first * padded;
    const int8_t *packed = query->packed + (int64_t)g * LANES * padded;
    __m512i sum[8];
    for (int t = 0; t < n; t++) sum[t] = _mm512_setzero_si512();
    for (int k = 0; k < padded; k += 4) {
        __m512i q = _mm512_loadu_si512(packed + k * LANES);
        for (int t = 0; t < n; t++) {
            int32_t four;
            memcpy(&four, rows + t * padded + k, 4);
            sum[t] = _mm512_dpbusd_epi32(sum[t], _mm512_set1_epi32(four), q);
        }
    }
    __m512i offset = _mm512_loadu_si512(query->offsets + g * LANES);
    ask_ahead(buffer, (int64_t)n * padded);
    __m512 found[8];
    for (int t = 0; t < n; t++)
        found[t] = scaled(_mm512_sub_epi32(sum[t], offset), buffer->scales[first + t]);
    if (buffer->pages == 1) {
        for (int t = 1; t < n; t++) found[0] = _mm512_max_ps(found[0], found[t]);
        keep_512(found[0], buffer->best + g * LANES);
    } else {
        for (int t = 0; t < n; t++)
            keep_512(found[t],
                     buffer->best + ((int64_t)buffer->page[first + t] * query->groups + g) * LANES);
    }
}

T512 static void score_vnni(Buffer *buffer, const Query *query) {
    int64_t bytes = (int64_t)buffer->count * query->padded;
    const __m512i high = _mm512_set1_epi8((char)0x80);
    for (int64_t k = 0; k < bytes; k += 64) {
        __m512i *row = (__m512i *)(buffer->rows + k);
        _mm512_storeu_si512(row, _mm512_xor_si512(_mm512_loadu_si512(row), high));
    }
    for (int g = 0; g < query->groups; g++) {
        int first = 0;
        for (; first + 8 <= buffer->count; first += 8) rows_vnni(8, buffer, query, first, g);
        for (; first + 4 <= buffer->count; first += 4) rows_vnni(4, buffer, query, first, g);
        for (; first < buffer->count; first++) rows_vnni(1, buffer, query, first, g);
    }
}

/* ---- AMX: 16 rows times 16 query vectors an instruction ---- */

#if WITH_AMX
#define TAMX __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni,amx-tile,amx-int8")))

/* Eight tiles of 16 rows of 64 bytes. Static: gcc 12 takes the intrinsic to read 8 bytes of these 64
 * and would drop the writes to the others. */
static const struct __attribute__((packed)) {
    uint8_t palette, start, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
} tile_shapes = {1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};

TAMX static void tiles_on(void) { _tile_loadconfig(&tile_shapes); }

TAMX static void tiles_off(void) { _tile_release(); }

/* Up to 4 tiles of 16 rows against one group of query vectors. */
TAMX static inline __attribute__((always_inline)) void tiles_amx(
    const int tiles, const int8_t *rows, int64_t step, const int8_t *packed, int padded,
    int32_t *dots) {
    __asm__ volatile("" ::: "memory"); /* gcc's tile loads do not say that they read memory */
    _tile_zero(0);
    if (tiles > 1) _tile_zero(1);
    if (tiles > 2) _tile_zero(2);
    if (tiles > 3) _tile_zero(3);
    for (int k = 0; k < padded; k += 64) {
        _tile_loadd(7, packed + k * LANES, 64);
        _tile_loadd(4, rows + k, step);
        _tile_dpbssd(0, 4, 7);
        if (tiles > 1) {
            _tile_loadd(5, rows + k + 16 * step, step);
            _tile_dpbssd(1, 5, 7);
        }
        if (tiles > 2) {
            _tile_loadd(6, rows + k + 32 * step, step);
            _tile_dpbssd(2, 6, 7);
        }
        if (tiles > 3) {
            _tile_loadd(4, rows + k + 48 * step, step);
            _tile_dpbssd(3, 4, 7);
        }
    }
    _tile_stored(0, dots, 64);
    if (tiles > 1) _tile_stored(1, dots + 256, 64);
    if (tiles > 2) _tile_stored(2, dots + 512, 64);
    if (tiles > 3) _tile_stored(3, dots + 768, 64);
}

/* The maximum over rows of one page, in four registers: through memory each row waits for the last. */
T512 static inline void keep_rows(Buffer *buffer, const int32_t *dots, const float *scales, int count,
                                  int64_t step, float *best) {
    __m512 kept[4];
    for (int i = 0; i < 4; i++) kept[i] = _mm512_loadu_ps(best);
    int t = 0;
    for (; t + 4 <= count; t += 4) {
        ask_ahead(buffer, 4 * step);
        for (int i = 0; i < 4; i++)
            kept[i] = _mm512_max_ps(
                kept[i], scaled(_mm512_load_si512(dots + (t + i) * LANES), scales[t + i]));
    }
    for (; t < count && t < FULL; t++)
        kept[0] = _mm512_max_ps(kept[0], scaled(_mm512_load_si512(dots + t * LANES), scales[t]));
    kept[0] = _mm512_max_ps(_mm512_max_ps(kept[0], kept[1]), _mm512_max_ps(kept[2], kept[3]));
    _mm512_storeu_ps(best, kept[0]);
}

TAMX static void block_amx(Buffer *buffer, const int8_t *rows, int64_t step, const float *scales,
                           const int32_t *page, int count, const Query *query) {
    float *best = buffer->best;
    int32_t dots[FULL * LANES] __attribute__((aligned(64)));
    int tiles = (count + 15) / 16;
    for (int g = 0; g < query->groups; g++) {
        const int8_t *packed = query->packed + (int64_t)g * LANES * query->padded;
        if (tiles == 1) tiles_amx(1, rows, step, packed, query->padded, dots);
        else if (tiles == 2) tiles_amx(2, rows, step, packed, query->padded, dots);
        else if (tiles == 3) tiles_amx(3, rows, step, packed, query->padded, dots);
        else tiles_amx(4, rows, step, packed, query->padded, dots);
        if (page) {
            for (int t = 0; t < count; t++)
                keep_512(scaled(_mm512_load_si512(dots + t * LANES), scales[t]),
                         best + ((int64_t)page[t] * query->groups + g) * LANES);
        } else keep_rows(buffer, dots, scales, count, step, best + g * LANES);
    }
}

TAMX static void score_amx(Buffer *buffer, const Query *query) {
    for (int first = 0; first < buffer->count; first += FULL) {
        int n = buffer->count - first < FULL ? buffer->count - first : FULL;
        block_amx(buffer, buffer->rows + (int64_t)first * query->padded, query->padded,
                  buffer->scales + first, buffer->pages == 1 ? NULL : buffer->page + first, n,
                  query);
    }
}

/* Whole tiles of an int8 level straight from where they are stored; returns the rows done. */
TAMX static int score_in_place(Buffer *buffer, const Query *query, const Level *level, int64_t page) {
    float scales[FULL];
    int whole = level->vectors / 16 * 16;
    if (level->kind != INT8 || query->dimension != query->padded) return 0;
    for (int first = 0; first < whole; first += FULL) {
        int n = whole - first < FULL ? whole - first : FULL;
        for (int t = 0; t < n; t++) scales[t] = scale_of(level, page, first + t);
        const uint8_t *at = level->values + page * level->page_step + first * level->vector_step;
        block_amx(buffer, (const int8_t *)at, level->vector_step, scales, NULL, n, query);
    }
    return whole;
}

/* FULL pages of one int8 vector each, from where they are stored: the coarsest level. */
TAMX static int first_vectors_in_place(Buffer *buffer, const Query *query, const Level *level,
                                       int64_t page) {
    if (level->kind != INT8 || query->dimension != query->padded) return 0;
    for (int t = 0; t < FULL; t++) buffer->scales[t] = scale_of(level, page + t, 0), buffer->page[t] = t;
    block_amx(buffer, (const int8_t *)level->values + page * level->page_step, level->page_step,
              buffer->scales, buffer->page, FULL, query);
    return 1;
}
#endif

/* ---- pages ---- */

static void flush(int instructions, Buffer *buffer, const Query *query) {
    if (!buffer->count) return;
#if WITH_AMX
    if (instructions == AMX) score_amx(buffer, query);
    else
#endif
    if (instructions == VNNI) score_vnni(buffer, query);
    else score_avx2(buffer, query);
    buffer->count = 0;
}

/* The score of one page for each query: products of the best with the scales, in index order. */
static void add_up(const float *best, const Query *query, float *scores, int64_t stride) {
    for (int q = 0; q < query->queries; q++) {
        float sum = 0;
        for (int i = 0; i < query->vectors; i++) {
            int column = q * query->vectors + i;
            float product = best[column] * query->scales[column];
            sum += product;
        }
        scores[q * stride] = sum;
    }
}

/* The same for 16 pages at a time, one a lane: each page waits for its own sums, 16 wait together.
 * 100,000 pages by their first vector: 4.1 ms one by one, 3.3 so, of which reading takes 1 to 2. */
T512 static void add_up_16(const float *best, int width, const Query *query, float *scores,
                           int64_t stride) {
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __m512i places = _mm512_mullo_epi32(lanes, _mm512_set1_epi32(width));
    for (int q = 0; q < query->queries; q++) {
        __m512 sum = _mm512_setzero_ps();
        for (int i = 0; i < query->vectors; i++) {
            int column = q * query->vectors + i;
            __m512 found = _mm512_i32gather_ps(places, best + column, 4);
            sum = _mm512_add_ps(sum, _mm512_mul_ps(found, _mm512_set1_ps(query->scales[column])));
        }
        _mm512_storeu_ps(scores + q * stride, sum);
    }
}

static void add_up_pages(int instructions, const float *best, int pages, const Query *query,
                         float *scores, int64_t stride) {
    int width = query->groups * LANES, p = 0;
    if (instructions >= VNNI)
        for (; p + 16 <= pages; p += 16)
            add_up_16(best + (int64_t)p * width, width, query, scores + p, stride);
    for (; p < pages; p++) add_up(best + (int64_t)p * width, query, scores + p, stride);
}

/* ---- the best so far: of levels that were scored before ---- */

static void begin(Buffer *buffer, const Query *query, const float *kept) {
    int width = query->groups * LANES, columns = query->queries * query->vectors;
    for (int i = 0; i < buffer->pages * width; i++) buffer->best[i] = -__builtin_inff();
    for (int p = 0; kept && p < buffer->pages; p++)
        memcpy(buffer->best + (int64_t)p * width, kept + (int64_t)p * columns, 4 * columns);
}

static void keep(const Buffer *buffer, const Query *query, float *kept) {
    int width = query->groups * LANES, columns = query->queries * query->vectors;
    for (int p = 0; kept && p < buffer->pages; p++)
        memcpy(kept + (int64_t)p * columns, buffer->best + (int64_t)p * width, 4 * columns);
}

/* Ask for the small levels of a page at once, and note the last one for ask_ahead. */
static void prefetch(Buffer *buffer, const Level *levels, int n_levels, int64_t page) {
    for (int l = 0; l < n_levels; l++) {
        const Level *level = levels + l;
        const uint8_t *start = level->values + page * level->page_step;
        const uint8_t *end = start + level->vectors * level->vector_step;
        __builtin_prefetch(level->scales + page * level->scale_page_step, 0, 3);
        if (level->vectors >= 16) buffer->ahead = start, buffer->ahead_end = end;
        else
            for (; start < end; start += 64) __builtin_prefetch(start, 0, 2);
    }
}

static void *zeros(size_t bytes) {
    void *made = NULL;
    if (posix_memalign(&made, 64, bytes + 64)) return NULL;
    return memset(made, 0, bytes + 64);
}

/* Score pages `first` to `last` of `rows` (or themselves, when `rows` is NULL).
 * scores: [queries][stride], written at the columns first to last. kept: NULL, or the best
 * similarities of these pages in other levels, [rows][queries * vectors]: they count too, and those
 * of these levels are added to them. Returns 0, or 1: no memory. */
int metaembed_score(int instructions, const Query *query, const Level *levels, int n_levels,
                    const int64_t *rows, int64_t first, int64_t last, float *scores, int64_t stride,
                    float *kept) {
    int64_t columns = (int64_t)query->queries * query->vectors;
    int vectors = 0, large = 0, width = query->groups * LANES, failed = 1;
    for (int l = 0; l < n_levels; l++) vectors += levels[l].vectors, large |= levels[l].vectors >= 16;
    int chunk = large || vectors >= LANES ? 1 : FULL / vectors;
    int capacity = (chunk * vectors + 15) / 16 * 16;
    Buffer buffer = {0};
    buffer.rows = zeros((size_t)capacity * query->padded);
    buffer.wide = zeros((size_t)4 * query->padded * sizeof(int16_t));
    buffer.scales = zeros((size_t)capacity * sizeof(float));
    buffer.page = zeros((size_t)capacity * sizeof(int32_t));
    buffer.best = zeros((size_t)chunk * width * sizeof(float));
    if (!buffer.rows || !buffer.wide || !buffer.scales || !buffer.page || !buffer.best) goto done;
#if WITH_AMX
    if (instructions == AMX) tiles_on();
#endif
    for (int64_t start = first; start < last; start += chunk) {
        int n = (int)(last - start < chunk ? last - start : chunk);
        int done = 0;
        buffer.pages = n;
        begin(&buffer, query, kept ? kept + start * columns : NULL);
#if WITH_AMX
        if (instructions == AMX && vectors == 1 && n == FULL && !rows)
            done = first_vectors_in_place(&buffer, query, levels, start);
#endif
        for (int p = 0; p < n && !done; p++) {
            int64_t page = rows ? rows[start + p] : start + p, ahead = start + p + chunk;
            if (ahead < last) prefetch(&buffer, levels, n_levels, rows ? rows[ahead] : ahead);
            for (int l = 0; l < n_levels; l++) {
                int row = 0;
#if WITH_AMX
                if (instructions == AMX && n == 1 && levels[l].vectors >= 16)
                    row = score_in_place(&buffer, query, &levels[l], page);
#endif
                for (; row < levels[l].vectors; row++) take(&buffer, query, &levels[l], page, row, p);
            }
        }
        flush(instructions, &buffer, query);
        keep(&buffer, query, kept ? kept + start * columns : NULL);
        add_up_pages(instructions, buffer.best, n, query, scores + start, stride);
    }
#if WITH_AMX
    if (instructions == AMX) tiles_off();
#endif
    failed = 0;
done:
    free(buffer.rows), free(buffer.wide), free(buffer.scales), free(buffer.page), free(buffer.best);
    return failed;
}
