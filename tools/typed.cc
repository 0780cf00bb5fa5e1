#include "tools/typed.h"

#include <fmt/format.h>
#include <stdio.h>

#include <optional>
#include <spillway/size.hpp>
#include <spillway/typed.hpp>

#include "tools/failure.h"
#include "tools/suggest.h"

namespace spillway::tools {
namespace {

using typed::blob;
using typed::errc;

// FILE, or FILE@OFFSET when there is no file of that very name.
typed::region map(const std::string& word) {
  const size_t at = word.rfind('@');
  if (at != std::string::npos && ::access(word.c_str(), F_OK) != 0)
    if (const auto offset = parse_size(word.substr(at + 1)))
      return typed::map_file(word.substr(0, at), {.offset = *offset});
  return typed::map_file(word);
}

// Wrong endianness, a newer version: not damage, but nothing to look at either.
bool is_foreign(errc code) {
  return code == errc::bad_magic || code == errc::foreign_endian || code == errc::newer_version ||
         code == errc::misaligned;
}

void put(std::string_view text) {
  if (fwrite(text.data(), 1, text.size(), stdout) != text.size())
    throw Failure(kCannotStart, "cannot write to standard output");
}

int damaged(const std::string& file, const typed::error& error, bool json) {
  if (json)
    put(fmt::format("{{\"file\": {}, \"whole\": false, \"error\": {}, \"position\": {}}}\n",
                    typed::json_quoted(file), typed::json_quoted(error.message()), error.position));
  else
    put(fmt::format("{}: damaged: {}\n", file, error.message()));
  return 1;
}

int verify(const std::string& file, const blob& b, bool json) {
  if (const auto found = typed::inspect(b); !found) return damaged(file, found.error(), json);
  const typed::document& d = b.doc();
  const auto root = typed::root(b);
  const char* holds = root ? name_of(root->what().value()) : "nothing";
  if (json) {
    put(
        fmt::format("{{\"file\": {}, \"whole\": true, \"version\": {}, \"bytes\": {}, \"root\": \"{}\", "
                    "\"types\": {}, \"checksum\": {}}}\n",
                    typed::json_quoted(file), d.version, d.bytes, holds, d.types.size(), d.checksummed));
  } else {
    put(fmt::format("{}: whole: {} bytes, format version {}, holds a {}, {} record type{}{}\n", file, d.bytes,
                    d.version, holds, d.types.size(), d.types.size() == 1 ? "" : "s",
                    d.checksummed ? ", checksum right" : ""));
  }
  return 0;
}

int dump(const blob& b, bool json) {
  const auto root = typed::root(b);
  if (!root && root.code() == errc::absent) return put(json ? "null\n" : "nothing\n"), 0;
  if (!root) throw Failure(1, root.error().message());
  typed::dumper([](std::string_view text) { put(text); }, {.json = json}).dump(*root);
  return 0;
}

}  // namespace

int typed(const std::vector<std::string>& given, bool json) {
  std::vector<std::string> words;
  bool only_words = false;
  for (const std::string& word : given) {
    if (only_words || word.size() < 2 || word[0] != '-')
      words.push_back(word);
    else if (word == "--")
      only_words = true;
    else if (word == "--json")
      json = true;
    else
      throw Failure(kCannotStart, fmt::format("typed: unknown option {}; see spillway typed --help", word));
  }
  if (words.empty())
    throw Failure(kCannotStart, "typed: do what? usage: spillway typed dump|verify|schema FILE");
  const std::string verb = words[0];
  if (verb != "dump" && verb != "verify" && verb != "schema") {
    const std::string meant = nearest(verb, {"dump", "verify", "schema"});
    throw Failure(kCannotStart, fmt::format("typed: no verb {}; {}", verb,
                                            meant.empty() ? "expected dump, verify or schema"
                                                          : "did you mean " + meant + "?"));
  }
  if (words.size() != 2)
    throw Failure(kCannotStart, words.size() < 2 ? fmt::format("typed {}: which file?", verb)
                                                 : fmt::format("typed {}: one file at a time, not also {}",
                                                               verb, words[2]));
  const std::string& file = words[1];
  const auto opened = blob::open(map(file));
  if (!opened) {
    if (verb == "verify" && !is_foreign(opened.code())) return damaged(file, opened.error(), json);
    throw Failure(is_foreign(opened.code()) || opened.code() == errc::truncated ? kCannotStart : 1,
                  fmt::format("{}: {}", file, opened.error().message()));
  }
  if (verb == "verify") return verify(file, *opened, json);
  if (verb == "schema") return put(typed::schema_text(opened->types(), json)), 0;
  return dump(*opened, json);
}

}  // namespace spillway::tools
