/* The compiled proof-of-work solver: the counter whose SHA3-512 digest is small enough, several counters at a time.

   It is optional. `pow/plain.py` is its twin in Python and gives the same answers; `pow/proof.py` takes whichever is
   there. One shared object serves every CPython from 3.11 on (the stable ABI), and every x86-64: how wide the vectors
   are is decided when the module is imported. */

#define Py_LIMITED_API 0x030B0000 /* the oldest Python of pyproject.toml */
#include <Python.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif
#include <sys/resource.h>
#include <time.h>

#define RATE 9        /* 64-bit words in a block of SHA3-512 */
#define BLOCK (RATE * 8)
#define DIGEST 64
#define MOST_DIGITS 20 /* of a 64-bit counter */

static const uint64_t ROUND_CONSTANTS[24] = {
    0x0000000000000001, 0x0000000000008082, 0x800000000000808a, 0x8000000080008000, 0x000000000000808b,
    0x0000000080000001, 0x8000000080008081, 0x8000000000008009, 0x000000000000008a, 0x0000000000000088,
    0x0000000080008009, 0x000000008000000a, 0x000000008000808b, 0x800000000000008b, 0x8000000000008089,
    0x8000000000008003, 0x8000000000008002, 0x8000000000000080, 0x000000000000800a, 0x800000008000000a,
    0x8000000080008081, 0x8000000000008080, 0x0000000080000001, 0x8000000080008008,
};

typedef struct Search Search;

/* What is searched: an i for which the digest of seed + base64(head + i + middle + (i >> 1) + tail) is <= highest. */
struct Search {
    const uint8_t *seed, *head, *middle, *tail;
    size_t seed_length, head_length, middle_length, tail_length;
    uint64_t highest[8]; /* big-endian words of the digest, so that they compare as numbers */
    /* Room for the longest message there can be: */
    uint8_t *text;    /* head + i + middle + (i >> 1) + tail */
    uint8_t *message; /* seed + base64(text), padded to whole blocks */
    uint64_t *words;  /* the message's words, those of all lanes side by side */
    /* How far it has come: */
    uint64_t counter, end, stop; /* the counter is below the end of its run where it is the one */
    uint64_t (*run)(const Search *, uint64_t, uint64_t);
    int niceness;
};

static int
count_digits(uint64_t number)
{
    int count = 1;
    while (number >= 10) {
        number /= 10;
        count++;
    }
    return count;
}

static void
write_digits(uint8_t *place, int count, uint64_t number)
{
    while (count--) {
        place[count] = '0' + number % 10;
        number /= 10;
    }
}

/* Four characters for up to three bytes; what is missing of them becomes padding. */
static void
encode_group(uint8_t out[4], const uint8_t *in, size_t length)
{
    static const uint8_t alphabet[64] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint32_t bits = (uint32_t)in[0] << 16;
    if (length > 1)
        bits |= (uint32_t)in[1] << 8;
    if (length > 2)
        bits |= in[2];
    out[0] = alphabet[bits >> 18];
    out[1] = alphabet[bits >> 12 & 63];
    out[2] = length > 1 ? alphabet[bits >> 6 & 63] : '=';
    out[3] = length > 2 ? alphabet[bits & 63] : '=';
}

/* Length of the message in whole blocks: there is always room for the first and the last byte of the padding. */
static size_t
count_blocks(size_t length)
{
    return length / BLOCK + 1;
}

static void
pad(uint8_t *message, size_t length)
{
    size_t end = count_blocks(length) * BLOCK;
    memset(message + length, 0, end - length);
    message[length] = 0x06; /* the two bits that make Keccak SHA-3, and the first bit of the padding */
    message[end - 1] |= 0x80;
}

/* SHA-3 reads and writes its words with the lowest byte first, whatever the machine does. */
static uint64_t
load_word(const uint8_t *bytes)
{
    uint64_t word = 0;
    for (int i = 7; i >= 0; i--)
        word = word << 8 | bytes[i];
    return word;
}

