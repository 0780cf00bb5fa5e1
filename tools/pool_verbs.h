// pool_verbs.h - what the pool's subcommands do once their arguments are read. Each returns the exit status.
#pragma once
#include <spillway/pool.hpp>
#include <string>
#include <vector>

namespace spillway::tools {

struct Arguments {
  std::string socket;
  std::vector<std::string> names;
  std::string prefix, name, file, value, filters, hint = "normal", tag, daemon;
  bool json_output = false, all = false, durable = false, force = false, exclusive = false, once = false,
       to_name = false;
  double wait_s = 0;
};

Pool connect(const Arguments& a, bool start = true);
SetOptions put_options(const Arguments& a);

int ls(const Arguments& a);
int stat(const Arguments& a);
int get(const Arguments& a);
int put(const Arguments& a);
int rm(const Arguments& a);
int pin(const Arguments& a);
int unpin(const Arguments& a);
int spill(const Arguments& a);
int load(const Arguments& a);
int save(const Arguments& a);
int restore(const Arguments& a);
int drain(const Arguments& a);
int clients(const Arguments& a);
int top(const Arguments& a);
int pool_start(const Arguments& a);
int pool_stop(const Arguments& a);
int pool_status(const Arguments& a);
int pool_config(const Arguments& a);

}  // namespace spillway::tools
