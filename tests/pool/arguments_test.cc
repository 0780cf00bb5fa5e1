// What cannot be is refused in words, by every function of pool.h: no pool, no object, nowhere to put the
// answer.
#include <fstream>
#include <functional>
#include <regex>
#include <set>

#include "tests/pool/daemon.h"
#include "tests/support/catch.h"
#include "tests/support/paths.h"

using namespace spillway;
using namespace spillway::test;

namespace {

struct Row {
  const char* function;
  std::function<spillway_status()> call;
  spillway_status expected = SPILLWAY_INVALID;
};

int any_info(void*, const spillway_info*) { return 0; }
int any_filter(void*, const void*, size_t, void**, size_t*) { return 1; }

}  // namespace

TEST_CASE("every function of pool.h refuses what cannot be, in words, and takes null where it says so") {
  Daemon daemon;
  Pool cpp = daemon.pool();
  spillway_pool* const p = cpp.c_pool();
  const DRef dref = cpp.set(std::string("text"), {.name = "n"});
  const Event event = cpp.event();
  const spillway_ref r = dref.ref();
  const spillway_cell c = event.cell();
  spillway_ref ref{};
  spillway_cell cell{};
  spillway_pin* pin = nullptr;
  spillway_builder* builder = nullptr;
  spillway_watch* watch = nullptr;
  spillway_pool* pool = nullptr;
  spillway_file_ref file{}, endless{};
  memset(endless.path, 'x', sizeof endless.path);
  char token[SPILLWAY_TOKEN_BYTES], room[8];
  size_t bytes = 5, done = 0;
  const void* datum = nullptr;
  spillway_put_options no_tag{};
  no_tag.name = "n";
  no_tag.tag_bytes = 5;
  const auto is = [](bool as_it_should) { return as_it_should ? SPILLWAY_OK : SPILLWAY_FAILED; };
  const std::string long_name(65, 'd'), long_prefix(1025, 'p');
  spillway_put_options odd_flags{};
  odd_flags.flags = 16;
  spillway_disk_options odd_disk_flags{};
  odd_disk_flags.flags = 4;

  const std::vector<Row> rows = {
      {"spillway_status_text", [&] { return is(spillway_status_text(spillway_status(31)) != nullptr); },
       SPILLWAY_OK},
      {"spillway_state_text", [&] { return is(spillway_state_text(SPILLWAY_GONE) != nullptr); }, SPILLWAY_OK},
      {"spillway_last_error", [&] { return is(spillway_last_error() != nullptr); }, SPILLWAY_OK},
      {"spillway_pool_open", [&] { return spillway_pool_open(nullptr, nullptr); }},
      {"spillway_pool_close", [&] { return spillway_pool_close(pool), SPILLWAY_OK; }, SPILLWAY_OK},
      {"spillway_pool_socket", [&] { return is(*spillway_pool_socket(nullptr) == 0); }, SPILLWAY_OK},
      {"spillway_put", [&] { return spillway_put(nullptr, "x", 1, nullptr, &ref); }},
      {"spillway_put", [&] { return spillway_put(p, nullptr, 1, nullptr, &ref); }},
      {"spillway_put", [&] { return spillway_put(p, "x", 1, nullptr, nullptr); }},
      {"spillway_put", [&] { return spillway_put(p, "x", 1, &no_tag, &ref); }},
      {"spillway_put", [&] { return spillway_put(p, "x", 1, &odd_flags, &ref); }},
      {"spillway_create", [&] { return spillway_create(p, 1, &odd_flags, &builder); }},
      {"spillway_copy_to_disk", [&] { return spillway_copy_to_disk(p, r, &odd_disk_flags, &file); }},
      {"spillway_save_to_disk", [&] { return spillway_save_to_disk(p, r, "/x", &odd_disk_flags, &file); }},
      {"spillway_list", [&] { return spillway_list(p, long_prefix.c_str(), any_info, nullptr); }},
      {"spillway_watch_open",
       [&] {
         return spillway_watch_open(
             p, long_prefix.c_str(), [](void*, spillway_change, const char*, uint64_t) {}, nullptr, &watch);
       }},
      {"spillway_put_many", [&] { return spillway_put_many(p, nullptr, nullptr, 0, nullptr, nullptr); },
       SPILLWAY_OK},
      {"spillway_put_many", [&] { return spillway_put_many(nullptr, &datum, &bytes, 1, &ref, &done); }},
      {"spillway_put_many", [&] { return spillway_put_many(p, nullptr, &bytes, 1, &ref, &done); }},
      {"spillway_put_many", [&] { return spillway_put_many(p, &datum, nullptr, 1, &ref, &done); }},
      {"spillway_put_many", [&] { return spillway_put_many(p, &datum, &bytes, 1, nullptr, &done); }},
      {"spillway_put_many", [&] { return spillway_put_many(p, &datum, &bytes, 1, &ref, &done); }},
      {"spillway_create", [&] { return spillway_create(nullptr, 1, nullptr, &builder); }},
      {"spillway_create", [&] { return spillway_create(p, 1, nullptr, nullptr); }},
      {"spillway_create", [&] { return spillway_create(p, 1, &no_tag, &builder); }},
      {"spillway_builder_data", [&] { return is(spillway_builder_data(nullptr) == nullptr); }, SPILLWAY_OK},
      {"spillway_builder_size", [&] { return is(spillway_builder_size(nullptr) == 0); }, SPILLWAY_OK},
      {"spillway_builder_seal", [&] { return spillway_builder_seal(nullptr, &ref); }},
      {"spillway_builder_abort", [&] { return spillway_builder_abort(nullptr), SPILLWAY_OK; }, SPILLWAY_OK},
      {"spillway_get", [&] { return spillway_get(nullptr, r, nullptr, &pin); }},
      {"spillway_get", [&] { return spillway_get(p, r, nullptr, nullptr); }},
      {"spillway_get_name", [&] { return spillway_get_name(nullptr, "n", nullptr, &pin); }},
      {"spillway_get_name", [&] { return spillway_get_name(p, nullptr, nullptr, &pin); }},
      {"spillway_get_name", [&] { return spillway_get_name(p, "n", nullptr, nullptr); }},
      {"spillway_pin_data", [&] { return is(spillway_pin_data(nullptr) == nullptr); }, SPILLWAY_OK},
      {"spillway_pin_size", [&] { return is(spillway_pin_size(nullptr) == 0); }, SPILLWAY_OK},
      {"spillway_pin_ref", [&] { return is(spillway_pin_ref(nullptr).id == 0); }, SPILLWAY_OK},
      {"spillway_pin_tag", [&] { return is(!spillway_pin_tag(nullptr, &bytes) && bytes == 0); }, SPILLWAY_OK},
      {"spillway_pin_tag", [&] { return is(!spillway_pin_tag(nullptr, nullptr)); }, SPILLWAY_OK},
      {"spillway_pin_version", [&] { return is(spillway_pin_version(nullptr) == 0); }, SPILLWAY_OK},
      {"spillway_pin_release", [&] { return spillway_pin_release(nullptr), SPILLWAY_OK; }, SPILLWAY_OK},
      {"spillway_ref_retain", [&] { return spillway_ref_retain(nullptr, r); }},
      {"spillway_ref_release", [&] { return spillway_ref_release(nullptr, r), SPILLWAY_OK; }, SPILLWAY_OK},
      {"spillway_lookup", [&] { return spillway_lookup(nullptr, "n", &ref); }},
      {"spillway_lookup", [&] { return spillway_lookup(p, nullptr, &ref); }},
      {"spillway_lookup", [&] { return spillway_lookup(p, "n", nullptr); }},
      {"spillway_ref_to_token", [&] { return spillway_ref_to_token(nullptr, r, 0, token); }},
      {"spillway_ref_to_token", [&] { return spillway_ref_to_token(p, r, 0, nullptr); }},
      {"spillway_ref_from_token", [&] { return spillway_ref_from_token(nullptr, "x", &ref); }},
      {"spillway_ref_from_token", [&] { return spillway_ref_from_token(p, nullptr, &ref); }},
      {"spillway_ref_from_token", [&] { return spillway_ref_from_token(p, dref.token().c_str(), nullptr); }},
      {"spillway_on_destroy",
       [&] {
         return spillway_on_destroy(
             nullptr, r, [](void*) {}, nullptr);
       }},
      {"spillway_on_destroy", [&] { return spillway_on_destroy(p, r, nullptr, nullptr); }},
      {"spillway_erase", [&] { return spillway_erase(nullptr, r); }},
      {"spillway_erase_name", [&] { return spillway_erase_name(nullptr, "n"); }},
      {"spillway_erase_name", [&] { return spillway_erase_name(p, nullptr); }},
      {"spillway_cleanup", [&] { return spillway_cleanup(nullptr); }},
      {"spillway_move_to_disk", [&] { return spillway_move_to_disk(nullptr, r, nullptr, &file); }},
      {"spillway_copy_to_disk", [&] { return spillway_copy_to_disk(nullptr, r, nullptr, &file); }},
      {"spillway_copy_to_disk", [&] { return spillway_copy_to_disk(p, r, nullptr, nullptr); }, SPILLWAY_OK},
      {"spillway_save_to_disk", [&] { return spillway_save_to_disk(nullptr, r, "/x", nullptr, &file); }},
      {"spillway_save_to_disk", [&] { return spillway_save_to_disk(p, r, nullptr, nullptr, &file); }},
      {"spillway_get_file", [&] { return spillway_get_file(nullptr, &file, &pin); }},
      {"spillway_get_file", [&] { return spillway_get_file(p, nullptr, &pin); }},
      {"spillway_get_file", [&] { return spillway_get_file(p, &file, nullptr); }},
      {"spillway_get_file", [&] { return spillway_get_file(p, &endless, &pin); }},
      {"spillway_restore", [&] { return spillway_restore(nullptr, "/dev/null", nullptr, &ref); }},
      {"spillway_restore", [&] { return spillway_restore(p, nullptr, nullptr, &ref); }},
      {"spillway_restore", [&] { return spillway_restore(p, "/etc/passwd", nullptr, nullptr); }},
      {"spillway_retain", [&] { return spillway_retain(nullptr, r, 1, nullptr); }},
      {"spillway_retain", [&] { return spillway_retain(p, r, 0, nullptr); }, SPILLWAY_OK},
      {"spillway_retain_all", [&] { return spillway_retain_all(nullptr, 1); }},
      {"spillway_add_filter",
       [&] { return spillway_add_filter(nullptr, "f", any_filter, any_filter, nullptr); }},
      {"spillway_add_filter",
       [&] { return spillway_add_filter(p, nullptr, any_filter, any_filter, nullptr); }},
      {"spillway_add_filter", [&] { return spillway_add_filter(p, "f", nullptr, any_filter, nullptr); }},
      {"spillway_add_filter", [&] { return spillway_add_filter(p, "f", any_filter, nullptr, nullptr); }},
      {"spillway_load", [&] { return spillway_load(nullptr, r); }},
      {"spillway_set_hint", [&] { return spillway_set_hint(nullptr, r, SPILLWAY_KEEP); }},
      {"spillway_keep_resident", [&] { return spillway_keep_resident(nullptr, r, 1); }},
      {"spillway_keep_resident", [&] { return spillway_keep_resident(p, r, 2); }},
      {"spillway_set_tag", [&] { return spillway_set_tag(nullptr, r, nullptr, "t", 1); }},
      {"spillway_set_tag", [&] { return spillway_set_tag(p, r, nullptr, nullptr, 5); }},
      {"spillway_set_tag", [&] { return spillway_set_tag(p, r, long_name.c_str(), "t", 1); }},
      {"spillway_set_tag", [&] { return spillway_set_tag(p, r, nullptr, nullptr, 0); }, SPILLWAY_OK},
      {"spillway_get_tag", [&] { return spillway_get_tag(nullptr, r, nullptr, room, &bytes); }},
      {"spillway_get_tag", [&] { return spillway_get_tag(p, r, nullptr, room, nullptr); }},
      {"spillway_get_tag",
       [&] {
         bytes = 5;
         return spillway_get_tag(p, r, nullptr, nullptr, &bytes);
       }},
      {"spillway_get_tag", [&] { return spillway_get_tag(p, r, long_name.c_str(), room, &bytes); }},
      {"spillway_drain", [&] { return spillway_drain(nullptr); }},
      {"spillway_stop_daemon", [&] { return spillway_stop_daemon(nullptr); }},
      {"spillway_force_stop_daemon", [&] { return spillway_force_stop_daemon(nullptr); }},
      {"spillway_configure",
       [&] { return spillway_configure(nullptr, "policy", nullptr, nullptr, nullptr); }},
      {"spillway_configure", [&] { return spillway_configure(p, "policy", nullptr, nullptr, nullptr); },
       SPILLWAY_OK},
      {"spillway_stat", [&] { return spillway_stat(nullptr, r, any_info, nullptr); }},
      {"spillway_stat", [&] { return spillway_stat(p, r, nullptr, nullptr); }, SPILLWAY_OK},
      {"spillway_stat_name", [&] { return spillway_stat_name(nullptr, "n", any_info, nullptr); }},
      {"spillway_stat_name", [&] { return spillway_stat_name(p, nullptr, any_info, nullptr); }},
      {"spillway_list", [&] { return spillway_list(nullptr, "", any_info, nullptr); }},
      {"spillway_list", [&] { return spillway_list(p, "", nullptr, nullptr); }},
      {"spillway_list", [&] { return spillway_list(p, nullptr, any_info, nullptr); }, SPILLWAY_OK},
      {"spillway_list_all", [&] { return spillway_list_all(nullptr, any_info, nullptr); }},
      {"spillway_list_all", [&] { return spillway_list_all(p, nullptr, nullptr); }},
      {"spillway_watch_open",
       [&] {
         return spillway_watch_open(
             nullptr, "", [](void*, spillway_change, const char*, uint64_t) {}, nullptr, &watch);
       }},
      {"spillway_watch_open", [&] { return spillway_watch_open(p, "", nullptr, nullptr, &watch); }},
      {"spillway_watch_open",
       [&] {
         return spillway_watch_open(
             p, "", [](void*, spillway_change, const char*, uint64_t) {}, nullptr, nullptr);
       }},
      {"spillway_watch_close", [&] { return spillway_watch_close(nullptr), SPILLWAY_OK; }, SPILLWAY_OK},
      {"spillway_devices", [&] { return spillway_devices(nullptr, nullptr, nullptr, nullptr); }},
      {"spillway_devices", [&] { return spillway_devices(p, "memory", nullptr, nullptr); }, SPILLWAY_OK},
      {"spillway_stats",
       [&] {
         return spillway_stats(
             nullptr, [](void*, const char*, uint64_t) { return 0; }, nullptr);
       }},
      {"spillway_stats", [&] { return spillway_stats(p, nullptr, nullptr); }},
      {"spillway_clients",
       [&] {
         return spillway_clients(
             nullptr, [](void*, const spillway_client*) { return 0; }, nullptr);
       }},
      {"spillway_clients", [&] { return spillway_clients(p, nullptr, nullptr); }},
      {"spillway_event_new", [&] { return spillway_event_new(nullptr, &cell); }},
      {"spillway_event_new", [&] { return spillway_event_new(p, nullptr); }},
      {"spillway_event_set", [&] { return spillway_event_set(nullptr, c); }},
      {"spillway_event_wait", [&] { return spillway_event_wait(nullptr, c, 0); }},
      {"spillway_future_new", [&] { return spillway_future_new(nullptr, &cell); }},
      {"spillway_future_new", [&] { return spillway_future_new(p, nullptr); }},
      {"spillway_future_put", [&] { return spillway_future_put(nullptr, c, "x", 1); }},
      {"spillway_future_put", [&] { return spillway_future_put(p, c, nullptr, 1); }},
      {"spillway_future_fail", [&] { return spillway_future_fail(nullptr, c, "why"); }},
      {"spillway_future_fail", [&] { return spillway_future_fail(p, c, nullptr); }},
      {"spillway_future_get", [&] { return spillway_future_get(nullptr, c, 0, &pin); }},
      {"spillway_future_get", [&] { return spillway_future_get(p, c, 0, nullptr); }},
  };
  std::set<std::string> tried;
  for (const Row& row : rows) {
    INFO(row.function << ", row " << &row - rows.data());
    const spillway_status status = row.call();
    CHECK(status == row.expected);
    if (status == SPILLWAY_INVALID) CHECK_FALSE(std::string(spillway_last_error()).empty());
    tried.insert(row.function);
  }
  // None was forgotten.
  std::ifstream in(source_dir() + "/include/spillway/pool.h");
  if (!in) return;  // built, and taken elsewhere
  const std::string text((std::istreambuf_iterator<char>(in)), {});
  const std::regex declared("SPILLWAY_API[^(]*(spillway_[a-z_]+)\\(");
  REQUIRE(tried.size() >= 60);
  for (std::sregex_iterator at(text.begin(), text.end(), declared), end; at != end; ++at) {
    INFO((*at)[1].str());
    CHECK(tried.contains((*at)[1].str()));
  }
}

