/* Keccak and the search for LANES messages side by side; `_sha3.c` includes this once for each width.

   A word of the state is a vector: lane i of it belongs to message i. Nothing ever crosses lanes, so the code reads as
   for a single message. */

#if LANES == 1
#define NAME(name) name##_1
#define TARGET
typedef uint64_t NAME(Vector);
#elif LANES == 4
#define NAME(name) name##_4
#define TARGET __attribute__((target("avx2")))
typedef uint64_t NAME(Vector) __attribute__((vector_size(32), aligned(8), may_alias));
#else
#define NAME(name) name##_8
#define TARGET __attribute__((target("avx512f")))
typedef uint64_t NAME(Vector) __attribute__((vector_size(64), aligned(8), may_alias));
#endif

/* Compilers make one instruction of each of these where the processor has it (vprolq, vpternlogq). */
#define TURN(x, by) ((x) << (by) | (x) >> (64 - (by)))
#define CHI(x, y, z) ((x) ^ (~(y) & (z)))

#define ROW(to, at, v0, v1, v2, v3, v4)  \
    do {                                 \
        b0 = v0;                         \
        b1 = v1;                         \
        b2 = v2;                         \
        b3 = v3;                         \
        b4 = v4;                         \
        to[at] = CHI(b0, b1, b2);        \
        to[at + 1] = CHI(b1, b2, b3);    \
        to[at + 2] = CHI(b2, b3, b4);    \
        to[at + 3] = CHI(b3, b4, b0);    \
        to[at + 4] = CHI(b4, b0, b1);    \
    } while (0)

/* One round from `a` to `e`: the sums of the columns (theta), then row by row the words that rho turns and pi brings
   there, mixed by chi; iota last. Two arrays, so that no word has to be moved out of the way. */
#define ROUND(a, e, constant)                                                                                          \
    do {                                                                                                               \
        c0 = a[0] ^ a[5] ^ a[10] ^ a[15] ^ a[20];                                                                      \
        c1 = a[1] ^ a[6] ^ a[11] ^ a[16] ^ a[21];                                                                      \
        c2 = a[2] ^ a[7] ^ a[12] ^ a[17] ^ a[22];                                                                      \
        c3 = a[3] ^ a[8] ^ a[13] ^ a[18] ^ a[23];                                                                      \
        c4 = a[4] ^ a[9] ^ a[14] ^ a[19] ^ a[24];                                                                      \
        d0 = c4 ^ TURN(c1, 1);                                                                                         \
        d1 = c0 ^ TURN(c2, 1);                                                                                         \
        d2 = c1 ^ TURN(c3, 1);                                                                                         \
        d3 = c2 ^ TURN(c4, 1);                                                                                         \
        d4 = c3 ^ TURN(c0, 1);                                                                                         \
        ROW(e, 0, a[0] ^ d0, TURN(a[6] ^ d1, 44), TURN(a[12] ^ d2, 43), TURN(a[18] ^ d3, 21), TURN(a[24] ^ d4, 14));   \
        ROW(e, 5, TURN(a[3] ^ d3, 28), TURN(a[9] ^ d4, 20), TURN(a[10] ^ d0, 3), TURN(a[16] ^ d1, 45),                 \
            TURN(a[22] ^ d2, 61));                                                                                     \
        ROW(e, 10, TURN(a[1] ^ d1, 1), TURN(a[7] ^ d2, 6), TURN(a[13] ^ d3, 25), TURN(a[19] ^ d4, 8),                  \
            TURN(a[20] ^ d0, 18));                                                                                     \
        ROW(e, 15, TURN(a[4] ^ d4, 27), TURN(a[5] ^ d0, 36), TURN(a[11] ^ d1, 10), TURN(a[17] ^ d2, 15),               \
            TURN(a[23] ^ d3, 56));                                                                                     \
        ROW(e, 20, TURN(a[2] ^ d2, 62), TURN(a[8] ^ d3, 55), TURN(a[14] ^ d4, 39), TURN(a[15] ^ d0, 41),               \
            TURN(a[21] ^ d1, 2));                                                                                      \
        e[0] ^= constant;                                                                                              \
    } while (0)

