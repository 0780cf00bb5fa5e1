#include "libpool/segstore/shared_writes.h"

#include "base/os/clock.h"

namespace spillway::segstore {
namespace {

constexpr uint64_t kPatienceMs = 60'000;  // for a writer that recovers a large store, or a slot
constexpr uint64_t kBeforeRefusedMs =
    500;  // a writer that serves nobody may just be giving way to one that does

}  // namespace

SharedWrites::Own::~Own() { (void)close(); }

StoreStatus SharedWrites::Own::close() {
  if (server != nullptr) server->stop();
  return writer != nullptr ? writer->close() : StoreStatus();
}

StoreResult<std::unique_ptr<SharedWrites>> SharedWrites::open(MakeReader make_reader,
                                                              const StoreOptions& options, Files& files) {
  std::unique_ptr<SharedWrites> shared(new SharedWrites(std::move(make_reader), options, files));
  if (StoreResult<Turn> turn = shared->turn(); !turn) return turn.status();
  return shared;
}

StoreResult<std::shared_ptr<SharedWrites::Own>> SharedWrites::become_writer() {
  auto own = std::make_shared<Own>();
  StoreResult<std::shared_ptr<Reader>> reader = make_reader_();
  if (!reader) return reader.status();
  own->reader = *reader;
  path_ = own->reader->path();
  StoreResult<std::unique_ptr<Writer>> writer = Writer::open(*own->reader, options_, files_, true);
  if (!writer) return writer.status();
  own->writer = std::move(*writer);
  StoreResult<std::unique_ptr<RingServer>> server =
      RingServer::start(*own->writer, own->reader->directory(), path_, options_.index_directory, files_);
  if (!server) return server.status();
  own->server = std::move(*server);
  return own;
}

StoreResult<SharedWrites::Turn> SharedWrites::turn() {
  const std::lock_guard lock(mutex_);
  if (closed_) return StoreStatus(StoreCode::kClosed, path_ + ": the store is closed");
  if (turn_.own != nullptr && !turn_.own->writer->has_failed()) return turn_;
  if (turn_.other != nullptr && turn_.other->is_alive()) return turn_;
  // After a flush that failed only opening it again helps, by us or by another.
  if (turn_.own != nullptr) (void)turn_.own->close();
  turn_ = {};
  const uint64_t start = os::monotonic_ms();
  for (;;) {
    StoreResult<std::shared_ptr<Own>> own = become_writer();
    if (own) {
      turn_.own = *own;
      return turn_;
    }
    if (own.status().code() != StoreCode::kLocked) return own.status();
    // The holder serves, is about to, or does not.
    StoreResult<std::shared_ptr<Reader>> reader = make_reader_();
    if (!reader) return reader.status();
    turn_.other = RingClient::attach((*reader)->directory());
    if (turn_.other != nullptr) return turn_;
    Result<Control> control = Control::open((*reader)->directory());
    // Also if it is named and not there: who serves notices (RingServer::replace_ring_if_gone).
    std::string ring;
    uint64_t unused = 0;
    const bool is_coming = control && (!control->read_ring_path(ring, unused) || !ring.empty());
    const uint64_t waited = os::monotonic_ms() - start;
    if (!is_coming && waited > kBeforeRefusedMs) return own.status();
    if (waited > kPatienceMs)
      return StoreStatus(StoreCode::kBusy,
                         path_ + ": the writing process has not begun to serve for a minute");
    os::sleep_us(1000);
  }
}

StoreResult<uint64_t> SharedWrites::make(const std::function<StoreResult<uint64_t>(Writer&)>& by_ourselves,
                                         const std::function<Request()>& by_another, Durability durability) {
  const uint64_t start = os::monotonic_ms();
  for (;;) {
    StoreResult<Turn> turn = this->turn();
    if (!turn) return turn.status();
    if (turn->own != nullptr) {
      StoreResult<uint64_t> result = by_ourselves(*turn->own->writer);
      // Closed under our hands: by another thread that found it had failed, or with all of the store.
      if (result.status().code() == StoreCode::kClosed) continue;
      return result;
    }
    Answer answer = turn->other->call(by_another());
    switch (answer.how) {
      case Answer::How::kGiven:
        if (answer.code != StoreCode::kOk)
          return StoreStatus(answer.code, std::move(answer.message), answer.os_error);
        return answer.sequence;
      case Answer::How::kMade: {
        if (durability == Durability::kAsync) return answer.sequence;
        if (StoreStatus bad = sync(); !bad.ok()) return bad;
        return answer.sequence;
      }
      case Answer::How::kUnknown:
        return StoreStatus(StoreCode::kUnknown,
                           path_ +
                               ": the writing process died while it had this write, which may have been "
                               "made or not; read to see");
      case Answer::How::kNoMemory:
        return failure(Errno(answer.os_error), path_ + ": memory to hand a write over");
      case Answer::How::kNotBegun:
      case Answer::How::kNoSlot:
        break;
    }
    if (os::monotonic_ms() - start > kPatienceMs)
      return StoreStatus(StoreCode::kBusy, path_ + ": no writing process has taken this write for a minute");
    if (answer.how == Answer::How::kNoSlot) os::sleep_us(1000);
  }
}

StoreResult<uint64_t> SharedWrites::put(std::string_view key, std::string_view value,
                                        const PutOptions& options, const Condition& condition) {
  if (StoreStatus bad = check_arguments(key, options); !bad.ok()) return bad;
  const Durability durability = options.durability.value_or(options_.durability);
  return make([&](Writer& writer) { return writer.put(key, value, options, condition); },
              [&] { return request_for_put(key, value, options, durability, condition); }, durability);
}

StoreResult<uint64_t> SharedWrites::remove(std::string_view key, std::optional<Durability> wanted,
                                           const Condition& condition) {
  if (StoreStatus bad = check_arguments(key, {}); !bad.ok()) return bad;
  const Durability durability = wanted.value_or(options_.durability);
  return make([&](Writer& writer) { return writer.remove(key, wanted, condition); },
              [&] { return request_for_remove(key, durability, condition); }, durability);
}

StoreResult<uint64_t> SharedWrites::write(const Batch& batch, std::optional<Durability> wanted) {
  for (const Batch::Write& write : batch.writes())
    if (StoreStatus bad = check_arguments(write.key, write.options); !bad.ok()) return bad;
  const Durability durability = wanted.value_or(options_.durability);
  return make([&](Writer& writer) { return writer.write(batch, wanted); },
              [&] { return request_for_batch(batch, durability); }, durability);
}

StoreStatus SharedWrites::sync() {
  return make(
             [](Writer& writer) -> StoreResult<uint64_t> {
               if (StoreStatus bad = writer.sync(); !bad.ok()) return bad;
               return uint64_t{0};
             },
             [] { return request_for(Wanted::kSync); }, Durability::kGroup)
      .status();
}

StoreStatus SharedWrites::compact() {
  return make(
             [](Writer& writer) -> StoreResult<uint64_t> {
               if (StoreStatus bad = writer.compact(); !bad.ok()) return bad;
               return uint64_t{0};
             },
             [] { return request_for(Wanted::kCompact); }, Durability::kGroup)
      .status();
}

StoreStatus SharedWrites::close() {
  Turn last;
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    std::swap(last, turn_);
  }
  // Calls under way hold what they use; a writer of ours goes with the last of them.
  return last.own != nullptr ? last.own->close() : StoreStatus();
}

}  // namespace spillway::segstore
