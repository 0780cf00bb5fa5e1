#include "libpool/format/filters.h"

#include <lz4frame.h>
#include <xxhash.h>
#include <zstd.h>

#include <algorithm>
#include <cstring>

namespace spillway::format {
namespace {

bool lz4_apply(std::string_view in, std::string& out, std::string& why) {
  LZ4F_preferences_t preferences{};
  preferences.frameInfo.contentSize = in.size();
  preferences.frameInfo.blockSizeID = LZ4F_max1MB;
  out.resize(LZ4F_compressFrameBound(in.size(), &preferences));
  const size_t n = LZ4F_compressFrame(out.data(), out.size(), in.data(), in.size(), &preferences);
  if (LZ4F_isError(n)) {
    why = LZ4F_getErrorName(n);
    return false;
  }
  out.resize(n);
  return true;
}

bool lz4_undo(std::string_view in, std::string& out, uint64_t most_bytes, std::string& why) {
  LZ4F_dctx* context = nullptr;
  if (LZ4F_isError(LZ4F_createDecompressionContext(&context, LZ4F_VERSION))) {
    why = "out of memory";
    return false;
  }
  out.resize(most_bytes);
  size_t from = 0, to = 0, hint = 1;
  while (from < in.size() && hint != 0) {
    size_t taken = in.size() - from, made = out.size() - to;
    hint = LZ4F_decompress(context, out.data() + to, &made, in.data() + from, &taken, nullptr);
    if (LZ4F_isError(hint) || (taken == 0 && made == 0)) break;
    from += taken;
    to += made;
  }
  const bool good = hint == 0 && from == in.size();
  LZ4F_freeDecompressionContext(context);
  if (!good) why = "the LZ4 frame is damaged";
  out.resize(to);
  return good;
}

bool zstd_apply(std::string_view in, std::string& out, std::string& why) {
  out.resize(ZSTD_compressBound(in.size()));
  const size_t n = ZSTD_compress(out.data(), out.size(), in.data(), in.size(), 3);
  if (ZSTD_isError(n)) {
    why = ZSTD_getErrorName(n);
    return false;
  }
  out.resize(n);
  return true;
}

bool zstd_undo(std::string_view in, std::string& out, uint64_t most_bytes, std::string& why) {
  out.resize(most_bytes);
  const size_t n = ZSTD_decompress(out.data(), out.size(), in.data(), in.size());
  if (ZSTD_isError(n)) {
    why = "the zstd frame is damaged";
    return false;
  }
  out.resize(n);
  return true;
}

bool checksum_apply(std::string_view in, std::string& out) {
  const uint64_t sum = XXH3_64bits(in.data(), in.size());
  out.assign(in);
  out.append(reinterpret_cast<const char*>(&sum), sizeof sum);
  return true;
}

bool checksum_undo(std::string_view in, std::string& out, std::string& why) {
  uint64_t sum = 0;
  if (in.size() >= sizeof sum) {
    memcpy(&sum, in.data() + in.size() - sizeof sum, sizeof sum);
    in.remove_suffix(sizeof sum);
    if (XXH3_64bits(in.data(), in.size()) == sum) {
      out.assign(in);
      return true;
    }
  }
  why = "the checksum differs";
  return false;
}

}  // namespace

bool is_builtin_filter(std::string_view name) {
  return name == "lz4" || name == "zstd" || name == "checksum";
}

bool apply_filter(std::string_view name, std::string_view in, std::string& out, std::string& why) {
  if (name == "lz4") return lz4_apply(in, out, why);
  if (name == "zstd") return zstd_apply(in, out, why);
  if (name == "checksum") return checksum_apply(in, out);
  why = "no filter of this name";
  return false;
}

bool undo_filter(std::string_view name, std::string_view in, std::string& out, uint64_t most_bytes,
                 std::string& why) {
  if (name == "lz4") return lz4_undo(in, out, most_bytes, why);
  if (name == "zstd") return zstd_undo(in, out, most_bytes, why);
  if (name == "checksum") return checksum_undo(in, out, why);
  why = "no filter of this name";
  return false;
}

std::vector<std::string> split_filters(std::string_view text) {
  std::vector<std::string> names;
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    if (comma > 0) names.emplace_back(text.substr(0, comma));
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return names;
}

}  // namespace spillway::format
