#include "tools/trace_picture.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>

#include "tools/finding.h"

namespace spillway::tools {
namespace {

constexpr double kCell = 3;  // pixels
constexpr int kLevels = 4;   // of intensity
constexpr double kFont = 12, kLetter = 6.3;

struct Colour {
  int red, green, blue;
};
struct ShadeStyle {
  Colour colour;
  const char* text;
};
// Warm: the program waits. Blue and green: it need not. Purple and grey: leaving.
constexpr std::array<ShadeStyle, kShades> kStyles = {{
    {{200, 24, 46}, "2 MiB read after a fault"},
    {{243, 138, 20}, "line read after a fault"},
    {{139, 69, 60}, "found compressed"},
    {{222, 190, 0}, "found in staging"},
    {{31, 119, 208}, "read ahead"},
    {{46, 158, 91}, "first touch, or there at the start"},
    {{123, 63, 160}, "written"},
    {{205, 170, 125}, "given back"},
    {{140, 149, 160}, "evicted"},
}};
constexpr const char* kReadColour = "#1f77d0";
constexpr const char* kWriteColour = "#7b3fa0";
constexpr const char* kWaitColour = "#c8182e";

// Paler for fewer events.
std::string hex(Colour c, int level) {
  const double share = 0.6 + 0.4 * (level + 1) / kLevels;
  const auto mix = [share](int part) { return static_cast<int>(std::lround(255 - (255 - part) * share)); };
  return fmt::format("#{:02x}{:02x}{:02x}", mix(c.red), mix(c.green), mix(c.blue));
}

std::string escaped(const std::string& text) {
  std::string result;
  for (const char c : text) switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      default:
        result += c;
    }
  return result;
}

// The next of 1, 2, 5, 10, ... that is at least so much.
double nice(double least) {
  if (least <= 0) return 1;
  const double ten = std::pow(10, std::floor(std::log10(least)));
  for (const double step : {1.0, 2.0, 5.0})
    if (step * ten >= least * (1 - 1e-9)) return step * ten;
  return 10 * ten;
}

// Likewise of powers of two, which is how memory is counted.
double nice_bytes(double least) { return std::exp2(std::ceil(std::log2(std::max(least, 1.0)))); }

struct Box {
  double left = 0, top = 0, width = 0, height = 0;
  double right() const { return left + width; }
  double bottom() const { return top + height; }
};

// From below: legend, time axis, memory, rates; the map gets the rest.
struct Layout {
  Layout(double width, double height) {
    const double left = 84, right = 118, top = 62;
    const double strip = std::clamp(height / 10, 34.0, 90.0);
    const double inner = std::floor((width - left - right) / kCell) * kCell;
    const double legend_rows = std::ceil((kShades + 1) * 190 / (width - 40));
    legend_top = height - legend_rows * 20 - 6;
    memory = {left, legend_top - 48 - strip, inner, strip};
    rates = {left, memory.top - 16 - strip, inner, strip};
    const double map_height = std::floor((rates.top - 16 - top) / kCell) * kCell;
    map = {left, top, inner, std::max(map_height, kCell)};
  }
  Box map, rates, memory;
  double legend_top = 0;
};

std::string bytes_label(double at) { return at == 0 ? "0" : human_size(static_cast<uint64_t>(at)); }

class Picture {
 public:
  Picture(TraceReader& trace, const TraceSummary& summary, int width, int height);
  std::string take() { return std::move(svg_) + "</svg>\n"; }

 private:
  void draw_title(const TraceReader& trace);
  void draw_cells();
  void draw_addresses();
  void draw_marks();
  void draw_time();
  void draw_rates();
  void draw_memory();
  void draw_legend();

  template <typename... A>
  void put(fmt::format_string<A...> format, A&&... arguments) {
    fmt::format_to(std::back_inserter(svg_), format, std::forward<A>(arguments)...);
  }
  void text(double x, double y, const char* anchor, const std::string& what, const char* more = "") {
    put("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\"{}>{}</text>\n", x, y, anchor, more,
        escaped(what));
  }
  void line(double x1, double y1, double x2, double y2, const char* look) {
    put("<path d=\"M{:.1f} {:.1f}L{:.1f} {:.1f}\" {}/>\n", x1, y1, x2, y2, look);
  }
  void frame(const Box& box, const char* label);
  void scale(const Box& box, double most, double step, const std::function<std::string(double)>& label);
  double x_of(double column) const { return map_box_.left + column / map_.columns() * map_box_.width; }
  // For each cell from the top: nothing, or 1 + shade * kLevels + level.
  std::vector<uint8_t> levels() const;

