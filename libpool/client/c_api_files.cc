// c_api_files.cc - objects and files: moving, copying and saving to disk, reading and adopting files,
// filters.
#include <stdlib.h>

#include "libpool/client/c_api.h"
#include "libpool/format/filters.h"
#include "libpool/format/object_file.h"

using namespace spillway;
using namespace spillway::client;

namespace {

Failure check_options(const spillway_disk_options* o) {
  if (o != nullptr && (o->flags & ~uint32_t{SPILLWAY_OVERWRITE | SPILLWAY_SYNC}))
    return {SPILLWAY_INVALID, fmt::format("no such flags: {:#x}", o->flags)};
  return {};
}

spillway_status to_disk(spillway_pool* pool, spillway_ref ref, bool keep, const spillway_disk_options* o,
                        spillway_file_ref* file) {
  if (Failure f = check_options(o); f.bad()) return fail(f);
  const char* const path = o && o->path ? o->path : "";
  if (*path && *path != '/') return invalid(std::string(path) + ": expected an absolute path");
  if (strlen(path) > wire::kMaxPathBytes) return invalid("the path is too long");
  wire::Writer w = request();
  write_ref(w, ref);
  const uint32_t flags = o ? o->flags : 0;
  w.bytes(path).bytes(o && o->filters ? o->filters : "");
  w.number((keep ? 1u : 0u) | (flags & SPILLWAY_OVERWRITE ? 2u : 0u) | (flags & SPILLWAY_SYNC ? 4u : 0u) |
           (o && o->filters ? 8u : 0u));
  Answer answer;
  if (spillway_status s = call_plain(pool, wire::Verb::kToDisk, w, answer)) return s;
  wire::Reader r(answer.payload);
  const std::string where(r.bytes(wire::kMaxPathBytes));
  const uint64_t bytes = r.number<uint64_t>();
  if (file != nullptr) {
    file->host = pool->client.state().host();
    file->bytes = bytes;
    snprintf(file->path, sizeof file->path, "%s", where.c_str());
  }
  return SPILLWAY_OK;
}

format::Filter users_filters(State& state, bool write) {
  return [&state, write](std::string_view name, std::string_view in, std::string& out, std::string& why) {
    State::Filter filter;
    {
      std::lock_guard lock(state.filters_mutex);
      const auto found = state.filters.find(std::string(name));
      if (found == state.filters.end()) return false;
      filter = found->second;
    }
    void* bytes = nullptr;
    size_t count = 0;
    if ((write ? filter.write : filter.read)(filter.context, in.data(), in.size(), &bytes, &count) != 0) {
      why = "it failed";
      free(bytes);
      return false;
    }
    out.assign(static_cast<const char*>(bytes), count);
    free(bytes);
    return true;
  };
}

spillway_status file_failure(const std::string& path, const format::FileError& e) {
  return fail(e.code.ok()        ? SPILLWAY_CORRUPT
              : e.code == ENOSPC ? SPILLWAY_DISK_FULL
                                 : SPILLWAY_IO,
              path + ": " + e.what);
}

spillway_status write_user_file(State& state, const spillway_pin& pin, const char* path,
                                const spillway_disk_options* o) {
  const bool overwrite = o && (o->flags & SPILLWAY_OVERWRITE);
  if (!overwrite && os::exists(path))
    return fail(SPILLWAY_EXISTS, std::string(path) + " exists, and overwriting was not asked for");
  // Written beside it and moved there: whoever looks finds all of it or nothing.
  const std::string next = fmt::format("{}.{}.tmp", path, os::random_number());
  Result<os::Fd> file = os::open_file(next.c_str(), os::Open::kCreate);
  if (!file)
    return fail(file.error() == EACCES ? SPILLWAY_DENIED : SPILLWAY_IO,
                std::string(path) + ": " + strerror(file.error().code()));
  format::ObjectHeader header;
  header.id = pin.lease->ref.id;
  header.tag = pin.lease->tag;
  header.filters = format::split_filters(o && o->filters ? o->filters : "");
  format::FileError error =
      format::write_object(*file, {pin.lease->data, pin.lease->bytes}, header, users_filters(state, true));
  if (!error.bad() && o && (o->flags & SPILLWAY_SYNC))
    if (Errno e = os::sync_data(file->get()); !e.ok()) error = {e, strerror(e.code())};
  if (!error.bad()) {
    const Errno e = overwrite ? os::rename_file(next.c_str(), path) : os::rename_new(next.c_str(), path);
    if (e == EEXIST) {
      (void)os::remove_file(next.c_str()).ok();
      return fail(SPILLWAY_EXISTS, std::string(path) + " exists, and overwriting was not asked for");
    }
    if (!e.ok()) error = {e, strerror(e.code())};
  }
  if (!error.bad()) return SPILLWAY_OK;
  (void)os::remove_file(next.c_str()).ok();
  return file_failure(path, error);
}

}  // namespace

