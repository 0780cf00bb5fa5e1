// trace_map.h - a trace as cells of time and address: what happened there most, and how much of it; beside
// it, what was read, written and held in memory over time.
//
// Address space that nothing happened to is left out, so that rows are what was used, one chunk above the
// other.
#pragma once
#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "tools/trace_summary.h"

namespace spillway::tools {

// What a cell shows: what came there most often (of two, the first), or else what left, the first of these.
enum class Shade : uint8_t {
  kExtentRead,
  kLineRead,
  kExpanded,
  kStaged,
  kAhead,
  kTouch,
  kWritten,
  kDiscarded,
  kEvicted
};
inline constexpr size_t kShades = 9;

// Stretches of used address space, one after the other.
class UsedSpace {
 public:
  struct Stretch {
    uint64_t address = 0, bytes = 0;
    uint64_t at = 0;  // where it begins among the used
  };
  explicit UsedSpace(const TraceSummary& summary, uint64_t extent_bytes);

  uint64_t bytes() const { return bytes_; }
  const std::vector<Stretch>& stretches() const { return stretches_; }
  // The used parts of [address, address + bytes), as places among the used.
  template <typename F>
  void for_each_part(uint64_t address, uint64_t bytes, F&& visit) const;

 private:
  std::vector<Stretch> stretches_;
  uint64_t bytes_ = 0;
};

class TraceMap {
 public:
  TraceMap(TraceReader& trace, const TraceSummary& summary, int columns, int rows);

  struct Cell {
    bool is_empty = true;
    Shade shade{};
    uint32_t events = 0;
  };
  // Row 0: the lowest addresses.
  Cell cell(int column, int row) const;
  int columns() const { return columns_; }
  int rows() const { return rows_; }
  const UsedSpace& space() const { return space_; }
  bool has(Shade shade) const { return has_[static_cast<size_t>(shade)]; }
  // Of nearly all cells: a few that stand out do not make the rest look empty.
  uint32_t usual_most() const { return usual_most_; }

  // Of each column, in bytes.
  const std::vector<uint64_t>& read_bytes() const { return read_bytes_; }
  const std::vector<uint64_t>& written_bytes() const { return written_bytes_; }
  struct Memory {
    double column = 0;
    uint64_t resident_bytes = 0, budget_bytes = 0;
  };
  // The most of a column, where it was looked at.
  const std::vector<Memory>& memory() const { return memory_; }
  const std::vector<double>& forks() const { return forks_; }  // in columns
  const std::vector<bool>& waits() const { return waits_; }    // of each column

 private:
  void add(const TraceEvent& event, Shade shade, uint64_t bytes);
  void note_memory(const TraceEvent& event, uint64_t bytes);
  void find_usual_most();
  double column_of(const TraceEvent& event) const;
  size_t index_of(const TraceEvent& event) const { return static_cast<size_t>(column_of(event)); }

  int columns_, rows_;
  uint64_t duration_us_;
  UsedSpace space_;
  std::vector<std::array<uint32_t, kShades>> counts_;  // column by column
  std::array<bool, kShades> has_{};
  uint32_t usual_most_ = 1;
  std::vector<uint64_t> read_bytes_, written_bytes_;
  std::vector<Memory> memory_;
  std::vector<double> forks_;
  std::vector<bool> waits_;
};

}  // namespace spillway::tools
