// pool.hpp - typed blobs as objects of the pool: built into one, and read in place from one. Needs
// -lspillway, so typed.hpp does not include it.
//
//   spillway::Pool pool;
//   typed::pool_sink out(pool.c_pool(), {.name = "acme/users"});
//   typed::builder b(out);
//   ... b.finish(root);                                       // now it is an object
//   auto blob = typed::blob::open(typed::pool_region(pool.c_pool(), "acme/users")).value();
//
// How large a blob will be is known when it is finished, and an object's size when it is made: until then the
// bytes lie in an unnamed file below the scratch directory (the last megabytes in memory), so a build takes
// bounded memory here too. Errors are thrown as `failure`: io with the pool's words, no_space.
#pragma once
#include <spillway/pool.h>

#include "spillway/typed/mapping.hpp"
#include "spillway/typed/sink.hpp"
#include "spillway/typed/spool.hpp"

namespace spillway::typed {

namespace detail {

[[noreturn]] inline void fail_pool(spillway_status status, const char* doing) {
  fail(status == SPILLWAY_FULL || status == SPILLWAY_DISK_FULL || status == SPILLWAY_TOO_LARGE
           ? errc::no_space
           : errc::io,
       std::string(doing) + ": " + spillway_last_error());
}

}  // namespace detail

// The blob becomes an object at commit. `options` and what they point to must live until then.
class pool_sink final : public sink {
 public:
  explicit pool_sink(spillway_pool* pool, const spillway_put_options& options = {},
                     const std::string& scratch = "")
      : pool_(pool),
        options_(options),
        file_(detail::scratch_file(scratch.empty() ? detail::default_scratch() : scratch)),
        bytes_(file_.get(), 0, false) {}
  ~pool_sink() override {
    if (ref_.id) spillway_ref_release(pool_, ref_);
  }
  pool_sink(const pool_sink&) = delete;
  pool_sink& operator=(const pool_sink&) = delete;

  void append(const void* data, std::size_t n) override {
    bytes_.append(data, n);
    position_ = bytes_.position();
  }
  void read(std::uint64_t at, void* data, std::size_t n) override { bytes_.read(at, data, n); }
  void patch(std::uint64_t at, const void* data, std::size_t n) override { bytes_.patch(at, data, n); }
  void truncate(std::uint64_t position) override {
    bytes_.truncate(position);
    position_ = position;
  }
  const std::byte* window() override { return bytes_.window(); }
  void commit() override {
    spillway_builder* object = nullptr;
    if (const auto s = spillway_create(pool_, position_, &options_, &object); s != SPILLWAY_OK)
      detail::fail_pool(s, "making an object for a blob");
    try {
      bytes_.read(0, spillway_builder_data(object), position_);
    } catch (...) {
      spillway_builder_abort(object);
      throw;
    }
    if (const auto s = spillway_builder_seal(object, &ref_); s != SPILLWAY_OK)
      detail::fail_pool(s, "publishing a blob");
  }
  // The object, once commit() has made it. The sink keeps it alive; spillway_ref_retain() to keep it longer.
  spillway_ref object() const { return ref_; }

 private:
  spillway_pool* pool_;
  spillway_put_options options_;
  detail::fd file_;
  file_sink bytes_;
  spillway_ref ref_{};
};

// A pinned object as memory for a blob, which keeps the pin. The pool must be open until the last blob of it
// is gone. `access`: what put and create publish is sealed, and only the daemon writes the files it spills
// to, so sharing::exclusive, which verify() asks for, is true of it where this user's other programs leave
// the spill directory alone. Of an object that was restored from a user's file it is not.
inline region pool_region(spillway_pin* pin, sharing access = sharing::shared) {
  std::shared_ptr<const void> held(
      pin, [](const void* p) { spillway_pin_release(static_cast<spillway_pin*>(const_cast<void*>(p))); });
  auto* data = static_cast<std::byte*>(const_cast<void*>(spillway_pin_data(pin)));
  return {data, spillway_pin_size(pin), access, false, std::move(held)};
}
inline region pool_region(spillway_pool* pool, spillway_ref ref, sharing access = sharing::shared) {
  spillway_pin* pin = nullptr;
  if (const auto s = spillway_get(pool, ref, nullptr, &pin); s != SPILLWAY_OK)
    detail::fail_pool(s, "getting a blob");
  return pool_region(pin, access);
}
inline region pool_region(spillway_pool* pool, const char* name, sharing access = sharing::shared) {
  spillway_pin* pin = nullptr;
  if (const auto s = spillway_get_name(pool, name, nullptr, &pin); s != SPILLWAY_OK)
    detail::fail_pool(s, "getting a blob");
  return pool_region(pin, access);
}

}  // namespace spillway::typed
