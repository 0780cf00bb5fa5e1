#include "libpool/segstore/shared_files.h"

#include <cstring>

namespace spillway::segstore {
namespace {

constexpr const char* kSharedMemory = "/dev/shm";
constexpr const char* kPrefix = "spillway-store-";
constexpr const char* kPrefixInStore = "index-";

const char* directory_for(const std::string& index_directory) {
  return index_directory.empty() ? kSharedMemory : index_directory.c_str();
}

}  // namespace

Result<std::vector<std::string>> new_shared_names(int directory, const std::string& index_directory) {
  uint64_t number = 0;
  if (Errno e = os::random_bytes(&number, sizeof number); !e.ok()) return e;
  Result<os::FileFacts> facts = os::facts_of(directory);
  if (!facts) return facts.error();
  char text[17];
  snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(number));
  std::vector<std::string> names;
  names.push_back(std::string(directory_for(index_directory)) + "/" + kPrefix + std::to_string(facts->owner) +
                  "-" + text);
  names.push_back(std::string(kPrefixInStore) + text);
  return names;
}

Errno fill_head(IndexHeader& head, int directory, const std::string& path, const std::string& boot_id) {
  Result<os::FileFacts> facts = os::facts_of(directory);
  if (!facts) return facts.error();
  head.directory_device = facts->device;
  head.directory_inode = facts->inode;
  memcpy(head.boot_id, boot_id.data(), std::min(boot_id.size(), sizeof head.boot_id - 1));
  memcpy(head.store_path, path.data(), std::min(path.size(), sizeof head.store_path - 1));
  return {};
}

void remove_shared_file(int directory, const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  if (name.rfind(kPrefix, 0) == 0 || (slash == std::string::npos && name.rfind(kPrefixInStore, 0) == 0))
    (void)os::unlink_in(directory, path.c_str());
}

void sweep_shared_files(int store, const std::string& index_directory) {
  Result<os::Fd> directory = os::open_directory(directory_for(index_directory), false);
  Result<os::FileFacts> own = os::facts_of(store);
  if (!directory || !own) return;
  struct Context {
    std::string prefix;
    std::vector<std::string> names;
  } context{kPrefix + std::to_string(own->owner) + "-", {}};
  (void)os::list_names(
      directory->get(),
      [](void* to, const char* name) {
        auto& found = *static_cast<Context*>(to);
        if (strncmp(name, found.prefix.c_str(), found.prefix.size()) == 0) found.names.emplace_back(name);
      },
      &context);
  for (const std::string& name : context.names) {
    IndexHeader header{};
    Result<os::Fd> fd = os::open_in(directory->get(), name.c_str(), os::OpenFor::kReading);
    if (!fd) continue;
    Result<uint64_t> got = os::read_some(fd->get(), &header, sizeof header, 0);
    if (!got || *got < sizeof header || header.store_path[0] != '/' ||
        (header.magic != kIndexMagic && header.magic != kRingMagic))
      continue;
    header.store_path[sizeof header.store_path - 1] = '\0';
    Result<os::Fd> home = os::open_directory(header.store_path, false);
    bool is_gone = !home && home.error() == ENOENT;
    if (home) {
      Result<os::FileFacts> facts = os::facts_of(home->get());
      is_gone = facts && (facts->inode != header.directory_inode || facts->device != header.directory_device);
    }
    if (is_gone) (void)os::unlink_in(directory->get(), name.c_str());
  }
}

std::string foreign_name(int directory) {
  std::string found;
  (void)os::list_names(
      directory,
      [](void* to, const char* name) {
        for (const char* own : {"LOCK", "CONTROL", "RESERVE", "MANIFEST.new", "lost+found"})
          if (strcmp(name, own) == 0) return;
        if (strncmp(name, kPrefixInStore, strlen(kPrefixInStore)) != 0)
          *static_cast<std::string*>(to) = name;
      },
      &found);
  return found;
}

}  // namespace spillway::segstore
