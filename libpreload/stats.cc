#include "libpreload/stats.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "base/os/fatal.h"
#include "base/os/procfs.h"
#include "libpreload/pager/pager.h"
#include "libpreload/settings.h"

namespace spillway {

constinit Stats stats;

namespace {

// Text of the whole report, so that it is written at once and reports of several processes do not mix.
class Text {
 public:
  void add(const char* format, ...) __attribute__((format(printf, 2, 3))) {
    va_list arguments;
    va_start(arguments, format);
    const int n = vsnprintf(text_ + used_, sizeof text_ - used_, format, arguments);
    va_end(arguments);
    if (n > 0) used_ = std::min(used_ + static_cast<size_t>(n), sizeof text_ - 1);
  }
  // The program is over; there is nobody to tell of a failure.
  void write_to(const os::Fd& fd) const { (void)os::write_stream(fd.get(), text_, used_); }

 private:
  char text_[16 * 1024];
  size_t used_ = 0;
};

unsigned long long number(uint64_t n) { return n; }
double mib(uint64_t bytes) { return static_cast<double>(bytes) / static_cast<double>(kMiB); }
double seconds(uint64_t us) { return static_cast<double>(us) / 1e6; }

void report_compressed(Text& text, const CompressedStore& store) {
  const CompressedStore::Counters& c = store.counters();
  if (c.packed == 0) return;
  const double ratio = c.packed_bytes == 0 ? 0 : mib(store.extents() * kExtentBytes) / mib(c.packed_bytes);
  text.add(
      "  compressed          extents %llu (did not compress %llu, to disk later %llu), peak %.1f MiB,\n"
      "                      at the end %.1f MiB of %.1f (ratio %.2f)\n"
      "                      read %llu extents and %llu lines, pages written %llu\n",
      number(c.packed), number(c.refused), number(c.demoted), mib(c.peak_bytes), mib(c.packed_bytes),
      mib(store.extents() * kExtentBytes), ratio, number(c.extent_reads), number(c.line_reads),
      number(c.page_writes));
}

}  // namespace

void Stats::start() {
  enabled_ = true;
  sites_.load_unwinder();
  // A descriptor of our own: many programs close stderr on their way out.
  os::Fd output = settings.stats_file != nullptr ? os::open_append(settings.stats_file) : os::duplicate(2);
  if (!output.valid() && settings.stats_file != nullptr)
    settings.warn("SPILLWAY_STATS=%s cannot be written; expected 1 or a file that can", settings.stats_file);
  if (Result<os::FileIdentity> file = os::identify(output.get())) output_file_ = *file;
  output_ = output.release();
}

// The program may have closed our descriptor, and the number be a file of its own.
os::Fd Stats::output() {
  os::Fd ours(output_);
  if (is_output(ours.get())) return ours;
  (void)ours.release();
  if (settings.stats_file != nullptr) return os::open_append(settings.stats_file);
  return is_output(2) ? os::duplicate(2) : os::Fd();
}

bool Stats::is_output(int fd) const {
  Result<os::FileIdentity> file = os::identify(fd);
  return file && *file == output_file_;
}

void Stats::on_allocate(const Region& region) {
  ++allocations_;
  managed_bytes_.fetch_add(region.committed, std::memory_order_relaxed);
  peak_managed_bytes_ = std::max(peak_managed_bytes_, managed_bytes());
}

void Stats::on_resize(const Region& region, uint64_t committed) {
  managed_bytes_.fetch_add(committed - region.committed,
                           std::memory_order_relaxed);  // wraps to a subtraction
  peak_managed_bytes_ = std::max(peak_managed_bytes_, managed_bytes());
}

void Stats::on_release(const Region& region) {
  ++releases_;
  managed_bytes_.fetch_sub(region.committed, std::memory_order_relaxed);
}

void Stats::note_call_site(Region& region, uint64_t bytes) {
  if (enabled_) region.site = sites_.note(bytes);
}

void Stats::report() {
  if (output_ < 0) return;
  const os::ProcessTotals totals = os::process_totals();

  static Text text;
  text.add("spillway: stats of %d (%s)\n", os::process_id(), os::program_name());
  text.add("  large allocations   %llu (frees %llu, recycled %llu)\n",
           static_cast<unsigned long long>(allocations_), static_cast<unsigned long long>(releases_),
           static_cast<unsigned long long>(recycled));
  text.add("  managed bytes       peak %.1f MiB\n", mib(peak_managed_bytes_));
  text.add("  resident memory     peak %.1f MiB\n", mib(totals.peak_resident_bytes));
  text.add("  storage             read %.1f MiB, written %.1f MiB\n", mib(totals.storage_read_bytes),
           mib(totals.storage_written_bytes));
  text.add("  major faults        %llu\n", static_cast<unsigned long long>(totals.major_faults));
  if (pager.engaged()) {
    const Pager::Counters& c = pager.counters();
    text.add(
        "  pager               faults %llu (in staging %llu), read %llu extents (ahead %llu), written %llu,\n"
        "                      unchanged %llu, zeroes %llu, peak %.1f MiB\n",
        number(c.faults), number(c.staged_hits), number(c.loads), number(c.read_ahead), number(c.stores),
        number(c.unchanged), number(c.zeroes), mib(c.peak_frames * kExtentBytes));
    const Lines::Counters& l = pager.line_counters();
    text.add("  pager's lines       read %llu (found in staging %llu), pages written %llu, unchanged %llu\n",
             number(l.loads), number(l.staged_hits), number(l.stores), number(l.unchanged));
    text.add(
        "  pager's view        streams %llu, loops %llu, threads waited %.3f s for extents, %.3f s for "
        "lines,\n"
        "                      on disk at most %.1f MiB, at the end %.1f\n",
        number(pager.streams()), number(pager.loops()), seconds(c.stall_us), seconds(l.stall_us),
        mib(SpillFiles::most_on_disk * kExtentBytes), mib(SpillFiles::on_disk * kExtentBytes));
    report_compressed(text, pager.compressed());
  }
  if (rehomed_bytes != 0) text.add("  snapshots rehomed   %.1f MiB\n", mib(rehomed_bytes));

  CallSite* top[10];
  const size_t count = sites_.top(top, 10);
  if (count != 0) text.add("  top call sites by bytes\n");
  for (size_t i = 0; i < count; ++i) {
    char where[600];
    describe(*top[i], where, sizeof where);
    text.add("    %.1f MiB in %llu calls  %s\n", mib(top[i]->bytes),
             static_cast<unsigned long long>(top[i]->calls), where);
  }
  if (const os::Fd to = output(); to.valid()) text.write_to(to);
}

}  // namespace spillway
