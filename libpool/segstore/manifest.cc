#include "libpool/segstore/manifest.h"

#include <cinttypes>
#include <cstdio>
#include <cstdlib>

namespace spillway::segstore {
namespace {

constexpr const char* kManifestName = "MANIFEST";

template <typename... Numbers>
void add_line(std::string& text, const char* format, Numbers... numbers) {
  char line[96];
  snprintf(line, sizeof line, format, numbers...);
  text += line;
}

// The rest of the line after `word`, and the text after it; false when it does not begin so.
bool take(std::string& text, const std::string& word, std::string& value) {
  if (text.compare(0, word.size(), word) != 0) return false;
  const size_t end = text.find('\n');
  if (end == std::string::npos) return false;
  value = text.substr(word.size(), end - word.size());
  text.erase(0, end + 1);
  return true;
}
bool is_intact(const std::string& whole, size_t last) {
  return last != std::string::npos && whole.size() == last + 13 && whole.back() == '\n' &&
         strtoull(whole.substr(last + 4, 8).c_str(), nullptr, 16) == crc32c(0, whole.data(), last);
}

// "" when it cannot be read.
std::string text_of(int manifest) {
  std::string text;
  Result<os::FileFacts> facts = os::facts_of(manifest);
  if (facts && facts->is_regular && facts->bytes < 64 * kMiB) {
    text.resize(facts->bytes);
    Result<uint64_t> got = os::read_some(manifest, text.data(), text.size(), 0);
    if (!got || *got != text.size()) text.clear();
  }
  return text;
}

constexpr const char* kFirstWord = "spillway-store ";

uint64_t hexadecimal(const std::string& text) { return strtoull(text.c_str(), nullptr, 16); }

}  // namespace

std::string encode_manifest(const Manifest& manifest) {
  std::string text = "spillway-store 1\n";
  add_line(text, "store %016" PRIx64 "%016" PRIx64 "\n", manifest.store.high, manifest.store.low);
  add_line(text, "seed %016" PRIx64 "\n", manifest.hash_seed);
  add_line(text, "next %016" PRIx64 "\n", manifest.next_file_id);
  for (const uint64_t id : manifest.segments) add_line(text, "segment %016" PRIx64 "\n", id);
  for (const uint64_t id : manifest.pending) add_line(text, "pending %016" PRIx64 "\n", id);
  add_line(text, "crc %08" PRIx32 "\n", crc32c(0, text.data(), text.size()));
  return text;
}

std::optional<Manifest> decode_manifest(const std::string& whole) {
  const size_t last = whole.rfind("crc ");
  if (!is_intact(whole, last)) return std::nullopt;
  std::string text = whole.substr(0, last), value;
  Manifest manifest;
  if (!take(text, kFirstWord, value) || value != "1") return std::nullopt;
  if (!take(text, "store ", value) || value.size() != 32) return std::nullopt;
  manifest.store = {hexadecimal(value.substr(16)), hexadecimal(value.substr(0, 16))};
  if (!take(text, "seed ", value)) return std::nullopt;
  manifest.hash_seed = hexadecimal(value);
  if (!take(text, "next ", value)) return std::nullopt;
  manifest.next_file_id = hexadecimal(value);
  while (take(text, "segment ", value)) manifest.segments.insert(hexadecimal(value));
  while (take(text, "pending ", value)) manifest.pending.insert(hexadecimal(value));
  if (!text.empty()) return std::nullopt;
  return manifest;
}

std::optional<Manifest> read_manifest(int directory, bool& is_damaged) {
  is_damaged = false;
  Result<os::Fd> fd = os::open_in(directory, kManifestName, os::OpenFor::kReading);
  if (!fd) {
    is_damaged = fd.error().code() != ENOENT;
    return std::nullopt;
  }
  std::optional<Manifest> manifest = decode_manifest(text_of(fd->get()));
  is_damaged = !manifest;
  return manifest;
}

Errno manifest_error(int directory) {
  return os::open_in(directory, kManifestName, os::OpenFor::kReading).error();
}

uint64_t manifest_format(int directory) {
  Result<os::Fd> fd = os::open_in(directory, kManifestName, os::OpenFor::kReading);
  std::string text = fd ? text_of(fd->get()) : std::string(), value;
  if (!is_intact(text, text.rfind("crc ")) || !take(text, kFirstWord, value)) return 0;
  return strtoull(value.c_str(), nullptr, 10);
}

Errno write_manifest(Files& files, int directory, const Manifest& manifest) {
  return replace_file(files, directory, kManifestName, encode_manifest(manifest));
}

}  // namespace spillway::segstore
