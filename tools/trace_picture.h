// trace_picture.h - a trace as a picture (SVG 1.1, by itself: no script, no font, no other file).
#pragma once
#include <string>

#include "tools/trace_map.h"

namespace spillway::tools {

inline constexpr int kLeastWidth = 400, kLeastHeight = 300, kMostPixels = 4000;

// `width`, `height`: of the whole picture, in pixels.
std::string draw_trace(TraceReader& trace, const TraceSummary& summary, int width, int height);

}  // namespace spillway::tools