  const TraceSummary& summary_;
  double width_, height_;
  const Layout layout_;
  const Box &map_box_ = layout_.map, &rate_box_ = layout_.rates, &memory_box_ = layout_.memory;
  std::vector<std::pair<std::string, std::string>> legend_;  // colour, text
  TraceMap map_;
  std::string svg_;
};

int cells(double pixels) { return std::max(static_cast<int>(pixels / kCell), 1); }

Picture::Picture(TraceReader& trace, const TraceSummary& summary, int width, int height)
    : summary_(summary),
      width_(width),
      height_(height),
      layout_(width, height),
      map_(trace, summary, cells(map_box_.width), cells(map_box_.height)) {
  put("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\" "
      "font-family=\"DejaVu Sans, Verdana, sans-serif\" font-size=\"{2}\" fill=\"#333\">\n",
      width, height, kFont);
  put("<rect width=\"{}\" height=\"{}\" fill=\"#fff\"/>\n", width, height);
  draw_title(trace);
  draw_cells();
  draw_addresses();
  draw_marks();
  draw_rates();
  draw_memory();
  draw_time();
  draw_legend();
}

void Picture::draw_title(const TraceReader& trace) {
  text(map_box_.left, 22, "start", title_of(trace), " font-size=\"16\" fill=\"#000\"");
  std::string line = fmt::format("{}, read {}, written {}, touched {}, peak in memory {}",
                                 duration_text(summary_.duration_us), human_size(summary_.read_bytes),
                                 human_size(summary_.written_bytes), human_size(map_.space().bytes()),
                                 human_size(summary_.peak_bytes));
  text(map_box_.left, 40, "start", line);
  line.clear();
  for (const std::string& note : notes_of(summary_, trace)) line += (line.empty() ? "" : " ") + note;
  if (!line.empty()) text(map_box_.left, 55, "start", line, " font-size=\"11\" fill=\"#b00020\"");
}

std::vector<uint8_t> Picture::levels() const {
  const int columns = map_.columns(), rows = map_.rows();
  std::vector<uint8_t> levels(static_cast<size_t>(columns) * static_cast<size_t>(rows));
  const double most = std::log2(1.0 + map_.usual_most());
  for (int column = 0; column < columns; ++column)
    for (int row = 0; row < rows; ++row) {
      const TraceMap::Cell cell = map_.cell(column, row);
      if (cell.is_empty) continue;
      const double share = map_.usual_most() == 1 ? 1 : std::log2(1.0 + cell.events) / most;
      const int level = std::clamp(static_cast<int>(share * kLevels) - 1, 0, kLevels - 1);
      levels[static_cast<size_t>(rows - 1 - row) * static_cast<size_t>(columns) +
             static_cast<size_t>(column)] =
          static_cast<uint8_t>(1 + static_cast<int>(cell.shade) * kLevels + level);
    }
  return levels;
}

// Cells of one colour are one path of rectangles, as large as they can be.
void Picture::draw_cells() {
  put("<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"#f3f4f6\"/>\n", map_box_.left, map_box_.top,
      map_box_.width, map_box_.height);
  const auto columns = static_cast<size_t>(map_.columns()), rows = static_cast<size_t>(map_.rows());
  std::vector<uint8_t> left = levels();
  std::array<std::string, 1 + kShades * kLevels> paths;
  for (size_t row = 0; row < rows; ++row)
    for (size_t column = 0; column < columns; ++column) {
      const uint8_t level = left[row * columns + column];
      if (level == 0) continue;
      size_t high = 1, wide = 1;
      while (row + high < rows && left[(row + high) * columns + column] == level) ++high;
      const auto is_same = [&](size_t x) {
        for (size_t y = row; y < row + high; ++y)
          if (left[y * columns + x] != level) return false;
        return true;
      };
      while (column + wide < columns && is_same(column + wide)) ++wide;
      for (size_t y = row; y < row + high; ++y)
        std::fill_n(left.begin() + static_cast<ptrdiff_t>(y * columns + column), wide, 0);
      fmt::format_to(std::back_inserter(paths[level]), "M{} {}h{}v{}h-{}z", column, row, wide, high, wide);
    }
  put("<g transform=\"translate({} {}) scale({})\" shape-rendering=\"crispEdges\">\n", map_box_.left,
      map_box_.top, kCell);
  for (size_t shade = 0; shade < kShades; ++shade)
    for (int level = 0; level < kLevels; ++level)
      if (const std::string& path = paths[1 + shade * kLevels + static_cast<size_t>(level)]; !path.empty())
        put("<path fill=\"{}\" d=\"{}\"/>\n", hex(kStyles[shade].colour, level), path);
  put("</g>\n");
  for (size_t shade = 0; shade < kShades; ++shade)
    if (map_.has(static_cast<Shade>(shade)))
      legend_.emplace_back(hex(kStyles[shade].colour, kLevels - 1), kStyles[shade].text);
}

void Picture::frame(const Box& box, const char* label) {
  put("<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" fill=\"none\" stroke=\"#888\"/>\n",
      box.left, box.top, box.width, box.height);
  const double x = 16, y = box.top + box.height / 2;
  put("<text transform=\"translate({:.1f} {:.1f}) rotate(-90)\" text-anchor=\"middle\">{}</text>\n", x, y,
      label);
}

// Ticks from below.
void Picture::scale(const Box& box, double most, double step,
                    const std::function<std::string(double)>& label) {
  for (double at = 0; at <= most * 1.0001; at += step) {
    const double y = box.bottom() - at / most * box.height;
    line(box.left - 4, y, box.left, y, "stroke=\"#888\"");
    text(box.left - 7, y + 4, "end", label(at), " font-size=\"11\"");
  }
}

void Picture::draw_addresses() {
  const auto bytes = static_cast<double>(map_.space().bytes());
  frame(map_box_, "address space in use");
  if (bytes == 0)
    return text(map_box_.left + map_box_.width / 2, map_box_.top + map_box_.height / 2, "middle",
                "nothing happened to any large block");
  scale(map_box_, bytes, nice_bytes(bytes / std::max(map_box_.height / 50, 1.0)), bytes_label);
  // Where stretches begin; their own addresses, as far as there is room.
  double last = map_box_.bottom() + 100;
  for (const UsedSpace::Stretch& stretch : map_.space().stretches()) {
    const double y = map_box_.bottom() - static_cast<double>(stretch.at) / bytes * map_box_.height;
    if (stretch.at != 0) line(map_box_.left, y, map_box_.right(), y, "stroke=\"#fff\" stroke-width=\"0.8\"");
    if (last - y < 13) continue;
    last = y;
    line(map_box_.right(), y, map_box_.right() + 4, y, "stroke=\"#888\"");
    text(map_box_.right() + 7, y + 4, "start", fmt::format("{:#x}", stretch.address), " font-size=\"10\"");
  }
}

void Picture::draw_marks() {
  double last = -100;
  for (const double column : map_.forks()) {
    const double x = x_of(column);
    if (x - last < 1) continue;
    line(x, map_box_.top, x, memory_box_.bottom(),
         "stroke=\"#000\" stroke-dasharray=\"3 3\" opacity=\"0.6\"");
    if (x - last >= 34) text(x, map_box_.top - 2, "middle", "fork", " font-size=\"10\"");
    last = x;
  }
  std::string ticks;
  for (int column = 0; column < map_.columns(); ++column)
    if (map_.waits()[static_cast<size_t>(column)])
      fmt::format_to(std::back_inserter(ticks), "M{:.1f} {:.1f}v7h{:.1f}v-7z", x_of(column),
                     map_box_.bottom() + 2, kCell);
  if (ticks.empty()) return;
  put("<path fill=\"{}\" d=\"{}\"/>\n", kWaitColour, ticks);
  legend_.emplace_back(kWaitColour, "small blocks wait for room (below)");
}

void Picture::draw_time() {
  const double us = static_cast<double>(std::max<uint64_t>(summary_.duration_us, 1));
  const double step = nice(us / std::max(map_box_.width / 90, 1.0));
  const auto [unit, name] = us < 2e3     ? std::pair(1.0, "us")
                            : us < 1e6   ? std::pair(1e3, "ms")
                            : us < 1.2e9 ? std::pair(1e6, "s")
                                         : std::pair(6e7, "min");
  for (double at = 0; at <= us * 1.0001; at += step) {
    const double x = map_box_.left + at / us * map_box_.width;
    line(x, map_box_.top, x, memory_box_.bottom(), "stroke=\"#000\" stroke-width=\"0.5\" opacity=\"0.12\"");
    line(x, memory_box_.bottom(), x, memory_box_.bottom() + 4, "stroke=\"#888\"");
    text(x, memory_box_.bottom() + 17, "middle", fmt::format("{:.6g}", at / unit), " font-size=\"11\"");
  }
  text(map_box_.left + map_box_.width / 2, memory_box_.bottom() + 33, "middle",
       fmt::format("time since the pager started ({})", name));
}

void Picture::draw_rates() {
  // Four cells a step: less is noise.
  constexpr size_t kTogether = 4;
  const auto columns = static_cast<size_t>(map_.columns());
  const double us =
      static_cast<double>(std::max<uint64_t>(summary_.duration_us, 1)) / static_cast<double>(columns);
  std::vector<double> read, written;
  double most = 0;
  for (size_t at = 0; at < columns; at += kTogether) {
    const size_t end = std::min(at + kTogether, columns);
    double r = 0, w = 0;
    for (size_t i = at; i < end; ++i) {
      r += static_cast<double>(map_.read_bytes()[i]);
      w += static_cast<double>(map_.written_bytes()[i]);
    }
    read.push_back(r / (us * static_cast<double>(end - at)));  // bytes per us: MB/s
    written.push_back(w / (us * static_cast<double>(end - at)));
    most = std::max({most, read.back(), written.back()});
  }
  most = nice(most);
  const auto steps = [&](const std::vector<double>& rates) {
    std::string path;
    for (size_t i = 0; i < rates.size(); ++i)
      fmt::format_to(std::back_inserter(path), "{}{:.1f} {:.1f}H{:.1f}", i == 0 ? "M" : "L",
                     x_of(static_cast<double>(i * kTogether)),
                     rate_box_.bottom() - rates[i] / most * rate_box_.height,
                     x_of(static_cast<double>(std::min((i + 1) * kTogether, columns))));
    return path;
  };
  put("<path d=\"{}V{:.1f}H{:.1f}z\" fill=\"{}\" fill-opacity=\"0.35\"/>\n", steps(read), rate_box_.bottom(),
      rate_box_.left, kReadColour);
  put("<path d=\"{}\" fill=\"none\" stroke=\"{}\"/>\n", steps(read), kReadColour);
  put("<path d=\"{}\" fill=\"none\" stroke=\"{}\"/>\n", steps(written), kWriteColour);
  frame(rate_box_, "MB/s");
  scale(rate_box_, most, most / 2, [](double at) { return fmt::format("{:.6g}", at); });
  text(rate_box_.right() + 7, rate_box_.top + 12, "start", "read",
       fmt::format(" fill=\"{}\"", kReadColour).c_str());
  text(rate_box_.right() + 7, rate_box_.top + 28, "start", "written",
       fmt::format(" fill=\"{}\"", kWriteColour).c_str());
}

void Picture::draw_memory() {
  uint64_t most_bytes = 1;
  for (const TraceMap::Memory& m : map_.memory()) most_bytes = std::max(most_bytes, m.resident_bytes);
  // A budget that is far above is not worth flattening the rest.
  uint64_t least_budget = UINT64_MAX;
  for (const TraceMap::Memory& m : map_.memory()) least_budget = std::min(least_budget, m.budget_bytes);
  if (least_budget < 2 * most_bytes) most_bytes = std::max(most_bytes, least_budget);
  const double most = static_cast<double>(most_bytes) * 1.08;
  const auto y_of = [&](uint64_t bytes) {
    return memory_box_.bottom() - std::min(static_cast<double>(bytes) / most, 1.0) * memory_box_.height;
  };
  std::string resident, budget;
  for (const TraceMap::Memory& m : map_.memory()) {
    fmt::format_to(std::back_inserter(resident), "{}{:.1f} {:.1f}", resident.empty() ? "M" : "L",
                   x_of(m.column), y_of(m.resident_bytes));
    fmt::format_to(std::back_inserter(budget), "{}{:.1f} {:.1f}", budget.empty() ? "M" : "L", x_of(m.column),
                   y_of(m.budget_bytes));
  }
  if (!resident.empty()) {
    put("<path d=\"{}V{:.1f}H{:.1f}z\" fill=\"#2e9e5b\" fill-opacity=\"0.25\"/>\n", resident,
        memory_box_.bottom(), x_of(map_.memory().front().column));
    put("<path d=\"{}\" fill=\"none\" stroke=\"#2e9e5b\"/>\n", resident);
    put("<path d=\"{}\" fill=\"none\" stroke=\"#555\" stroke-dasharray=\"5 3\"/>\n", budget);
  }
  frame(memory_box_, "memory");
  scale(memory_box_, most, nice_bytes(most / 3), bytes_label);
  text(memory_box_.right() + 7, memory_box_.top + 12, "start", "in memory", " fill=\"#2e7e4b\"");
  text(memory_box_.right() + 7, memory_box_.top + 28, "start", "budget (- -)");
}

void Picture::draw_legend() {
  if (map_.usual_most() > 1)
    legend_.emplace_back("", fmt::format("darker: more events (1 to {} in a dot)", map_.usual_most()));
  double x = 20, y = layout_.legend_top + 13;
  for (const auto& [colour, what] : legend_) {
    const double wide = 34 + kLetter * static_cast<double>(what.size());
    if (x + wide > width_ && x > 20) x = 20, y += 20;
    if (!colour.empty())
      put("<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"12\" height=\"12\" fill=\"{}\"/>\n", x, y - 10, colour);
    text(colour.empty() ? x : x + 17, y, "start", what);
    x += wide;
  }
}

}  // namespace

std::string draw_trace(TraceReader& trace, const TraceSummary& summary, int width, int height) {
  return Picture(trace, summary, width, height).take();
}

}  // namespace spillway::tools
