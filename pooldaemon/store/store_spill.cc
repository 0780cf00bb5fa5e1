// store_spill.cc - writing objects out, each into a file of its own, and what follows when one is written.
#include <cstring>

#include "base/core/units.h"
#include "base/os/clock.h"
#include "base/os/process.h"
#include "libpool/format/filters.h"
#include "pooldaemon/store/store.h"

namespace spillway::pool {
void Store::write_own_file(Object& object, ToDisk how, Done done, std::shared_ptr<const std::string> data) {
  const uint64_t id = object.id;
  if (done) spill_waiters_[id].push_back(std::move(done));
  if (object.spilling) return;
  object.spilling = true;
  if (object.memory) object.state = wire::Residency::kSpilling;
  const std::string filter_text = how.other_filters ? how.filters
                                  : object.details  ? object.details->filters
                                                    : "";
  auto header = std::make_shared<format::ObjectHeader>();
  header->id = id;
  if (object.details) header->tag = object.details->tag;
  header->filters = format::split_filters(filter_text);
  std::erase(header->filters, "none");
  if (how.path.empty()) header->origin = origin_of(object);

  auto copy = make_ref<DiskCopy>(*this);
  copy->id = id;
  copy->offset = format::kDataOffset;
  copy->filters = header->filters;
  Failure failure;
  // What a filter cannot shrink it makes a little larger.
  copy->charge =
      object.bytes + format::kDataOffset + (header->filters.empty() ? 0 : object.bytes / 128 + kPageBytes);
  copy->directory = reserve_disk(copy->charge, failure);
  if (copy->directory == nullptr) {
    copy->charge = 0;
    return spilled(id, failure, nullptr);
  }
  copy->path = how.path.empty() ? Disk::object_path(*copy->directory, id) : how.path;
  auto result = std::make_shared<format::FileError>();
  work(
      [memory = object.memory, bytes = object.bytes, data = std::move(data), copy, header, result, how] {
        const auto fail = [&](Errno e) { *result = {e, strerror(e.code())}; };
        // Among the user's own files, a name that none of them has.
        const bool is_own = how.path.empty();
        const std::string next =
            is_own ? copy->path + ".tmp" : fmt::format("{}.{:x}.tmp", copy->path, os::random_number());
        Result<os::Fd> file = os::open_file(next.c_str(), is_own ? os::Open::kReplace : os::Open::kCreate);
        if (!file) return fail(file.error());
        if (Errno e = format::begin_object(*file); !e.ok()) {
          (void)os::remove_file(next.c_str()).ok();
          return fail(e);
        }
        os::Mapping mapping;
        std::string_view text;
        if (data) {
          text = *data;
        } else if (memory && memory->slab != nullptr) {
          text = {Slabs::data(memory->place()), bytes};
        } else if (memory) {
          Result<os::Mapping> mapped = os::Mapping::read_only(memory->fd().get(), 0, bytes);
          if (mapped) {
            mapping = std::move(*mapped);
            text = {mapping.data(), bytes};
          } else {
            fail(mapped.error());
          }
        }
        if (!result->bad()) *result = format::write_object(*file, text, *header);
        if (!result->bad() && how.sync)
          if (Errno e = os::sync_data(file->get()); !e.ok()) fail(e);
        if (!result->bad()) {
          const bool replace = how.path.empty() || how.overwrite;
          const Errno e = replace ? os::rename_file(next.c_str(), copy->path.c_str())
                                  : os::rename_new(next.c_str(), copy->path.c_str());
          if (!e.ok()) fail(e);
        }
        if (result->bad()) {
          (void)os::remove_file(next.c_str()).ok();
        } else if (how.sync) {
          (void)os::sync_directory(copy->path.substr(0, copy->path.rfind('/')).c_str()).ok();
        }
      },
      // The memory is let go of on this thread, if nobody else holds it.
      [this, id, copy, header, result, how, memory = object.memory] {
        if (result->bad()) {
          copy->forget = how.path.empty();  // a file of that name that was there stays
          const spillway_status status = result->code == ENOSPC || result->code == EDQUOT ? SPILLWAY_DISK_FULL
                                         : result->code == EEXIST                         ? SPILLWAY_EXISTS
                                                                                          : SPILLWAY_IO;
          return spilled(id, {status, fmt::format("{}: {}", copy->path, result->what)}, nullptr);
        }
        copy->stored_bytes = header->stored_bytes;
        copy->checksum = header->checksum;
        const uint64_t charge = header->stored_bytes + format::kDataOffset;
        disk_.release(*copy->directory, copy->charge - std::min(copy->charge, charge));
        copy->charge = std::min(copy->charge, charge);
        Object* const o = object_by(id);
        if (o == nullptr) return;  // erased meanwhile: the copy goes with this call
        list_in_manifest(*o, copy, how.sync, [this, id, copy](Failure f) { spilled(id, f, copy); });
      });
}

// A write came to an end, one way or the other.
void Store::spilled(uint64_t id, Failure failure, Ref<DiskCopy> copy) {
  Object* const object = object_by(id);
  if (object == nullptr) return;
  object->spilling = false;
  const bool moving = object->moving;
  object->moving = false;
  if (moving && object->memory) departing_bytes_ -= object->memory->charge;
  if (failure.bad()) {
    ++counters_.spill_failures;
    spill_failed_line_.say(
        fmt::format("object={:x} name={} reason={}", id, quoted(object->name.view()), quoted(failure.what)));
    last_spill_error_ = failure.what;
    last_spill_status_ = failure.status;
    last_spill_error_ms_ = os::monotonic_ms();
    no_spill_until_[id] = os::monotonic_ms() + kSpillAgainMs;
    if (object->memory) object->state = object->disk ? wire::Residency::kBoth : wire::Residency::kResident;
  } else {
    ++counters_.spills;
    counters_.spilled_bytes += object->bytes;
    if (object->disk && object->disk != copy) {
      object->disk->in_manifest = false;  // the new record took its place
      object->disk.reset();
    }
    object->disk = copy;
    if (object->memory || object->bytes == 0) object->state = wire::Residency::kBoth;
    if (moving && drop_memory(*object)) object->state = wire::Residency::kSpilled;
  }
  if (object->memory && !object->listed && object->state != wire::Residency::kCreating)
    policy_.insert(*object);
  auto waiters = spill_waiters_.extract(id);
  if (!waiters.empty())
    for (Done& done : waiters.mapped()) done(failure);
  compact_manifest();
  pump_later();
}

void Store::drain(Done done, bool each_alone) {
  hear_all();  // what was published without a message is there, too
  auto left = std::make_shared<size_t>(1);
  auto worst = std::make_shared<Failure>();
  const auto one = [left, worst, done](Failure failure) {
    if (failure.bad() && failure.status != SPILLWAY_NOT_FOUND)
      *worst = failure;  // erased: nothing is missing
    if (--*left == 0) done(*worst);
  };
  std::vector<SmallWrite> small;
  constexpr size_t kAtOnce = 4096;
  const auto write = [&] { write_small(std::exchange(small, {}), false); };
  for (Object* object : table_) {
    if (object == nullptr || object->disk || object->state == wire::Residency::kCreating) continue;
    // An empty one has no memory, and counts all the same.
    if (!object->memory && object->state != wire::Residency::kResident) continue;
    ++*left;
    if (!is_for_small_store(*object) || object->spilling || each_alone) {
      write_own_file(*object, {.keep_memory = true}, one);
      continue;
    }
    spill_waiters_[object->id].push_back(one);
    object->spilling = true;
    if (object->memory) object->state = wire::Residency::kSpilling;
    small.push_back({object->id});
    if (small.size() >= kAtOnce) write();
  }
  write();
  // What is in the manifest's queue is written when this comes back.
  journal([] {}, one);
}

}  // namespace spillway::pool
