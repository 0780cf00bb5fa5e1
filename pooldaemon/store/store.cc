// store.cc - opening the store and its settings; the sessions that use it.
#include <cstring>

#include "base/core/units.h"
#include "base/os/clock.h"
#include "pooldaemon/store/store.h"

namespace spillway::pool {

std::string size_text(uint64_t bytes) {
  if (bytes >= kGiB) return fmt::format("{:.1f} GiB", static_cast<double>(bytes) / static_cast<double>(kGiB));
  if (bytes >= kMiB) return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / static_cast<double>(kMiB));
  if (bytes >= kKiB) return fmt::format("{:.1f} KiB", static_cast<double>(bytes) / static_cast<double>(kKiB));
  return fmt::format("{} bytes", bytes);
}

std::string error_text(Errno e) {
  if (e != EMFILE) return strerror(e.code());
  return fmt::format("{}; the daemon may have {} (ulimit -n)", strerror(e.code()), os::descriptor_limit());
}

Memory::~Memory() { store.give_back(*this); }
DiskCopy::~DiskCopy() { store.give_back(*this); }

Store::Store(Config config, std::function<void(std::function<void()>)> post)
    : config_(std::move(config)),
      post_(std::move(post)),
      policy_(config_.policy),
      slabs_([this](uint64_t session, uint32_t slab) {
        Client* const client = client_by(session);
        if (client == nullptr) return;
        wire::Writer w;
        w.number(slab);
        client->tell(wire::Verb::kSlabGone, w.take());
      }),
      buffers_(
          [this](uint64_t session, uint32_t buffer) {
            Client* const client = client_by(session);
            if (client == nullptr) return;
            wire::Writer w;
            w.number(buffer);
            client->tell(wire::Verb::kSlabGone, w.take());
          },
          [this](os::Fd file, uint64_t file_bytes, uint64_t warm_bytes) {
            free_pages(std::move(file), file_bytes, warm_bytes);
          }),
      small_names_([this](uint64_t bytes) { return disk_.room_in(*disk_.directories().front()) >= bytes; }) {}

Store::~Store() {
  join();
  for (Object* object : table_) delete object;
  clients_.clear();
}

std::string Store::open() {
  if (std::string why = disk_.open(config_.directories); !why.empty()) return why;
  if (Errno e = make_name_marks(); !e.ok())
    return fmt::format("no memory for the names: {}", strerror(e.code()));
  config_changed();
  // Their directory is this user's, so who can read there may read all that this user's programs put. What
  // other users put, and may or may not read, is told by messages.
  if (!config_.system_wide)
    small_names_.start(disk_.first_path() + "/names",
                       reinterpret_cast<wire::NameMarks*>(name_marks_.data())->small_names);
  workers_ = std::make_unique<Workers>(config_.io_threads, post_);
  journal_ = std::make_unique<Workers>(1, post_);
  freer_ = std::make_unique<Workers>(1, post_);
  return recover();
}

// Clients map it for reading and cannot do more.
Errno Store::make_name_marks() {
  Result<os::Fd> file = os::make_memfd("spillway-names", sizeof(wire::NameMarks));
  if (!file) return file.error();
  Result<os::Mapping> mapping = os::Mapping::read_write(file->get(), 0, sizeof(wire::NameMarks));
  if (!mapping) return mapping.error();
  if (Errno e = os::seal_memfd_for_others(file->get()); !e.ok()) return e;
  Result<os::Fd> read_only = os::reopen_read_only(file->get());
  if (!read_only) return read_only.error();
  name_marks_fd_ = std::move(*read_only);
  name_marks_ = std::move(*mapping);
  return {};
}

void Store::config_changed() {
  policy_.set_kind(config_.policy);
  disk_.set_limits(config_.disk_limit, config_.disk_least_free);
  limit_idle();
  pump_later();
}

Client& Store::open_client(os::Peer peer, std::function<void(wire::Verb, std::string)> tell,
                           Failure& failure) {
  auto client = std::make_unique<Client>();
  client->id = ++last_client_;
  client->key = os::random_number();
  client->peer = peer;
  client->tell = std::move(tell);
  client->connected_ms = os::monotonic_ms();
  char program[64];
  os::process_name(peer.pid, program, sizeof program);
  client->program = program;
  Result<os::Fd> table = os::make_memfd("spillway-leases", wire::kSharedBytes);
  if (table) {
    Result<os::Mapping> mapping = os::Mapping::read_write(table->get(), 0, wire::kSharedBytes);
    if (mapping) {
      client->lease_table = std::move(*table);
      client->lease_mapping = std::move(*mapping);
    } else {
      failure = {SPILLWAY_NO_MEMORY, fmt::format("no memory for a session: {}", error_text(mapping.error()))};
    }
  } else {
    failure = {SPILLWAY_NO_MEMORY, fmt::format("no memory for a session: {}", error_text(table.error()))};
  }
  Client& result = *client;
  clients_[result.id] = std::move(client);
  return result;
}

Client* Store::client_by(uint64_t id) {
  const auto found = clients_.find(id);
  return found == clients_.end() ? nullptr : found->second.get();
}

void Store::close_client(Client& client) {
  const uint64_t id = client.id;
  hear(client);
  client.tell = [](wire::Verb, std::string) {};
  // 1. What it was waiting for.
  for (auto w = name_waiters_.begin(); w != name_waiters_.end();) {
    if (w->second.client != id) {
      ++w;
      continue;
    }
    if (w->second.timer) timers_.cancel(*w->second.timer);
    w = name_waiters_.erase(w);
  }
  for (RoomRequest& request : queue_)
    if (request.client == id) request.abandoned = true;
  // 2. What it holds.
  while (!client.leases.empty()) {
    Lease* const lease = client.leases.begin()->second.get();
    detach_lease(*lease, false);
    client.leases.erase(lease->slot);
  }
  // 3. What it was making, and what only it referred to.
  for (uint64_t made : std::vector<uint64_t>(client.creating.begin(), client.creating.end()))
    abort(client, made);
  const IndexSet references = std::exchange(client.references, {});
  references.each([&](uint32_t index) {
    Object* const object = table_[index];
    if (object == nullptr) return;  // it went with another of them
    --object->references;
    maybe_die(*object);
  });
  end_slot_leases(client);
  buffers_.close(id);
  clients_.erase(id);
  slabs_.trim();
  pump();
}

}  // namespace spillway::pool
