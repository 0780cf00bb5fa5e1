#include "tools/trace.h"

#include <errno.h>
#include <fmt/format.h>
#include <string.h>

#include <filesystem>

#include "tools/failure.h"
#include "tools/trace_picture.h"

namespace spillway::tools {
namespace {

namespace fs = std::filesystem;

// Before anything is read, so that a wrong name costs nothing.
void check(const std::string& file, const TraceOptions& options) {
  const std::string& picture = options.picture;
  if (picture.empty()) return;
  if (!picture.ends_with(".svg"))
    throw Failure(
        kCannotStart,
        fmt::format("-o {}: expected a name that ends in .svg, which browsers show; rsvg-convert and "
                    "ImageMagick make other formats of it",
                    picture));
  std::error_code unknown;
  if (fs::equivalent(file, picture, unknown))
    throw Failure(kCannotStart, fmt::format("-o {}: that is the trace itself", picture));
  const bool fits = options.width >= kLeastWidth && options.width <= kMostPixels &&
                    options.height >= kLeastHeight && options.height <= kMostPixels;
  if (!fits)
    throw Failure(
        kCannotStart,
        fmt::format("a picture of {} x {}: expected --width {} to {} and --height {} to {}, in pixels",
                    options.width, options.height, kLeastWidth, kMostPixels, kLeastHeight, kMostPixels));
}

void write(const std::string& path, const std::string& text) {
  std::FILE* file = std::fopen(path.c_str(), "wbe");
  if (!file) throw Failure(kCannotStart, fmt::format("-o {}: {}", path, ::strerror(errno)));
  const bool written = std::fwrite(text.data(), 1, text.size(), file) == text.size();
  const int error = errno;
  if (std::fclose(file) != 0 || !written)
    throw Failure(kCannotStart,
                  fmt::format("-o {}: cannot be written: {}", path, ::strerror(written ? errno : error)));
}

}  // namespace

int show_trace(const std::string& file, const TraceOptions& options) {
  check(file, options);
  TraceReader trace = TraceReader::open(file);
  const TraceSummary summary = summarise(trace);
  fmt::print("{}", text_of(summary, trace));
  if (options.picture.empty()) return 0;
  write(options.picture, draw_trace(trace, summary, options.width, options.height));
  fmt::print("  {:<28}{}\n", "picture", options.picture);
  return 0;
}

}  // namespace spillway::tools
