// trace_reader.h - a file that SPILLWAY_TRACE named (spillway/trace_format.h), event by event, as far as it
// can be read: it may be cut anywhere, damaged, or still be written to.
#pragma once
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "spillway/trace_format.h"

namespace spillway::tools {

class TraceReader {
 public:
  // Throws Failure: there is no such file, it is no trace, or too short for its header.
  static TraceReader open(const std::string& path);
  // `file`: can be read from its start again.
  TraceReader(std::FILE* file, std::string name);

  const TraceHeader& header() const { return header_; }
  const std::string& name() const { return name_; }
  std::string program() const;  // printable

  // Every event of a known kind that makes sense, in order. May be called again: the file is read anew, as
  // far as it was the first time.
  void for_each(const std::function<void(const TraceEvent&)>& visit);

  // What there was to say about the file, in sentences; complete after for_each().
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  void read_header();
  bool makes_sense(const TraceEvent& event) const;
  void add_notes(uint64_t events, uint64_t unknown, uint64_t damaged, uint64_t rest);

  std::unique_ptr<std::FILE, Close> file_;
  std::string name_;
  TraceHeader header_;
  uint64_t end_ = 0;  // how many events there were the first time; 0: not known yet
  bool was_read_ = false;
  std::vector<std::string> notes_;
};

// Which extents were asked for ahead: from then on until they are touched and there, or went unused.
class ReadAheads {
 public:
  explicit ReadAheads(uint64_t extent_bytes) : extent_bytes_(extent_bytes) {}
  struct Answer {
    bool is_ahead = false;    // the event is about such an extent
    bool is_use = false;      // and is its first touch
    bool was_zeroed = false;  // there was nothing to read
  };
  Answer take(const TraceEvent& event);

 private:
  struct Extent {
    bool is_touched = false, is_there = false, was_zeroed = false;
  };
  uint64_t extent_bytes_;
  std::unordered_map<uint64_t, Extent> extents_;
};

}  // namespace spillway::tools
