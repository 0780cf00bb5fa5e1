#include "pooldaemon/store/store_folder.h"

#include "base/os/folder.h"
#include "libpool/segstore/format.h"

namespace spillway::pool {

std::vector<std::string> names_in(const std::string& directory) {
  std::vector<std::string> names;
  (void)os::list_directory(
      directory.c_str(),
      [](void* context, const char* name) {
        static_cast<std::vector<std::string>*>(context)->push_back(name);
      },
      &names)
      .ok();
  return names;
}

bool is_of_store(const std::string& name) {
  for (const char* own : {"LOCK", "CONTROL", "RESERVE", "MANIFEST", "MANIFEST.new"})
    if (name == own) return true;
  constexpr std::string_view kIndex = "index-";
  if (name.starts_with(kIndex))
    return name.find_first_not_of("0123456789abcdef-", kIndex.size()) == std::string::npos;
  return segstore::id_in_name(name) != 0;
}

Errno remove_store(spillway::Store& store, const std::string& directory) {
  // A large index would be kept for who opens the store next.
  std::string index;
  if (store.is_open())
    if (StoreResult<StoreState> state = store.state()) index = state->index_file;
  (void)store.close();
  store = spillway::Store();
  if (index.starts_with("/")) (void)os::remove_file(index.c_str()).ok();
  if (directory.empty() || !os::exists(directory.c_str())) return {};
  for (const std::string& name : names_in(directory))
    if (is_of_store(name)) (void)os::remove_file((directory + "/" + name).c_str()).ok();
  return os::remove_directory(directory.c_str());
}

}  // namespace spillway::pool