/* Take in `blocks` blocks, whose words are side by side as the lanes are. */
TARGET static void
NAME(absorb)(NAME(Vector) state[25], const uint64_t *words, size_t blocks)
{
    NAME(Vector) a[25], e[25], b0, b1, b2, b3, b4, c0, c1, c2, c3, c4, d0, d1, d2, d3, d4;
    memcpy(a, state, sizeof a);
    for (; blocks; blocks--, words += RATE * LANES) {
        for (int i = 0; i < RATE; i++)
            a[i] ^= *(const NAME(Vector) *)(words + i * LANES);
        for (int round = 0; round < 24; round += 2) {
            ROUND(a, e, ROUND_CONSTANTS[round]);
            ROUND(e, a, ROUND_CONSTANTS[round + 1]);
        }
    }
    memcpy(state, a, sizeof a);
}

/* Give every lane the words of these blocks. */
static void
NAME(spread)(uint64_t *words, const uint8_t *blocks, size_t count)
{
    for (size_t i = 0; i < count * RATE; i++)
        for (int lane = 0; lane < LANES; lane++)
            words[i * LANES + lane] = load_word(blocks + i * 8);
}

static void
NAME(put)(uint64_t *words, int lane, size_t at, const uint8_t *bytes, int count)
{
    for (; count; count--, at++, bytes++) {
        uint64_t *word = words + at / 8 * LANES + lane;
        int shift = at % 8 * 8;
        *word = (*word & ~((uint64_t)0xff << shift)) | (uint64_t)*bytes << shift;
    }
}

/* Whether a lane's digest is small enough. Nearly always the first word says that it isn't. */
static int
NAME(is_accepted)(const uint64_t *state, int lane, const uint64_t highest[8])
{
    for (int i = 0; i < 8; i++) {
        uint64_t word = swap_bytes(state[i * LANES + lane]);
        if (word != highest[i])
            return word < highest[i];
    }
    return 1;
}

/* Encode anew the groups of the text that a counter's digits touch, for one lane. */
static void
NAME(put_groups)(const Search *s, int lane, size_t at, int digits, size_t text_length, size_t absorbed)
{
    uint8_t group[4];
    for (size_t first = at / 3 * 3; first < at + digits; first += 3) {
        encode_group(group, s->text + first, text_length - first);
        NAME(put)(s->words, lane, s->seed_length + first / 3 * 4 - absorbed, group, 4);
    }
}

/* Try the counters from `start` to `stop`, which all have as many digits as `start`, and so have their halves. Returns
   the first that is accepted, or `stop`. */
TARGET static uint64_t
NAME(search_run)(const Search *s, uint64_t start, uint64_t stop)
{
    int digits = count_digits(start), half_digits = count_digits(start >> 1);
    size_t near = s->head_length, far = near + digits + s->middle_length;
    size_t text_length = far + half_digits + s->tail_length;
    size_t length = lay_out(s, start, digits, half_digits);

    /* What comes before the counter is taken in once, and every lane goes on from there. */
    size_t blocks = count_blocks(length), same = (s->seed_length + near / 3 * 4) / BLOCK;
    NAME(Vector) begun[25], state[25];
    memset(begun, 0, sizeof begun);
    NAME(spread)(s->words, s->message, same);
    NAME(absorb)(begun, s->words, same);
    NAME(spread)(s->words, s->message + same * BLOCK, blocks - same);

    for (uint64_t counter = start; counter < stop; counter += LANES) {
        for (int lane = 0; lane < LANES; lane++) {
            uint64_t mine = counter + lane < stop ? counter + lane : stop - 1; /* no digit more than there is room for */
            write_digits(s->text + near, digits, mine);
            write_digits(s->text + far, half_digits, mine >> 1);
            NAME(put_groups)(s, lane, near, digits, text_length, same * BLOCK);
            NAME(put_groups)(s, lane, far, half_digits, text_length, same * BLOCK);
        }
        memcpy(state, begun, sizeof state);
        NAME(absorb)(state, s->words, blocks - same);
        for (int lane = 0; lane < LANES && counter + lane < stop; lane++)
            if (NAME(is_accepted)((const uint64_t *)state, lane, s->highest))
                return counter + lane;
    }
    return stop;
}

/* The digest of a whole message, as the first lane has it. */
TARGET static void
NAME(hash)(uint8_t digest[DIGEST], const uint8_t *padded, uint64_t *words, size_t blocks)
{
    NAME(Vector) state[25];
    memset(state, 0, sizeof state);
    NAME(spread)(words, padded, blocks);
    NAME(absorb)(state, words, blocks);
    for (int i = 0; i < DIGEST; i++)
        digest[i] = ((const uint64_t *)state)[i / 8 * LANES] >> i % 8 * 8;
}

#undef NAME
#undef TARGET
#undef TURN
#undef CHI
#undef ROW
#undef ROUND
