// store_small.cc - objects on their way to the stores of small objects. The journal's thread writes them, in
// order with the manifest's records; the flushes that durable ones need are done by other workers, so that
// what comes meanwhile is written, and waits for the next flush together.
#include "pooldaemon/store/store.h"

namespace spillway::pool {
namespace {

// An empty store takes room, and is soon wanted again where objects come and go.
constexpr uint64_t kEmptyForMs = 1000;

}  // namespace

SmallStore& Store::small_store(SpillDirectory& directory, AccessClass access) {
  std::unique_ptr<SmallStore>& store = small_stores_[{directory.index, access}];
  if (!store) store = std::make_unique<SmallStore>(disk_, directory, access);
  return *store;
}

SmallStore* Store::small_store_of(const Object& object) const {
  if (const auto found = small_writes_.find(object.id); found != small_writes_.end()) return found->second;
  return object.disk ? object.disk->small : nullptr;
}

void Store::write_small(Object& object, bool commit, Done done, std::shared_ptr<const std::string> data) {
  spill_waiters_[object.id].push_back(std::move(done));
  object.spilling = true;
  if (object.memory) object.state = wire::Residency::kSpilling;
  write_small({{object.id, std::move(data)}}, commit);
}

void Store::write_small(std::vector<SmallWrite> writes, bool commit) {
  struct Item {
    SmallWrite write;
    ManifestEntry facts;
    Ref<Memory> memory;
    Ref<DiskCopy> copy;
    StoreStatus status;
    std::string_view bytes() const {
      if (write.data) return *write.data;
      return memory ? std::string_view(Slabs::data(memory->place()), facts.bytes) : std::string_view();
    }
  };
  if (writes.empty()) return;
  auto items = std::make_shared<std::vector<Item>>();
  SpillDirectory& directory = *disk_.for_stores();
  for (SmallWrite& write : writes) {
    Object* const object = object_by(write.id);
    if (object == nullptr) continue;
    SmallStore& store =
        small_store(directory, {object->uid, object->gid, static_cast<uint16_t>(object->mode & 0444)});
    auto copy = make_ref<DiskCopy>(*this);
    copy->id = object->id;
    copy->directory = &directory;
    copy->small = &store;
    copy->stored_bytes = object->bytes;
    ++store.copies;
    small_writes_[object->id] = &store;
    items->push_back({std::move(write), facts_of(*object), object->memory, std::move(copy), {}});
  }
  ++at_work_;
  journal_work(
      [items] {
        for (Item& item : *items) item.status = item.copy->small->put(item.facts, item.bytes());
      },
      [this, items, commit] {
        --at_work_;
        std::vector<SmallWrite> again;
        for (Item& item : *items) {
          const uint64_t id = item.facts.id;
          if (item.status.ok()) {
            item.copy->listed = item.copy->verified = true;
            const auto ended = [this, id, copy = item.copy](Failure failure) {
              small_writes_.erase(id);
              spilled(id, failure, failure.bad() ? nullptr : copy);
            };
            commit ? this->commit(*item.copy->small, ended) : ended({});
            continue;
          }
          small_writes_.erase(id);
          const bool is_full = item.status.code() == StoreCode::kNoSpace;
          if (is_full && !item.write.again && make_disk_room(item.facts.bytes)) {
            again.push_back({id, std::move(item.write.data), true});
            continue;
          }
          // Another directory may have room for a file.
          Object* const object = object_by(id);
          if (is_full && object != nullptr && disk_.directories().size() > 1) {
            object->spilling = false;
            write_own_file(*object, {.keep_memory = true, .sync = commit}, nullptr, item.write.data);
            continue;
          }
          Failure failure = failure_of(item.status);
          if (is_full) failure.what = fmt::format("{} ({})", disk_.why_full(item.facts.bytes), failure.what);
          spilled(id, failure, nullptr);
        }
        write_small(std::move(again), commit);
      });
}

void Store::commit(SmallStore& store, Done done) {
  store.commits.waiting.push_back(std::move(done));
  if (!store.commits.running) begin_commit(store);
}

void Store::begin_commit(SmallStore& store) {
  store.commits.running = true;
  ++counters_.commits;
  auto served = std::make_shared<std::vector<Done>>(std::exchange(store.commits.waiting, {}));
  auto status = std::make_shared<StoreStatus>();
  work([&store, status] { *status = store.sync(); },
       [this, &store, served, status] {
         store.commits.running = false;
         for (Done& done : *served) done(failure_of(*status));
         if (!store.commits.running && !store.commits.waiting.empty()) begin_commit(store);
       });
}

// Something has ended in the store that its record must say.
void Store::settle_with(SmallStore& store, std::function<void(SmallStore&)> what) {
  journal([this, &store, what = std::move(what)] {
    what(store);
    if (store.owes()) owing_.insert(&store);
  });
}

void Store::remove_when_empty(SmallStore& store) {
  if (store.copies > 0 || closing_) return;
  store.empty.since_ms = os::monotonic_ms();
  if (!std::exchange(store.empty.will_look, true)) look_if_empty(store, store.empty.since_ms + kEmptyForMs);
}

void Store::look_if_empty(SmallStore& store, uint64_t at_ms) {
  timers_.add(at_ms, [this, &store] {
    const uint64_t due = store.empty.since_ms + kEmptyForMs;
    if (store.copies == 0 && os::monotonic_ms() < due) return look_if_empty(store, due);
    store.empty.will_look = false;
    if (store.copies == 0) journal([&store] { store.remove_files(); });
  });
}

}  // namespace spillway::pool
