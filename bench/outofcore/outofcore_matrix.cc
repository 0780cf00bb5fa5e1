// outofcore_matrix.cc - one array larger than memory, used in ten ways (rows.h, sort_row.h); one JSON line
// per way.
//
// Every source of memory (array.h) gets exactly the same work, and all that is read is checked. A row that
// takes longer than --seconds (sorting: four times that) is cut and says "complete": false; its rate is that
// of what it did. "comparable": false means that a row which writes was cut, so that checksums differ from
// here on.
#include <dlfcn.h>
#include <inttypes.h>

#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "bench/outofcore/array.h"
#include "bench/outofcore/counters.h"
#include "bench/outofcore/rows.h"
#include "bench/outofcore/sort_row.h"
#include "spillway/size.hpp"

namespace spillway::bench {
namespace {

struct Options {
  std::string source = "malloc";
  std::string dir = ".";
  std::string rows;  // empty: all
  uint64_t bytes = uint64_t{2} << 30;
  uint64_t memory = uint64_t{512} << 20;
  uint64_t threads = 1;
  uint64_t accesses = 60000;
  uint64_t seconds = 20;
  std::string data = "random";
};

struct Row {
  const char* name;
  void (*body)(Task&);
  bool writes;
  bool by_access;  // its rate is in accesses, not bytes
};
constexpr Row kRows[] = {
    {"fill", fill, true, false},
    {"read", sequential_read, false, false},
    {"update", update, true, false},
    {"backward", backward_read, false, false},
    {"stride", stride_64k, false, true},
    {"random_read", random_read, false, true},
    {"random_write", random_write, true, true},
    {"hot", hot_90_10, false, true},
    {"cyclic", cyclic_scan, false, false},
    {"sort", sort_records, true, false},
};

bool wanted(const Options& options, const std::string& row) {
  std::istringstream names(options.rows);
  for (std::string name; std::getline(names, name, ',');) {
    if (name == row) return true;
  }
  return options.rows.empty();
}

class Matrix {
 public:
  explicit Matrix(const Options& options)
      : options_(options),
        array_(options.source, options.dir, options.bytes, options.data == "integers"),
        stat_(device_stat_of(options.dir)) {}

  void run() {
    for (const Row& row : kRows) {
      const bool sort = row.body == sort_records;
      if (!wanted(options_, row.name)) {
        if (row.body == fill) on_all_threads(fill, 0);  // the others read what it writes
        continue;
      }
      if (sort) on_all_threads(shuffle_records, 0);
      const Counters start = Counters::now(stat_);
      Task done =
          on_all_threads(row.body, start.seconds + static_cast<double>(options_.seconds) * (sort ? 4 : 1));
      const Counters cost = Counters::now(stat_).since(start);
      if (sort && done.complete) done.checksum = on_all_threads(check_sorted, 0).checksum;
      if (row.writes && !done.complete) comparable_ = false;
      print(row, done, cost);
    }
  }

 private:
  // Runs the body on every thread and adds up what they did.
  Task on_all_threads(void (*body)(Task&), double deadline) {
    std::vector<Task> tasks;
    for (uint64_t i = 0; i < options_.threads; ++i)
      tasks.push_back({array_, i, options_.threads, options_.memory, options_.accesses, deadline});
    std::vector<std::thread> others;
    for (size_t i = 1; i < tasks.size(); ++i) others.emplace_back(body, std::ref(tasks[i]));
    body(tasks[0]);
    for (std::thread& thread : others) thread.join();
    Task sum = tasks[0];
    for (size_t i = 1; i < tasks.size(); ++i) {
      sum.pages_done += tasks[i].pages_done;
      sum.checksum += tasks[i].checksum;
      sum.complete = sum.complete && tasks[i].complete;
    }
    return sum;
  }

  void print(const Row& row, const Task& done, const Counters& cost) const {
    std::printf("{\"row\": \"%s\", \"threads\": %" PRIu64 ", \"seconds\": %.6f, \"cpu_seconds\": %.3f, ",
                row.name, options_.threads, cost.seconds, cost.cpu_seconds);
    std::printf("\"%s\": %" PRIu64 ", \"complete\": %s, \"comparable\": %s, \"checksum\": \"%016" PRIx64
                "\", ",
                row.by_access ? "accesses" : "bytes", done.pages_done * (row.by_access ? 1 : kPageBytes),
                done.complete ? "true" : "false", comparable_ ? "true" : "false", done.checksum);
    std::printf("\"major_faults\": %" PRIu64 ", \"device_read\": %" PRIu64 ", \"device_written\": %" PRIu64
                "}\n",
                cost.major_faults, cost.device_read_bytes, cost.device_written_bytes);
    std::fflush(stdout);
  }

  const Options& options_;
  Array array_;
  std::string stat_;
  bool comparable_ = true;
};

[[noreturn]] void usage(const char* problem) {
  std::fprintf(
      stderr,
      "%s\nusage: outofcore_matrix [--source malloc|mmap-normal|mmap-random|mmap-sequential] [--dir DIR] "
      "[--bytes SIZE] [--memory SIZE] [--threads N] [--accesses N] [--seconds N] [--rows ROW,ROW...] "
      "[--data random|integers]\n",
      problem);
  std::exit(2);
}

Options parse(int argc, char** argv) {
  Options o;
  for (int i = 1; i < argc; i += 2) {
    if (i + 1 == argc) usage("an option has no value");
    const std::string name = argv[i], value = argv[i + 1];
    uint64_t* number = name == "--bytes"      ? &o.bytes
                       : name == "--memory"   ? &o.memory
                       : name == "--threads"  ? &o.threads
                       : name == "--accesses" ? &o.accesses
                       : name == "--seconds"  ? &o.seconds
                                              : nullptr;
    std::string* text = name == "--source" ? &o.source
                        : name == "--dir"  ? &o.dir
                        : name == "--rows" ? &o.rows
                        : name == "--data" ? &o.data
                                           : nullptr;
    if (number != nullptr) {
      const auto size = parse_size(value);
      if (!size || *size == 0) usage((name + " " + value + ": not a number above 0").c_str());
      *number = *size;
    } else if (text != nullptr) {
      *text = value;
    } else {
      usage(("no such option: " + name).c_str());
    }
  }
  if (o.bytes < o.threads << 20) usage("--bytes: at least 1M for each thread");
  if (o.data != "random" && o.data != "integers") usage("--data: expected random or integers");
  return o;
}

void print_header(const Options& o) {
  Dl_info info{};
  void* entry = ::dlsym(RTLD_DEFAULT, "malloc");
  if (entry == nullptr || ::dladdr(entry, &info) == 0) info.dli_fname = "";
  std::printf("{\"source\": \"%s\", \"allocator\": \"%s\", \"bytes\": %" PRIu64 ", \"memory\": %" PRIu64
              ", \"threads\": %" PRIu64 "}\n",
              o.source.c_str(), info.dli_fname, o.bytes, o.memory, o.threads);
  std::fflush(stdout);
}

}  // namespace
}  // namespace spillway::bench

int main(int argc, char** argv) {
  const auto options = spillway::bench::parse(argc, argv);
  spillway::bench::print_header(options);
  spillway::bench::Matrix(options).run();
}
