// shared_writes.h - the writes of a process that shares a store with others that write, none of them special.
//
// Whoever finds the store without a writer becomes it and serves the others through a ring; when it ends or
// dies, one of them takes its place at its next write. A write that was under way meanwhile is made by the
// next writer, unless it cannot be known whether it was made: then its caller hears that.
//
// Threads: any.
#pragma once
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "libpool/segstore/ring_client.h"
#include "libpool/segstore/ring_server.h"
#include "libpool/segstore/writer.h"

namespace spillway::segstore {

class SharedWrites final : public Writes {
 public:
  using MakeReader = std::function<StoreResult<std::shared_ptr<Reader>>()>;
  // `make_reader`: for a writer of our own, with every time that we become it.
  static StoreResult<std::unique_ptr<SharedWrites>> open(MakeReader make_reader, const StoreOptions& options,
                                                         Files& files);
  ~SharedWrites() override { (void)close(); }

  StoreResult<uint64_t> put(std::string_view key, std::string_view value, const PutOptions& options,
                            const Condition& condition) override;
  StoreResult<uint64_t> remove(std::string_view key, std::optional<Durability> durability,
                               const Condition& condition) override;
  StoreResult<uint64_t> write(const Batch& batch, std::optional<Durability> durability) override;
  StoreStatus sync() override;
  StoreStatus compact() override;
  StoreStatus close() override;

 private:
  // The one that writes, in this process. Its reader is not the Store's: that one may be in use.
  struct Own {
    std::shared_ptr<Reader> reader;
    std::unique_ptr<Writer> writer;
    std::unique_ptr<RingServer> server;  // before the writer goes
    ~Own();
    StoreStatus close();
  };
  // Who writes now: one of the two.
  struct Turn {
    std::shared_ptr<Own> own;
    std::shared_ptr<RingClient> other;
  };
  SharedWrites(MakeReader make_reader, const StoreOptions& options, Files& files)
      : make_reader_(std::move(make_reader)), options_(options), files_(files) {}
  StoreResult<Turn> turn();
  StoreResult<std::shared_ptr<Own>> become_writer();
  // By our own writer, or by whoever is it.
  StoreResult<uint64_t> make(const std::function<StoreResult<uint64_t>(Writer&)>& by_ourselves,
                             const std::function<Request()>& by_another, Durability durability);

  const MakeReader make_reader_;
  const StoreOptions options_;
  Files& files_;
  std::string path_;
  std::mutex mutex_;
  Turn turn_;
  bool closed_ = false;
};

}  // namespace spillway::segstore