TEST_CASE("setting no values sets none") {
  Daemon daemon;
  REQUIRE(daemon.pool().set_many({}).empty());
}

TEST_CASE("a pool that was moved from throws, and what is empty is empty") {
  Daemon daemon;
  Pool pool = daemon.pool();
  const DRef dref = pool.set(1);
  Pool other = std::move(pool);
  failure_of(SPILLWAY_INVALID, [&] { (void)pool.set(1); });                   // NOLINT: moved from on purpose
  failure_of(SPILLWAY_INVALID, [&] { (void)pool.get(dref); });                // NOLINT
  failure_of(SPILLWAY_INVALID, [&] { (void)pool.create(100); });              // NOLINT
  failure_of(SPILLWAY_INVALID, [&] { (void)pool.list(); });                   // NOLINT
  failure_of(SPILLWAY_INVALID, [&] { (void)pool.watch("", [](auto&) {}); });  // NOLINT
  failure_of(SPILLWAY_INVALID, [&] { pool.on_destroy(dref, [] {}); });        // NOLINT
  failure_of(SPILLWAY_INVALID, [&] { (void)pool.event(); });                  // NOLINT
  failure_of(SPILLWAY_INVALID, [&] { pool.event({1, 1}).set(); });            // NOLINT
  failure_of(SPILLWAY_INVALID, [&] { (void)DRef().token(); });
  const Pin none;
  REQUIRE(none.size() == 0);
  REQUIRE(none.text().empty());
  REQUIRE(none.tag().empty());
  REQUIRE(none.version() == 0);
  Builder builder = other.create(10);
  const DRef sealed = std::move(builder).seal();
  REQUIRE(builder.bytes().empty());                                        // NOLINT
  failure_of(SPILLWAY_INVALID, [&] { (void)std::move(builder).seal(); });  // NOLINT
}
