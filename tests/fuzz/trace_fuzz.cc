// trace_fuzz.cc - any bytes at all to what reads traces: refused in words, or summed up and drawn. The first
// byte says whether the rest follows a sound header.
#define FMT_HEADER_ONLY
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "tools/failure.h"
#include "tools/finding.cc"
#include "tools/trace_map.cc"
#include "tools/trace_picture.cc"
#include "tools/trace_reader.cc"
#include "tools/trace_summary.cc"

using namespace spillway;
using namespace spillway::tools;

namespace {

void must(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

std::string sound_header() {
  TraceHeader header;
  memcpy(header.magic, kTraceMagic, sizeof header.magic);
  header.version = kTraceVersion;
  header.header_bytes = sizeof header;
  header.event_bytes = sizeof(TraceEvent);
  header.page_bytes = 4096;
  header.extent_bytes = 2 << 20;
  return {reinterpret_cast<const char*>(&header), sizeof header};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  std::string bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] % 2 != 0) bytes.insert(0, sound_header());
  try {
    TraceReader trace(fmemopen(bytes.data(), bytes.size(), "rb"), "input");
    const TraceSummary summary = summarise(trace);
    must(summary.events <= bytes.size() / sizeof(TraceEvent), "there are no more events than fit");
    must(!text_of(summary, trace).empty(), "there is a summary");
    const std::string svg = draw_trace(trace, summary, 400 + data[0], 300);
    must(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "the picture is whole");
    must(svg.find("nan") == svg.npos && svg.find("inf\"") == svg.npos, "all numbers are numbers");
  } catch (const Failure& failure) {
    must(failure.what()[0] != '\0', "a refusal has words");
  }
  return 0;
}
