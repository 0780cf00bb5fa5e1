// pool_top.cc - `spillway top`: the pool as it is now, once a second.
// Threads: one. The terminal is given back whatever ends the view, but for SIGKILL.
#include <curses.h>
#include <locale.h>
// Its macros are other people's names.
#undef clear
#undef erase
#undef move
#undef timeout

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <string_view>

#include "tools/pool_view.h"

namespace spillway::tools {
namespace {

class Screen {
 public:
  Screen() {
    ::setlocale(LC_CTYPE, "");  // names may have any letters
    ::initscr();
    ::cbreak();
    ::noecho();
    ::curs_set(0);
    ::keypad(stdscr, TRUE);
    ::wtimeout(stdscr, 1000);
  }
  ~Screen() { ::endwin(); }
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  // The text's lines, as many as fit, cut to the terminal's width; titles (all capitals) stand out.
  void show(std::string_view text, const std::string& last) {
    ::werase(stdscr);
    int row = 0;
    while (!text.empty() && row < LINES - 1) {
      const size_t end = std::min(text.find('\n'), text.size());
      const std::string_view line = text.substr(0, end);
      text.remove_prefix(std::min(end + 1, text.size()));
      const bool title = line.find("SIZE  ") != line.npos || line.find("PID ") != line.npos;
      if (title) wattron(stdscr, A_REVERSE);
      mvwaddnstr(stdscr, row++, 0, line.data(), static_cast<int>(std::min<size_t>(line.size(), COLS)));
      if (title) wattroff(stdscr, A_REVERSE);
    }
    wattron(stdscr, A_BOLD);
    mvwaddnstr(stdscr, LINES - 1, 0, last.c_str(), COLS - 1);
    wattroff(stdscr, A_BOLD);
    ::wrefresh(stdscr);
  }
  // Waits a second at most; ERR: no key, KEY_RESIZE: the terminal has another size.
  int key() { return ::wgetch(stdscr); }
  int lines() const { return LINES; }
};

// What changed in a second.
class Rates {
 public:
  std::string text(Pool& pool) {
    const Sample now{pool.stat_of("spilled_bytes"), pool.stat_of("loaded_bytes"),
                     pool.stat_of("puts"),          pool.stat_of("gets"),
                     pool.stat_of("hits"),          std::chrono::steady_clock::now()};
    const double s = std::chrono::duration<double>(now.at - before_.at).count();
    std::string text = "now      -\n";
    if (before_.at.time_since_epoch().count() != 0 && s > 0) {
      const auto rate = [s](uint64_t a, uint64_t b) { return static_cast<double>(b - a) / s; };
      const double gets = rate(before_.gets, now.gets);
      text = fmt::format(
          "now      {}/s spilled, {}/s read back, {:.0f} puts/s, {:.0f} gets/s{}\n",
          size_text(static_cast<uint64_t>(rate(before_.spilled, now.spilled))),
          size_text(static_cast<uint64_t>(rate(before_.loaded, now.loaded))), rate(before_.puts, now.puts),
          gets,
          gets > 0 ? fmt::format(", {:.0f} % in memory", 100 * rate(before_.hits, now.hits) / gets) : "");
    }
    before_ = now;
    return text;
  }

 private:
  struct Sample {
    uint64_t spilled = 0, loaded = 0, puts = 0, gets = 0, hits = 0;
    std::chrono::steady_clock::time_point at{};
  };
  Sample before_;
};

}  // namespace

int watch_pool(Pool& pool) {
  Screen screen;
  Rates rates;
  ObjectOrder order = ObjectOrder::kSize;
  while (true) {
    const std::string status = status_text(pool) + rates.text(pool);
    const std::string clients = clients_text(pool);
    const auto rows = [](const std::string& text) { return std::count(text.begin(), text.end(), '\n'); };
    // Objects get what the others leave, and three lines in any case.
    const auto left = screen.lines() - 1 - rows(status) - rows(clients) - 3;
    const std::string objects = objects_text(pool, order, static_cast<size_t>(std::max<long>(left, 3)));
    screen.show(status + "\n" + objects + "\n" + clients, "q quit   s by size   a by age   i by time unused");
    switch (screen.key()) {
      case 'q':
      case 'Q':
        return 0;
      case 's':
        order = ObjectOrder::kSize;
        break;
      case 'a':
        order = ObjectOrder::kAge;
        break;
      case 'i':
        order = ObjectOrder::kIdle;
        break;
      default:
        break;
    }
  }
}

}  // namespace spillway::tools
