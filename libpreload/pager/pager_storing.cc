// How an extent that has left memory gets to the disk, if it has changed.
#include "base/os/fatal.h"
#include "libpreload/pager/digest.h"
#include "libpreload/pager/pager.h"
#include "libpreload/pager/trace.h"

namespace spillway {
namespace {

// Pages of the frame that are not there are filled in when they are read. Not by the write: it would wait for
// them with the file's lock, which another thread may wait for with the pager's, and so the one that fills.
void fill_holes(const char* frame) {
  for (uint64_t at = 0; at < kExtentBytes; at += kPageBytes)
    (void)*static_cast<const volatile char*>(frame + at);
}

}  // namespace

// Looks whether the extent has changed, and writes it. Called with the lock, which it gives up meanwhile.
void Pager::store(Extent& extent) {
  PagedChunk& chunk = *extent.chunk;
  const uint64_t offset = chunk.offset(extent);
  const char* frame = slot_address(extent.slot);
  const uint8_t file_before = extent.file;
  const Digest in_file = file_before != 0 ? Digest{extent.digest[0], extent.digest[1]} : Digest{};
  const bool has_holes = !whole_[extent.slot];
  lock_.unlock();
  if (has_holes) fill_holes(frame);
  // With nothing to compare it to, it can wait until the extent is read: then the disk is what is waited for.
  const bool compares = in_file != Digest{};
  const Digest digest = compares ? Digest::of(frame, kExtentBytes) : Digest{};
  const bool is_zero = compares ? digest == digest_of_zeroes_ : is_all_zero(frame, kExtentBytes);
  lock_.lock();

  Errno error;
  if (!extent.dropped && !extent.wanted) {
    if (is_zero) {
      ++counters_.zeroes;
      trace.note(TraceKind::kZero, extent);
      forget_file(extent);
    } else if (compares && digest == in_file) {
      ++counters_.unchanged;
      trace.note(TraceKind::kUnchanged, extent);
    } else if (compress(extent, frame)) {
      extent.digest[0] = digest.low;
      extent.digest[1] = digest.high;
    } else {
      const uint8_t file = chunk.files.current(directory_, chunk.range.bytes, error);
      if (file != extent.file) {
        forget_file(extent);
        if (file != 0) chunk.files.refer(file);
      }
      extent.file = file;
      if (file != 0) {
        ++counters_.stores;
        lock_.unlock();
        error = chunk.files.write(file, frame, kExtentBytes, offset);
        lock_.lock();
        if (error.ok()) trace.note(TraceKind::kWrite, extent);
        extent.digest[0] = digest.low;
        extent.digest[1] = digest.high;
      }
      if (!error.ok() && extent.file != 0) forget_file(extent);
    }
    extent.clean = error.ok();
  }

  if (extent.dropped) {
    extent.dropped = false;
    if (extent.file != 0) forget_file(extent);
    leave_slot(extent);
    not_in_memory(extent);
    if (extent.wanted) want(extent);
  } else if (extent.wanted || !extent.clean) {
    if (!error.ok()) write_errors_.failed(directory_, error);
    install(extent);
  } else {
    became_staged(extent);
  }
}

}  // namespace spillway