static uint64_t
swap_bytes(uint64_t word)
{
    uint64_t swapped = 0;
    for (int i = 0; i < 8; i++, word >>= 8)
        swapped = swapped << 8 | (word & 0xff);
    return swapped;
}

/* Write the text and the padded message for a counter; returns the message's length without padding. */
static size_t
lay_out(const Search *s, uint64_t counter, int digits, int half_digits)
{
    uint8_t *text = s->text;
    memcpy(text, s->head, s->head_length);
    text += s->head_length;
    write_digits(text, digits, counter);
    text += digits;
    memcpy(text, s->middle, s->middle_length);
    text += s->middle_length;
    write_digits(text, half_digits, counter >> 1);
    text += half_digits;
    memcpy(text, s->tail, s->tail_length);
    text += s->tail_length;

    uint8_t *message = s->message;
    memcpy(message, s->seed, s->seed_length);
    message += s->seed_length;
    for (const uint8_t *group = s->text; group < text; group += 3, message += 4)
        encode_group(message, group, text - group);
    pad(s->message, message - s->message);
    return message - s->message;
}

/* The same code for one, four and eight lanes. The vectors are an extension of GCC and Clang; without them, and on
   other processors, there is one lane, which is plain C. */

#define LANES 1
#include "_sha3_lanes.h"
#undef LANES

#if defined(__x86_64__) && defined(__GNUC__)
#define HAS_VECTORS 1
#define LANES 4
#include "_sha3_lanes.h"
#undef LANES
#define LANES 8
#include "_sha3_lanes.h"
#undef LANES
#endif

/* The widest vectors this processor and its operating system have. */
static int
widest(void)
{
#ifdef HAS_VECTORS
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f"))
        return 8;
    if (__builtin_cpu_supports("avx2"))
        return 4;
#endif
    return 1;
}

/* The lanes a caller asked for; 0 asks for the most. -1 with an exception set where there are not as many. */
static int
choose_lanes(int asked)
{
    int most = widest();
    int lanes = asked ? asked : most;
    if (lanes > most || (lanes != 1 && lanes != 4 && lanes != 8)) {
        PyErr_Format(PyExc_ValueError, "lanes are 1, 4 or 8 and here at most %d, not %d", most, asked);
        return -1;
    }
    return lanes;
}

/* The end of the counters that have as many digits as this one, their halves included. */
static uint64_t
end_of_run(uint64_t start, uint64_t stop)
{
    uint64_t edge = 1, half_edge = 1;
    for (int i = count_digits(start); i; i--)
        edge *= 10;
    for (int i = count_digits(start >> 1); i; i--)
        half_edge *= 10;
    uint64_t end = stop < edge ? stop : edge;
    return end >> 1 < half_edge ? end : half_edge * 2;
}

/* Search so many counters more at most; whether there is more to search. */
static int
search_some(Search *s, uint64_t most)
{
    uint64_t left = s->stop - s->counter;
    s->end = end_of_run(s->counter, s->counter + (left < most ? left : most));
    s->counter = s->run(s, s->counter, s->end);
    return s->counter == s->end && s->counter < s->stop;
}

static void
search(Search *s)
{
    int more = s->counter < s->stop;
    while (more)
        more = search_some(s, UINT64_MAX);
}

#ifdef SCHED_IDLE /* Linux, where a policy and a niceness are a thread's own, and 0 is the calling thread */
#define AT_ONCE 2048   /* counters between two looks around: half a millisecond with eight lanes, 4 with one */
#define UNTRIED 0.1    /* seconds, before which nothing is said of how much CPU there is */
#define STARVED 20     /* seconds for each second of CPU */
#define PAUSE 60000    /* nanoseconds, an eighth of the time between two looks */
#define COMPANY 32     /* looks without a sign of anybody else, after which this thread takes itself to be alone */

static double
seconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

/* How often this thread had to let go of its core. */
static long
preemptions(void)
{
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_nivcsw;
}

