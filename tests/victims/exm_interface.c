/* exm's interface from C, through the header that needs no library. Runs with and without the preload.
 * argv[1]: a directory for region files; argv[2] on: `file` when blocks are in files. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <spillway/exm.h>

#define EXPECT(condition, ...) \
  do {                         \
    if (!(condition)) {        \
      printf(__VA_ARGS__);     \
      printf("\n");            \
      return 1;                \
    }                          \
  } while (0)

static const size_t kMiB = 1 << 20;

static int without_the_preload(void) {
  char* p = malloc(8 * kMiB);
  EXPECT(exm_get_version() == 0.0, "a version without the preload");
  EXPECT(exm_set_threshold(0) == 0 && exm_set_threshold(1 << 20) == 0, "a threshold without the preload");
  EXPECT(exm_set_cow(1) == -1, "a fork mode without the preload");
  EXPECT(!exm_get_path() && exm_set_path("/tmp") == -1, "a directory without the preload");
  EXPECT(!exm_get_path_of(p), "a block in a file without the preload");
  EXPECT(exm_advise(p, MADV_RANDOM) == -1, "advice without the preload");
  exm_print_blocks();
  free(p);
  puts("ok");
  return 0;
}

static int threshold_decides(int in_files) {
  const size_t before = exm_set_threshold(0);
  EXPECT(before == 4 * kMiB, "the default threshold is %zu", before);
  EXPECT(exm_threshold(0) == before, "reading the threshold changed it");
  EXPECT(exm_set_threshold(2 * kMiB) == 2 * kMiB, "setting the threshold gives another one");
  EXPECT(exm_set_threshold(0) == 2 * kMiB, "the threshold was not set");
  char *below = malloc(2 * kMiB - 1), *at = malloc(2 * kMiB);
  EXPECT(below && at, "malloc");
  char *path_below = exm_lookup(below), *path_at = exm_lookup(at);
  EXPECT(!path_below, "a block below the threshold is in %s", path_below);
  EXPECT(!!path_at == in_files, "a block at the threshold is %s", path_at ? path_at : "in no file");
  free(path_at);
  free(below);
  free(at);
  EXPECT(exm_set_threshold(1) == 4096, "a threshold below a page");
  EXPECT(exm_set_threshold(before) == before, "setting the threshold back");
  return 0;
}

static int lookup_opens(int in_files) {
  int local = 0;
  char *p = malloc(8 * kMiB), *q = malloc(100);
  EXPECT(p && q, "malloc");
  memset(p, 'p', 8 * kMiB);
  EXPECT(!exm_lookup(q) && !exm_lookup(&local) && !exm_lookup(NULL), "exm_lookup knows what is in no file");
  char* path = exm_lookup(p);
  EXPECT(!!path == in_files, "exm_lookup gave %s", path ? path : "nothing");
  if (path) {
    char* inside = exm_lookup(p + 5 * kMiB);
    EXPECT(inside && strcmp(inside, path) == 0, "an address inside the block has another path: %s",
           inside ? inside : "none");
    free(inside);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    EXPECT(fd >= 0, "open %s: %s", path, strerror(errno));
    struct stat info;
    EXPECT(fstat(fd, &info) == 0 && S_ISREG(info.st_mode), "%s is no file", path);
    EXPECT((size_t)info.st_size >= 8 * kMiB, "%s has %ld bytes", path, (long)info.st_size);
    /* The bytes are somewhere in it: a file may hold more than one block. */
    char* all = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_SHARED, fd, 0);
    EXPECT(all != MAP_FAILED, "mmap %s: %s", path, strerror(errno));
    memset(p + 3 * kMiB, 'q', 4096);
    int found = 0;
    for (off_t at = 0; at + 4096 <= info.st_size && !found; at += 4096)
      found = all[at] == 'q' && all[at + 4095] == 'q';
    EXPECT(found, "the block's bytes are not in %s", path);
    munmap(all, (size_t)info.st_size);
    close(fd);
    free(path);
  }
  free(p);
  free(q);
  return 0;
}

