// trace.h - `spillway trace`: what a trace of the pager comes to, in words and as a picture.
#pragma once
#include <string>

namespace spillway::tools {

struct TraceOptions {
  std::string picture;  // "": none; a name that ends in .svg
  int width = 1200, height = 800;
};

// Prints the summary and draws the picture. Throws Failure when the file cannot be read, or the picture not
// be written.
int show_trace(const std::string& file, const TraceOptions& options);

}  // namespace spillway::tools