/* Only while a core has nothing else to do, and until that is hardly ever. What is to run instead does so at once, where a
   nice thread may first run to the end of its turn. But one that waits behind another on a core is moved to this one by
   the clock alone (every 4 ms), for as long as this one is never without work: hence pauses while others are at work.
   Beside four hard proofs on a busy machine they took the p99 of small requests from 8.2 to 5.6 ms. */
static void *
search_idly(void *argument)
{
    Search *s = argument;
    const struct sched_param none = {0};
    const struct timespec pause = {0, PAUSE};
    if (sched_setscheduler(0, SCHED_IDLE, &none) == 0) {
        prctl(PR_SET_TIMERSLACK, 1UL); /* a pause would take 50 us longer */
        double began = seconds(CLOCK_MONOTONIC), waited = 0;
        long before = preemptions();
        int alone = COMPANY, more = s->counter < s->stop;
        while (more && (waited < UNTRIED || waited < seconds(CLOCK_THREAD_CPUTIME_ID) * STARVED)) {
            more = search_some(s, AT_ONCE);
            long now = preemptions();
            alone = now != before ? 0 : alone < COMPANY ? alone + 1 : COMPANY;
            before = now;
            if (more && alone < COMPANY)
                nanosleep(&pause, NULL);
            waited = seconds(CLOCK_MONOTONIC) - began;
        }
    }
    return NULL;
}
#endif

static void *
search_nicely(void *argument)
{
    Search *s = argument;
#ifdef SCHED_IDLE
    setpriority(PRIO_PROCESS, 0, s->niceness);
#endif
    search(s);
    return NULL;
}

/* Have a thread of its own do some of it, and wait for that; false where there is none. */
static int
run_beside(void *(*work)(void *), Search *s)
{
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are for the threads that Python knows */
    int failed = pthread_create(&thread, NULL, work, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!failed)
        pthread_join(thread, NULL);
    return !failed;
}

/* Let threads of our own do it. The caller's thread can't be nice: it has to take the GIL when it comes back, and while a
   nice thread has the GIL and no core to run on, nobody else gets anywhere. A thread that was idle can't be more than that
   again without a privilege, so that another one goes on. */
static void
search_beside(Search *s)
{
#ifdef SCHED_IDLE
    run_beside(search_idly, s);
#endif
    if (s->counter == s->end && s->counter < s->stop && !run_beside(search_nicely, s))
        search(s);
}

/* Arguments are parsed as objects ("S": bytes) and read here, because the formats with a "#" mean something else to
   Python 3.11 and 3.12 than the headers of 3.13 promise. What is read lives as long as the object, which the tuple of
   arguments keeps alive, with the GIL and without. */
static const uint8_t *
bytes_of(PyObject *object, size_t *length)
{
    *length = PyBytes_Size(object);
    return (const uint8_t *)PyBytes_AsString(object);
}

PyDoc_STRVAR(find_doc,
             "find(seed, head, middle, tail, start, stop, highest, lanes=0, niceness=0, /)\n--\n\n"
             "The first i of start..stop - 1 for which SHA3-512 of seed + base64(head + i + middle + (i >> 1) + tail)\n"
             "is at most `highest` (64 bytes); None where there is none. Other threads run meanwhile. `lanes` are\n"
             "hashed at once: 1, 4 or 8; 0 takes the most there are. With a niceness a thread does it that\n"
             "runs when nothing else does, and where that is never one that is so nice.");

