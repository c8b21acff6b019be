/* Writes to a volume in ways that no library sees; needs none. Usage: writer WAY FILE */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static const char TEXT[] = "written by a static program\n";
#define SIZE ((ssize_t)sizeof TEXT - 1)

static int through_mapping(const char *file) {
    int fd = open(file, O_RDWR | O_CREAT, 0644);
    if (fd < 0 || ftruncate(fd, 3 * 65536) || fsync(fd)) return 1;
    char *memory = mmap(NULL, 3 * 65536, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED || close(fd)) return 2;
    memcpy(memory + 65530, TEXT, SIZE); /* over the end of a chunk */
    return msync(memory, 3 * 65536, MS_SYNC) ? 3 : 0;
}

static int through_temporary(const char *file) {
    char folder[4096], link[64];
    snprintf(folder, sizeof folder, "%s", file);
    *strrchr(folder, '/') = 0;
    int fd = open(folder, O_TMPFILE | O_RDWR, 0644);
    if (fd < 0 || write(fd, TEXT, SIZE) != SIZE || fsync(fd)) return 1;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    if (linkat(AT_FDCWD, link, AT_FDCWD, file, AT_SYMLINK_FOLLOW)) return 2;
    int directory = open(folder, O_RDONLY | O_DIRECTORY);
    return fsync(directory) ? 3 : 0;
}

static int through_vector(const char *file) {
    struct iovec parts[2] = {{(void *)TEXT, 10}, {(void *)(TEXT + 10), SIZE - 10}};
    int fd = open(file, O_WRONLY | O_CREAT, 0644);
    if (fd < 0 || pwritev(fd, parts, 2, 1 << 20) != SIZE) return 1;
    return fdatasync(fd) ? 2 : 0;
}

static int through_the_kernel(const char *file) {
    int from = memfd_create("text", 0), fd = open(file, O_RDWR | O_CREAT, 0644);
    off_t start = 0;
    if (from < 0 || fd < 0 || write(from, TEXT, SIZE) != SIZE || sendfile(fd, from, &start, SIZE) != SIZE) return 1;
    loff_t in = 0, out = 100000;
    if (copy_file_range(fd, &in, fd, &out, SIZE, 0) != SIZE) return 2;
    return syncfs(fd) ? 3 : 0;
}

int main(int count, char **words) {
    if (count != 3) return 9;
    if (!strcmp(words[1], "mapping")) return through_mapping(words[2]);
    if (!strcmp(words[1], "temporary")) return through_temporary(words[2]);
    if (!strcmp(words[1], "vector")) return through_vector(words[2]);
    if (!strcmp(words[1], "kernel")) return through_the_kernel(words[2]);
    return 9;
}
