// Forks leave files behind that nobody writes to any more, each with what was on disk then and has not
// changed since. When there are many, what is in the smallest moves to the file that is written to now.
#include "libpreload/pager/pager.h"

namespace spillway {

bool Pager::has_too_many_files() const {
  for (PagedChunk* c = chunks_; c != nullptr; c = c->next)
    if (c->files.count() > SpillFiles::kTooMany) return true;
  return false;
}

// What is in memory, too, needs no copy there.
Extent* Pager::choose_to_gather() {
  for (PagedChunk* c = chunks_; c != nullptr; c = c->next) {
    if (c->files.count() <= SpillFiles::kMany) continue;
    const uint8_t file = c->files.smallest();
    const PageRange used = c->chunk->used();
    for (uint64_t looked = 0; looked < used.bytes; looked += kExtentBytes) {
      c->gathered_bytes = (c->gathered_bytes + kExtentBytes) % used.bytes;
      char* const at = used.base + c->gathered_bytes;
      if (!c->chunk->is_mapped(at)) continue;
      Extent& extent = c->extent(at);
      if (extent.file != file) continue;
      if (extent.state == State::kResident) {
        forget_file(extent);
        if (c->files.smallest() != file) break;
      } else if (is_on_disk(extent) && !extent.pending && !extent.indivisible &&
                 extent.lines_under_way == 0) {
        return &extent;
      }
    }
  }
  return nullptr;
}

// With the lock, which it gives up meanwhile. False: nothing is to be done.
bool Pager::gather_once() {
  if (demoting_ || !write_errors_.may_write()) return false;
  Extent* extent = choose_to_gather();
  if (extent == nullptr) return false;
  demoting_ = true;
  demote(*extent);
  demoting_ = false;
  return true;
}

}  // namespace spillway