extern "C" {

spillway_status spillway_move_to_disk(spillway_pool* pool, spillway_ref ref,
                                      const spillway_disk_options* options, spillway_file_ref* file) {
  return guarded(pool, [&] { return to_disk(pool, ref, false, options, file); });
}
spillway_status spillway_copy_to_disk(spillway_pool* pool, spillway_ref ref,
                                      const spillway_disk_options* options, spillway_file_ref* file) {
  return guarded(pool, [&] { return to_disk(pool, ref, true, options, file); });
}

spillway_status spillway_save_to_disk(spillway_pool* pool, spillway_ref ref, const char* path,
                                      const spillway_disk_options* options, spillway_file_ref* file) {
  return guarded(pool, [&]() -> spillway_status {
    if (path == nullptr || !*path) return invalid("a path is needed");
    if (Failure f = check_options(options); f.bad()) return fail(f);
    spillway_pin* pin = nullptr;
    if (spillway_status s = get_pin(pool, ref, nullptr, nullptr, &pin)) return s;
    const uint64_t bytes = spillway_pin_size(pin);
    const spillway_status s = write_user_file(pool->client.state(), *pin, path, options);
    spillway_pin_release(pin);
    if (s != SPILLWAY_OK) return s;
    if (file != nullptr) {
      file->host = pool->client.state().host();
      file->bytes = bytes;
      char full[4096];
      snprintf(file->path, sizeof file->path, "%s", realpath(path, full) ? full : path);
    }
    return SPILLWAY_OK;
  });
}

spillway_status spillway_get_file(spillway_pool* pool, const spillway_file_ref* ref, spillway_pin** pin) {
  return guarded(pool, [&]() -> spillway_status {
    if (ref == nullptr || pin == nullptr) return invalid("no file reference, or nowhere to put the pin");
    *pin = nullptr;
    if (ref->path[0] == 0 || strnlen(ref->path, sizeof ref->path) == sizeof ref->path)
      return invalid("a file reference has a path of 1 to 4095 bytes");
    State& state = pool->client.state();
    if (ref->host != 0 && ref->host != state.host())
      return fail(SPILLWAY_NOT_HERE,
                  std::string(ref->path) + " is a file of another machine, or of before its last start");
    Result<os::Fd> file = os::open_file(ref->path, os::Open::kRead);
    if (!file)
      return fail(file.error() == ENOENT   ? SPILLWAY_NOT_FOUND
                  : file.error() == EACCES ? SPILLWAY_DENIED
                                           : SPILLWAY_IO,
                  std::string(ref->path) + ": " + strerror(file.error().code()));
    format::ObjectHeader header;
    if (auto e = format::read_header(*file, header); e.bad()) return file_failure(ref->path, e);
    Result<os::FileIdentity> identity = os::identify(file->get());
    if (!identity)
      return fail(SPILLWAY_IO, std::string(ref->path) + ": " + strerror(identity.error().code()));
    const std::string key =
        fmt::format("{} {} {:x} {}", identity->device, identity->inode, header.checksum, header.bytes);
    auto made = std::make_unique<spillway_pin>();
    made->pool = pool;
    made->generation = os::fork_generation();
    made->bytes = header.bytes;
    made->tag = header.tag;
    if (header.bytes > 0) {
      std::lock_guard lock(state.files_mutex);
      made->file = state.files[key].lock();
      if (!made->file) {
        os::Mapping mapping;
        if (header.filters.empty()) {
          if (auto e = format::verify_object(*file, header); e.bad()) return file_failure(ref->path, e);
          Result<os::Mapping> mapped = os::Mapping::read_only(file->get(), format::kDataOffset, header.bytes);
          if (!mapped)
            return fail(SPILLWAY_NO_MEMORY, std::string(ref->path) + ": " + strerror(mapped.error().code()));
          mapping = std::move(*mapped);
        } else {
          Result<os::Mapping> room = os::Mapping::anonymous(header.bytes);
          if (!room) return fail(SPILLWAY_NO_MEMORY, strerror(room.error().code()));
          mapping = std::move(*room);
          if (auto e = format::read_object(*file, header, mapping.data(), users_filters(state, false));
              e.bad())
            return file_failure(ref->path, e);
          (void)mapping.protect(false).ok();
        }
        made->file = std::make_shared<os::Mapping>(std::move(mapping));
        std::erase_if(state.files, [](const auto& entry) { return entry.second.expired(); });
        state.files[key] = made->file;
      }
      made->data = made->file->data();
    }
    *pin = made.release();
    return SPILLWAY_OK;
  });
}

spillway_status spillway_restore(spillway_pool* pool, const char* path, const spillway_put_options* options,
                                 spillway_ref* ref) {
  return guarded(pool, [&]() -> spillway_status {
    if (path == nullptr || !*path) return invalid("a path is needed");
    if (ref == nullptr && (options == nullptr || options->name == nullptr || !*options->name))
      return invalid("an object without a name and without a reference could not be found again");
    Result<os::Fd> file = os::open_file(path, os::Open::kRead);
    if (!file)
      return fail(file.error() == ENOENT   ? SPILLWAY_NOT_FOUND
                  : file.error() == EACCES ? SPILLWAY_DENIED
                                           : SPILLWAY_IO,
                  std::string(path) + ": " + strerror(file.error().code()));
    char full[4096];
    if (realpath(path, full) == nullptr) return fail(SPILLWAY_IO, std::string(path) + ": " + strerror(errno));
    wire::Writer w = request();
    if (Failure f = write_options(w, options); f.bad()) return fail(f);
    w.bytes(full);
    Answer answer;
    if (Failure f = pool->client.state().call(wire::Verb::kRestore, w, answer, true, &*file); f.bad())
      return fail(f);
    hand_over(pool, answer, options ? options->flags : 0, ref);
    return SPILLWAY_OK;
  });
}

spillway_status spillway_retain(spillway_pool* pool, spillway_ref ref, int on, char* path) {
  return guarded(pool, [&]() -> spillway_status {
    wire::Writer w = request();
    write_ref(w, ref);
    w.number(uint8_t{0}).number(static_cast<uint8_t>(on != 0));
    Answer answer;
    if (spillway_status s = call_plain(pool, wire::Verb::kRetain, w, answer)) return s;
    wire::Reader r(answer.payload);
    if (path != nullptr) snprintf(path, 4096, "%s", std::string(r.bytes(wire::kMaxPathBytes)).c_str());
    return SPILLWAY_OK;
  });
}
spillway_status spillway_retain_all(spillway_pool* pool, int on) {
  return guarded(pool, [&] {
    wire::Writer w = request();
    write_ref(w, {0, 0});
    w.number(uint8_t{1}).number(static_cast<uint8_t>(on != 0));
    Answer answer;
    return call_plain(pool, wire::Verb::kRetain, w, answer);
  });
}

spillway_status spillway_add_filter(spillway_pool* pool, const char* name, spillway_filter_call write,
                                    spillway_filter_call read, void* context) {
  return guarded(pool, [&]() -> spillway_status {
    if (name == nullptr || !*name || strlen(name) > 64 || strchr(name, ','))
      return invalid("a filter's name has 1 to 64 bytes, and no comma");
    if (write == nullptr || read == nullptr) return invalid("a filter is a pair of functions");
    if (format::is_builtin_filter(name)) return invalid(std::string(name) + " is a filter already");
    State& state = pool->client.state();
    std::lock_guard lock(state.filters_mutex);
    state.filters[name] = {write, read, context};
    return SPILLWAY_OK;
  });
}

}  // extern "C"
