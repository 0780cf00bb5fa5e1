// store_impl.h - what a Store is made of: a reader, and in one process a writer.
#pragma once
#include <atomic>
#include <memory>
#include <mutex>
#include <string>

#include "libpool/segstore/reader.h"
#include "libpool/segstore/writer.h"
#include "spillway/store.hpp"

namespace spillway {

StoreStatus never_opened();

namespace segstore {

class StoreImpl {
 public:
  // A store for tests: over other files than the kernel's. `is_brief`: those who share the store wait for its
  // end.
  static StoreResult<std::unique_ptr<StoreImpl>> open(const std::string& directory,
                                                      const StoreOptions& options, Files& files,
                                                      bool is_brief = false);
  static StoreResult<std::unique_ptr<StoreImpl>> open_shared(const std::string& directory,
                                                             const StoreOptions& options, Files& files);
  static StoreResult<std::unique_ptr<StoreImpl>> open_reader(const std::string& directory);
  ~StoreImpl();

  StoreStatus close();
  bool is_open() const { return open_.load(std::memory_order_acquire); }
  StoreStatus closed() const { return {StoreCode::kClosed, reader_->path() + ": the store is closed"}; }
  // Who writes, for one call.
  StoreResult<std::shared_ptr<Writes>> writes();
  Reader& reader() const { return *reader_; }
  // In a child of the process that opened it: threads are missing, and locks may be held for ever.
  bool is_forked() const { return !os::is_token_of_this_process(token_); }
  StoreResult<StoreState> state();
  StoreStatus backup(const std::string& directory);

 private:
  StoreStatus backup_once(int to, bool& again);
  std::shared_ptr<Reader> reader_;
  std::mutex mutex_;
  std::shared_ptr<Writes> writes_;
  bool is_writer_ = false;
  const uint32_t token_ = os::process_token();
  std::atomic<bool> open_{true};
};

StoreResult<std::unique_ptr<SnapshotImpl>> take_snapshot(Reader& reader);

}  // namespace segstore

struct StoreAccess {
  static StoreResult<Store> open(const std::string& directory, const StoreOptions& options,
                                 segstore::Files& files);
  static StoreResult<Store> open_shared(const std::string& directory, const StoreOptions& options,
                                        segstore::Files& files);
  // Writes::has_failed of an open store.
  static bool has_failed(const Store& store);
};

// Where the bytes of a value lie: a file of the store's directory, which may be unlinked at any time.
struct ValuePlace {
  std::string file;
  uint64_t offset = 0;
};
ValuePlace place_of(const Value& value);

}  // namespace spillway
