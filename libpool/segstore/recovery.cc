#include "libpool/segstore/recovery.h"

#include <cstring>

#include "libpool/segstore/recovery_steps.h"

namespace spillway::segstore {

StoreResult<std::unique_ptr<Recovered>> Recovery::run() {
  if (StoreStatus bad = find_segments(); !bad.ok()) return bad;
  for (FoundSegment& segment : segments_)
    if (segment.is_solo())
      look_at_solo(segment);
    else if (!segment.is_sealed)
      scan(segment);
  accept_solo_batches();
  cut_at_first_gap();
  tell_torn_from_damaged();
  if (in_.files != nullptr)
    if (StoreStatus bad = mend(); !bad.ok()) return bad;
  if (StoreStatus bad = build(); !bad.ok()) return bad;
  return std::move(out_);
}

bool is_store(int directory) {
  bool damaged = false;
  if (read_manifest(directory, damaged) || damaged) return true;
  bool any = false;
  (void)os::list_names(
      directory,
      [](void* context, const char* name) { *static_cast<bool*>(context) |= id_in_name(name) != 0; }, &any);
  return any;
}

StoreStatus not_for_this_user(const std::string& path) {
  return {StoreCode::kIo,
          path + ": a store is for the user alone who made it, whatever its directory permits (" +
              strerror(EACCES) + "); read and write as that user",
          EACCES};
}

StoreStatus check_is_store(int directory, const std::string& path) {
  if (!is_store(directory)) return {StoreCode::kNotAStore, path + ": no store here"};
  if (manifest_error(directory) == EACCES) return not_for_this_user(path);
  const uint64_t format = manifest_format(directory);
  if (format != 0 && format != kFormatVersion)
    return {StoreCode::kNotAStore, path + ": a store of format " + std::to_string(format) +
                                       ", made by another version of Spillway; this one knows format " +
                                       std::to_string(kFormatVersion)};
  return {};
}

StoreResult<std::unique_ptr<Recovered>> recover(const RecoveryInput& input) { return Recovery(input).run(); }

}  // namespace spillway::segstore
