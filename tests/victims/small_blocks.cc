// MIBS [fork|threads|streams] - a program whose data is many small blocks, each stamped with what it must
// hold: allocated, looked at in another order, changed, grown and freed here and there.
//
// fork: children of children look at everything and change it, and so do their parents. threads: four at
// once. streams: with open files, of which a child writes one and closes all.
#include <sys/wait.h>

#include <random>
#include <thread>
#include <vector>

#include "tests/victims/victim.h"

using namespace victim;

namespace {

// A list of blocks of 16 to 2,000 bytes, as a tree of objects would have.
struct Node {
  Node* next;
  uint32_t bytes;
  uint32_t stamp;
  char rest[];
};

class Objects {
 public:
  explicit Objects(uint32_t seed) : random_(seed) {}

  void grow_to(size_t bytes) {
    while (bytes_ < bytes) {
      Node* node = make();
      node->next = first_;
      first_ = node;
      bytes_ += node->bytes;
    }
  }
  // Each block holds what was written there last.
  uint64_t look() const {
    uint64_t sum = 0;
    for (const Node* n = first_; n != nullptr; n = n->next) {
      for (uint32_t i = 0; i < n->bytes - sizeof(Node); ++i)
        if (n->rest[i] != value(n->stamp, i)) complain("a block of %u bytes is not what it was", n->bytes);
      sum = sum * 31 + n->stamp;
    }
    return sum;
  }
  // One in so many is written anew, in place, or as a block of another size.
  void change(unsigned one_in) {
    for (Node** at = &first_; *at != nullptr; at = &(*at)->next) {
      if (random_() % one_in != 0) continue;
      Node* old = *at;
      if (random_() % 2 == 0) {
        stamp(old);
        continue;
      }
      Node* made = make();
      made->next = old->next;
      *at = made;
      bytes_ += made->bytes - old->bytes;
      free(old);
    }
  }
  void drop() {
    while (first_ != nullptr) {
      Node* next = first_->next;
      free(first_);
      first_ = next;
    }
    bytes_ = 0;
  }

 private:
  static char value(uint32_t stamp, uint32_t i) {
    return static_cast<char>(stamp * 7 + i * 13 + (stamp >> 8));
  }
  void stamp(Node* node) {
    node->stamp = static_cast<uint32_t>(random_());
    for (uint32_t i = 0; i < node->bytes - sizeof(Node); ++i) node->rest[i] = value(node->stamp, i);
  }
  Node* make() {
    const auto bytes = static_cast<uint32_t>(sizeof(Node) + random_() % (random_() % 8 == 0 ? 2000 : 100));
    auto* node = static_cast<Node*>(malloc(bytes));
    node->bytes = bytes;
    stamp(node);
    return node;
  }

  std::minstd_rand random_;
  Node* first_ = nullptr;
  size_t bytes_ = 0;
};

void wait_for(pid_t child) {
  int status = 0;
  EXPECT(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0,
         "a child failed");
}

void fork_families(Objects& objects, int generations) {
  const uint64_t before = objects.look();
  const pid_t child = fork();
  if (child == 0) {
    EXPECT(objects.look() == before, "a child saw something else");
    objects.change(7);
    const uint64_t changed = objects.look();
    if (generations > 1) fork_families(objects, generations - 1);
    if (generations == 1) EXPECT(objects.look() == changed, "a child's changes");
    _exit(0);
  }
  EXPECT(child > 0, "fork");
  objects.change(5);
  objects.look();
  wait_for(child);
  objects.look();
}

void streams(Objects& objects) {
  char path[] = "/tmp/small_blocks.XXXXXX";
  const int fd = mkstemp(path);
  EXPECT(fd >= 0, "mkstemp");
  FILE* file = fdopen(fd, "w+");
  std::vector<FILE*> others;
  for (int i = 0; i < 100; ++i) others.push_back(fopen("/dev/null", "r"));
  fputs("before ", file);
  objects.change(3);
  objects.look();  // the streams are older than anything else now
  fflush(file);
  const pid_t child = fork();
  if (child == 0) {
    fputs("in the child", file);
    for (FILE* other : others) fclose(other);
    fclose(file);
    _exit(0);
  }
  wait_for(child);
  char text[64] = {};
  rewind(file);
  EXPECT(fgets(text, sizeof text, file) != nullptr, "fgets");
  EXPECT(strcmp(text, "before in the child") == 0, "%s", text);
  unlink(path);
}

}  // namespace

int main(int count, char** arguments) {
  const size_t bytes = static_cast<size_t>(count > 1 ? atoi(arguments[1]) : 64) * MiB;
  const std::string how = count > 2 ? arguments[2] : "";
  if (how == "threads") {
    std::vector<std::thread> threads;
    for (uint32_t i = 0; i < 4; ++i)
      threads.emplace_back([=] {
        Objects objects(i + 1);
        objects.grow_to(bytes / 4);
        for (int round = 0; round < 3; ++round) {
          objects.change(10);
          objects.look();
        }
        objects.drop();
      });
    for (std::thread& thread : threads) thread.join();
    return done();
  }
  Objects objects(1);
  objects.grow_to(bytes);
  printf("%llx\n", static_cast<unsigned long long>(objects.look()));
  if (how == "fork") fork_families(objects, 3);
  if (how == "streams") streams(objects);
  objects.change(10);
  objects.drop();
  objects.grow_to(bytes);
  printf("%llx\n", static_cast<unsigned long long>(objects.look()));
  return done();
}