/* A block that grows over the threshold goes to a file, and one that shrinks below it leaves it. */
static int resizing_crosses_over(int in_files) {
  char* p = malloc(1000);
  EXPECT(p, "malloc");
  memset(p, 'r', 1000);
  for (int round = 0; round < 3; ++round) {
    p = realloc(p, 8 * kMiB);
    EXPECT(p && p[999] == 'r', "realloc to 8 MiB");
    char* path = exm_lookup(p);
    EXPECT(!!path == in_files, "a block grown to 8 MiB is %s", path ? path : "in no file");
    free(path);
    p = realloc(p, 1000);
    EXPECT(p && p[999] == 'r', "realloc to 1000");
    EXPECT(!exm_lookup(p), "a block shrunk to 1000 bytes is in a file");
  }
  free(p);
  return 0;
}

static int path_decides(char* directory, int in_files) {
  char* first = exm_path(NULL);
  EXPECT(first && *first, "exm_path(NULL) gave nothing");
  first[0] = '?'; /* a copy: ours to change */
  char* second = exm_path(NULL);
  EXPECT(second && second[0] == '/', "exm_path(NULL) gave %s after its result was changed", second);
  free(first);
  char* old = malloc(8 * kMiB);
  memset(old, 1, 8 * kMiB);
  EXPECT(exm_path(directory) == directory, "exm_path(p) did not return p");
  char* now = exm_path(NULL);
  EXPECT(now && strcmp(now, directory) == 0, "the directory is %s", now);
  free(now);
  char* p = malloc(8 * kMiB);
  char* path = exm_lookup(p);
  if (in_files) {
    struct stat of_file, of_directory;
    EXPECT(path && stat(path, &of_file) == 0, "stat %s: %s", path, strerror(errno));
    EXPECT(stat(directory, &of_directory) == 0 && of_file.st_dev == of_directory.st_dev,
           "another file system");
    char link[512] = "";
    EXPECT(readlink(path, link, sizeof link - 1) > 0, "%s is no link to a file", path);
    EXPECT(strncmp(link, directory, strlen(directory)) == 0, "a later block is in %s", link);
  }
  free(path);
  EXPECT(old[8 * kMiB - 1] == 1, "a block from before lost its data");
  EXPECT(exm_set_path("/no/such/directory") == -1, "a directory that does not exist was accepted");
  now = exm_get_path();
  EXPECT(now && strcmp(now, directory) == 0, "a refused directory changed it to %s", now);
  free(now);
  free(old);
  free(p);
  EXPECT(exm_set_path(second) == 0, "setting the directory back");
  free(second);
  return 0;
}

static int advice_is_taken(int in_files) {
  char* p = malloc(8 * kMiB);
  char* small = malloc(100);
  memset(p, 3, 8 * kMiB);
  if (in_files) {
    for (int advice = MADV_NORMAL; advice <= MADV_SEQUENTIAL; ++advice)
      EXPECT(exm_madvise(p, advice) == 0, "exm_madvise(%d): %s", advice, strerror(errno));
    errno = 0;
    EXPECT(exm_madvise(p, 4711) == -1 && errno == EINVAL, "advice 4711 is not EINVAL");
    errno = 0;
    EXPECT(exm_madvise(p, MADV_DONTNEED) == -1 && errno == EINVAL, "MADV_DONTNEED is not EINVAL");
  }
  errno = 0;
  EXPECT(exm_madvise(small, MADV_RANDOM) == -1 && errno == EINVAL, "advice for a small block is not EINVAL");
  EXPECT(p[8 * kMiB - 1] == 3, "advice changed the data");
  free(p);
  free(small);
  return 0;
}

int main(int argc, char** argv) {
  if (!exm_present()) return without_the_preload();
  EXPECT(argc > 1, "usage: exm_interface DIRECTORY [file]");
  const int in_files = argc > 2;
  EXPECT(exm_version() > 0.0 && exm_get_version() == exm_version(), "the version is %g", exm_version());
  if (threshold_decides(in_files) || lookup_opens(in_files) || resizing_crosses_over(in_files) ||
      path_decides(argv[1], in_files) || advice_is_taken(in_files))
    return 1;
  for (int mode = 0; mode <= 2; ++mode) EXPECT(exm_set_cow(mode) == mode, "fork mode %d was not set", mode);
  EXPECT(exm_set_cow(3) == -1, "fork mode 3 was accepted");
  EXPECT(exm_set_cow(1) == 1, "setting the fork mode back");
  puts("ok");
  return 0;
}