static PyObject *
find(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *seed, *head, *middle, *tail, *bound;
    long long start, stop; /* not unsigned: the format for those does not look for overflows */
    int lanes = 0;
    Search s;
    s.niceness = 0;
    if (!PyArg_ParseTuple(args, "SSSSLLS|ii:find", &seed, &head, &middle, &tail, &start, &stop, &bound, &lanes,
                          &s.niceness))
        return NULL;
    size_t highest_length;
    const uint8_t *highest = bytes_of(bound, &highest_length);
    s.seed = bytes_of(seed, &s.seed_length);
    s.head = bytes_of(head, &s.head_length);
    s.middle = bytes_of(middle, &s.middle_length);
    s.tail = bytes_of(tail, &s.tail_length);
    if (start < 0 || highest_length != DIGEST) {
        PyErr_SetString(PyExc_ValueError, "start is a natural number, and highest has 64 bytes");
        return NULL;
    }
    if ((lanes = choose_lanes(lanes)) < 0)
        return NULL;
    for (int i = 0; i < 8; i++)
        s.highest[i] = swap_bytes(load_word(highest + i * 8));

    /* Each length fits into memory, but four of them need not fit into a size. */
    double longest = (double)s.head_length + s.middle_length + s.tail_length + 2 * MOST_DIGITS;
    if (s.seed_length + longest * 2 > PY_SSIZE_T_MAX / 16)
        return PyErr_NoMemory();
    size_t text_room = (size_t)longest + 3;
    size_t message_room = count_blocks(s.seed_length + text_room / 3 * 4 + 4) * BLOCK;
    s.words = PyMem_Malloc(message_room * lanes + message_room + text_room);
    if (s.words == NULL)
        return PyErr_NoMemory();
    s.message = (uint8_t *)s.words + message_room * lanes;
    s.text = s.message + message_room;

    s.run = search_run_1;
#ifdef HAS_VECTORS
    s.run = lanes == 8 ? search_run_8 : lanes == 4 ? search_run_4 : s.run;
#endif
    s.counter = s.end = start;
    s.stop = stop > start ? stop : start;
    Py_BEGIN_ALLOW_THREADS
    if (s.niceness)
        search_beside(&s);
    else
        search(&s);
    Py_END_ALLOW_THREADS
    PyMem_Free(s.words);
    if (s.counter == s.end) {
        Py_IncRef(Py_None); /* Py_RETURN_NONE of 3.12's headers and later doesn't, but Python 3.11 counts on it */
        return Py_None;
    }
    return PyLong_FromUnsignedLongLong(s.counter);
}

PyDoc_STRVAR(digest_doc,
             "digest(message, lanes=0, /)\n--\n\n"
             "SHA3-512 of a message as the search computes it, so that it can be checked against published vectors.");

static PyObject *
digest(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *whole;
    size_t length;
    int lanes = 0;
    if (!PyArg_ParseTuple(args, "S|i:digest", &whole, &lanes))
        return NULL;
    const uint8_t *message = bytes_of(whole, &length);
    if ((lanes = choose_lanes(lanes)) < 0)
        return NULL;
    if (length > PY_SSIZE_T_MAX / 16)
        return PyErr_NoMemory();
    size_t blocks = count_blocks(length);
    uint64_t *words = PyMem_Malloc(blocks * BLOCK * (lanes + 1));
    if (words == NULL)
        return PyErr_NoMemory();
    uint8_t *padded = (uint8_t *)words + blocks * BLOCK * lanes, result[DIGEST];
    memcpy(padded, message, length);
    pad(padded, length);

    void (*hash)(uint8_t *, const uint8_t *, uint64_t *, size_t) = hash_1;
#ifdef HAS_VECTORS
    hash = lanes == 8 ? hash_8 : lanes == 4 ? hash_4 : hash;
#endif
    Py_BEGIN_ALLOW_THREADS
    hash(result, padded, words, blocks);
    Py_END_ALLOW_THREADS
    PyMem_Free(words);
    return PyBytes_FromStringAndSize((const char *)result, DIGEST);
}

static int
fill_module(PyObject *module)
{
    return PyModule_AddIntConstant(module, "LANES", widest());
}

static PyMethodDef methods[] = {
    {"find", find, METH_VARARGS, find_doc},
    {"digest", digest, METH_VARARGS, digest_doc},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, fill_module},
    {0, NULL},
};

static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "pow._sha3",
    .m_doc = "The compiled proof-of-work solver. LANES says how many messages it hashes at once here.",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit__sha3(void)
{
    return PyModuleDef_Init(&definition);
}
