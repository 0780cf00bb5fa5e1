// array.h - the one large array of the out-of-core matrix, and where its memory comes from.
//
//   malloc            whatever malloc gives: plain memory, Linux swap, or Spillway when it is preloaded
//   mmap-normal       a MAP_SHARED mapping of a file, as a user would write it by hand: create, ftruncate,
//   unlink, mmap-random       mmap, and at most one madvise for the whole of it mmap-sequential
//
// What the pages hold can be computed, so every read can be checked: word i of a page is
// first_word(page) + i * kStep, where first_word depends on the page's number and on how often it was
// rewritten. That does not compress; of small integers, the word is its highest byte alone.
#pragma once
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace spillway::bench {

inline constexpr uint64_t kPageBytes = 4096;
inline constexpr uint64_t kPageWords = kPageBytes / sizeof(uint64_t);

[[noreturn]] inline void die(const char* what) {
  std::perror(what);
  std::exit(1);
}

class Array {
 public:
  Array(const std::string& source, const std::string& dir, uint64_t bytes, bool small_integers)
      : pages_(bytes / kPageBytes), shift_(small_integers ? 56 : 0) {
    const uint64_t size = pages_ * kPageBytes;
    if (source == "malloc") {
      block_ = std::malloc(size + kPageBytes);
      if (block_ == nullptr) die("malloc");
      const uintptr_t at = (reinterpret_cast<uintptr_t>(block_) + kPageBytes - 1) & ~(kPageBytes - 1);
      words_ = reinterpret_cast<uint64_t*>(at);
    } else {
      words_ = static_cast<uint64_t*>(map_file(source, dir, size));
      mapped_bytes_ = size;
    }
    versions_.resize(pages_);
  }
  ~Array() {
    if (mapped_bytes_ != 0) ::munmap(words_, mapped_bytes_);
    std::free(block_);
  }
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;

  uint64_t pages() const { return pages_; }
  uint64_t* words() { return words_; }
  uint64_t bytes() const { return pages_ * kPageBytes; }

  // Writes the page anew without reading it.
  void write(uint64_t page) {
    uint64_t* words = words_ + page * kPageWords;
    const uint64_t first = first_word(page, ++versions_[page]);
    for (uint64_t i = 0; i < kPageWords; ++i) words[i] = (first + i * kStep) >> shift_;
  }

  // Reads and changes every word of the page.
  void update(uint64_t page) {
    const uint32_t version = versions_[page]++;
    uint64_t* words = words_ + page * kPageWords;
    const uint64_t before = first_word(page, version), after = first_word(page, version + 1);
    if (shift_ == 0)
      for (uint64_t i = 0; i < kPageWords; ++i) words[i] += after - before;
    else
      for (uint64_t i = 0; i < kPageWords; ++i)
        words[i] += ((after + i * kStep) >> shift_) - ((before + i * kStep) >> shift_);
  }

  // The sum of the page's words, after making sure that they are what was last written.
  uint64_t read(uint64_t page) const {
    const uint64_t* words = words_ + page * kPageWords;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < kPageWords; ++i) sum += words[i];
    const uint64_t first = first_word(page, versions_[page]);
    if (sum != sum_of_page(first)) {
      std::fprintf(stderr, "wrong bytes in page %llu\n", static_cast<unsigned long long>(page));
      std::exit(3);
    }
    return sum;
  }

 private:
  static constexpr uint64_t kStep = 0x9e3779b97f4a7c15u;
  uint64_t sum_of_page(uint64_t first) const {
    if (shift_ == 0) return kPageWords * first + kPageWords * (kPageWords - 1) / 2 * kStep;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < kPageWords; ++i) sum += (first + i * kStep) >> shift_;
    return sum;
  }
  static uint64_t first_word(uint64_t page, uint32_t version) {
    uint64_t z = (page << 20) + version + kStep;  // splitmix64
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  static void* map_file(const std::string& source, const std::string& dir, uint64_t bytes) {
    const int advice = source == "mmap-normal"       ? MADV_NORMAL
                       : source == "mmap-random"     ? MADV_RANDOM
                       : source == "mmap-sequential" ? MADV_SEQUENTIAL
                                                     : -1;
    if (advice < 0) {
      std::fprintf(stderr, "no such source: %s\n", source.c_str());
      std::exit(2);
    }
    std::string path = dir + "/matrix-XXXXXX";
    const int fd = ::mkstemp(path.data());
    if (fd < 0) die(path.c_str());
    ::unlink(path.c_str());
    if (::ftruncate(fd, static_cast<off_t>(bytes)) != 0) die("ftruncate");
    void* at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) die("mmap");
    if (advice != MADV_NORMAL && ::madvise(at, bytes, advice) != 0) die("madvise");
    ::close(fd);
    return at;
  }

  uint64_t pages_;
  int shift_;
  uint64_t* words_ = nullptr;
  void* block_ = nullptr;
  uint64_t mapped_bytes_ = 0;
  std::vector<uint32_t> versions_;  // 1/1024 of the array, the same for every source
};

}  // namespace spillway::bench
