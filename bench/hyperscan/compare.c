/* Hyperscan or Vectorscan over the same records as the bench `scan`, one block a record, one core:
 *
 *     compare PATTERNS RECORDS [SECONDS]
 *
 * RECORDS is what the example `records` writes: for each record its length in four bytes, the lowest
 * first, then its bytes. Printed are the median throughput of a set that stays in the second-level
 * cache and of one that stays in the third, without and with the start of matches (which masking
 * needs). Reads no network and writes nothing. */

#define _GNU_SOURCE
#include <hs/hs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PATTERNS_MAX = 256, LINE_MAX_BYTES = 4096, ROUNDS = 21 };

struct records {
    char *bytes;
    unsigned *lengths;
    size_t count;
};

static void fail(const char *what, const char *why) {
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static struct records read_records(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) fail(path, "cannot be opened");
    struct records records = {NULL, NULL, 0};
    size_t room = 0, used = 0, slots = 0;
    unsigned char head[4];
    while (fread(head, 1, 4, file) == 4) {
        unsigned length = head[0] | head[1] << 8 | head[2] << 16 | (unsigned)head[3] << 24;
        if (length > (1u << 24)) fail(path, "has a record of more than 16 MiB");
        while (used + length > room) {
            room = room ? room * 2 : 1 << 20;
            records.bytes = realloc(records.bytes, room);
        }
        if (records.count == slots) {
            slots = slots ? slots * 2 : 1024;
            records.lengths = realloc(records.lengths, slots * sizeof *records.lengths);
        }
        if (!records.bytes || !records.lengths) fail(path, "does not fit into memory");
        if (fread(records.bytes + used, 1, length, file) != length) fail(path, "ends within a record");
        records.lengths[records.count++] = length;
        used += length;
    }
    fclose(file);
    if (!records.count) fail(path, "holds no record");
    return records;
}

static hs_database_t *compile(const char *path, unsigned flags) {
    static char lines[PATTERNS_MAX][LINE_MAX_BYTES];
    const char *expressions[PATTERNS_MAX];
    unsigned each[PATTERNS_MAX], ids[PATTERNS_MAX], count = 0;
    FILE *file = fopen(path, "r");
    if (!file) fail(path, "cannot be opened");
    while (count < PATTERNS_MAX && fgets(lines[count], LINE_MAX_BYTES, file)) {
        char *tab = strchr(lines[count], '\t');
        if (lines[count][0] == '#' || !tab) continue;
        tab[1 + strcspn(tab + 1, "\n")] = 0;
        expressions[count] = tab + 1;
        each[count] = flags;
        ids[count] = count;
        count++;
    }
    fclose(file);
    hs_database_t *database;
    hs_compile_error_t *error;
    if (hs_compile_multi(expressions, each, ids, count, HS_MODE_BLOCK, NULL, &database, &error) != HS_SUCCESS)
        fail(path, error->message);
    return database;
}

static int found(unsigned id, unsigned long long from, unsigned long long to, unsigned flags, void *context) {
    (void)id, (void)from, (void)to, (void)flags;
    ++*(unsigned long long *)context;
    return 0;
}

static int by_size(const void *a, const void *b) {
    double left = *(const double *)a, right = *(const double *)b;
    return left < right ? -1 : left > right;
}

/* Median throughput in GB/s over the first records of at most `bytes_max` bytes. */
static double measure(const hs_database_t *database, struct records records, size_t bytes_max, double seconds,
                      unsigned long long *matches) {
    hs_scratch_t *scratch = NULL;
    if (hs_alloc_scratch(database, &scratch) != HS_SUCCESS) fail("scratch", "cannot be had");
    size_t count = 0, bytes = 0;
    while (count < records.count && bytes + records.lengths[count] <= bytes_max) bytes += records.lengths[count++];
    double rounds[ROUNDS];
    for (int round = -2; round < ROUNDS; round++) {
        double begin = now(), end;
        size_t passes = 0;
        do {
            const char *at = records.bytes;
            *matches = 0;
            for (size_t index = 0; index < count; index++) {
                hs_scan(database, at, records.lengths[index], 0, scratch, found, matches);
                at += records.lengths[index];
            }
            passes++;
            end = now();
        } while (end - begin < seconds / ROUNDS);
        if (round >= 0) rounds[round] = (double)bytes * (double)passes / (end - begin) / 1e9;
    }
    hs_free_scratch(scratch);
    qsort(rounds, ROUNDS, sizeof *rounds, by_size);
    return rounds[ROUNDS / 2];
}

int main(int argc, char **argv) {
    if (argc < 3) fail(argv[0], "PATTERNS RECORDS [SECONDS]");
    double seconds = argc > 3 ? atof(argv[3]) : 3.0;
    struct records records = read_records(argv[2]);
    printf("%s\n", hs_version());
    static const struct {
        const char *name;
        size_t bytes;
    } sets[] = {{"in L2 (256 KiB)", 256 << 10}, {"in L3 (8 MiB)", 8 << 20}};
    static const struct {
        const char *name;
        unsigned flags;
    } ways[] = {{"ends of matches", 0}, {"starts and ends", HS_FLAG_SOM_LEFTMOST}};
    for (size_t way = 0; way < 2; way++) {
        hs_database_t *database = compile(argv[1], ways[way].flags);
        for (size_t set = 0; set < 2; set++) {
            unsigned long long matches;
            double speed = measure(database, records, sets[set].bytes, seconds, &matches);
            printf("%-16s %-16s %7.3f GB/s, %llu matches\n", ways[way].name, sets[set].name, speed, matches);
        }
        hs_free_database(database);
    }
    return 0;
}
